// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a kernel's argument is, so that a handle is told from a number, and what
//! it is set to.

use crate::handle::Handle;
use crate::wire::{Malformed, Reader, Wire, Writer};

/// Kind of a kernel's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind {
    /// The vendor does not say.
    Unknown,
    /// A memory object, or null.
    Memory,
    /// A sampler.
    Sampler,
    /// Local memory: a size and no value.
    Local,
    /// A value of so many bytes; 0 if the size is not known.
    Value(u32),
}

impl<'a> Wire<'a> for ArgKind {
    const MIN: usize = 1;
    fn put(&self, w: &mut Writer<'a>) {
        let code: u8 = match self {
            ArgKind::Unknown => 0,
            ArgKind::Memory => 1,
            ArgKind::Sampler => 2,
            ArgKind::Local => 3,
            ArgKind::Value(_) => 4,
        };
        code.put(w);
        if let ArgKind::Value(size) = self {
            size.put(w);
        }
    }
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match u8::get(r)? {
            0 => ArgKind::Unknown,
            1 => ArgKind::Memory,
            2 => ArgKind::Sampler,
            3 => ArgKind::Local,
            4 => ArgKind::Value(u32::get(r)?),
            _ => return Err(Malformed::Contradiction("no such kind of argument")),
        })
    }
}

/// What an argument of a kernel is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelArg<'a> {
    /// Its index.
    pub index: u32,
    /// In bytes, as the program gave it.
    pub size: u64,
    /// A memory object or sampler, or null.
    pub object: Handle,
    /// The bytes of anything else.
    pub value: Option<&'a [u8]>,
}

impl<'a> Wire<'a> for KernelArg<'a> {
    const MIN: usize = 4 + 8 + Handle::MIN + 1;
    fn put(&self, w: &mut Writer<'a>) {
        self.index.put(w);
        self.size.put(w);
        self.object.put(w);
        self.value.put(w);
    }
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(KernelArg {
            index: Wire::get(r)?,
            size: Wire::get(r)?,
            object: Wire::get(r)?,
            value: Wire::get(r)?,
        })
    }
}
