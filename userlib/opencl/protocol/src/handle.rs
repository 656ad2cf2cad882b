// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of objects on the wire.

use crate::wire::{Malformed, Reader, Wire, Writer};

/// Name of an object: an index and the generation of that index. Zero is
/// `NULL`.
///
/// The client chooses the names of objects that it makes, so that a call that
/// makes one can be posted. The server chooses those of platforms and devices,
/// which it finds; they have the top bit of the index set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Handle(u64);

const FOUND: u32 = 1 << 31;

impl Handle {
    /// No object.
    pub const NULL: Handle = Handle(0);

    /// Name of an object that a client makes. `generation` starts at 1.
    pub fn made(index: u32, generation: u32) -> Self {
        Handle((u64::from(generation) << 32) | u64::from(index))
    }

    /// Name of an object that the server found.
    pub fn found(index: u32) -> Self {
        Handle::made(FOUND | index, 1)
    }

    /// Whether it names nothing.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Whether the server chose it.
    pub fn is_found(self) -> bool {
        self.index() & FOUND != 0
    }

    /// Its index.
    pub fn index(self) -> u32 {
        self.0 as u32
    }

    /// Its generation.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// As a number, for a query's value that is handles.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// From a number in a query's value.
    pub fn from_bits(bits: u64) -> Self {
        Handle(bits)
    }
}

impl<'a> Wire<'a> for Handle {
    const MIN: usize = 8;
    #[inline]
    fn put(&self, w: &mut Writer<'a>) {
        self.0.put(w);
    }
    #[inline]
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Handle(u64::get(r)?))
    }
}
