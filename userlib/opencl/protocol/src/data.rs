// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the data of a command is.

use crate::wire::{Malformed, Reader, Wire, Writer};

/// Bytes that a message brings or names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// In the message.
    Here(&'a [u8]),
    /// In the memory that both ends have, where they are used as they lie.
    Shared {
        /// From its start.
        offset: u64,
        /// How many.
        len: u64,
    },
}

impl<'a> Wire<'a> for Data<'a> {
    const MIN: usize = 1 + <&[u8]>::MIN;
    fn put(&self, w: &mut Writer<'a>) {
        match self {
            Data::Here(bytes) => {
                0u8.put(w);
                bytes.put(w);
            }
            Data::Shared { offset, len } => {
                1u8.put(w);
                offset.put(w);
                len.put(w);
            }
        }
    }
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        match u8::get(r)? {
            0 => Ok(Data::Here(Wire::get(r)?)),
            1 => Ok(Data::Shared {
                offset: Wire::get(r)?,
                len: Wire::get(r)?,
            }),
            other => Err(Malformed::Presence(other)),
        }
    }
}
