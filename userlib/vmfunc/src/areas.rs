// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The division of a channel's spare memory: a half for requests, a half for replies.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use wormhole_transport::{Error, Spare};

/// The two areas. Both sides can change both at any time.
pub(crate) struct Areas {
    memory: Spare,
    /// Bytes of each, a multiple of 8.
    size: u64,
}

impl Areas {
    pub(crate) fn new(memory: Spare) -> Self {
        let size = memory.size() / 16 * 8;
        Areas { memory, size }
    }

    /// Bytes of either area.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The guest driver's file, if there is one.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.memory.file()
    }

    /// Where they are mapped.
    pub(crate) fn addresses(&self) -> std::ops::Range<usize> {
        self.memory.addresses()
    }

    /// Gives the offset of what follows.
    pub(crate) fn write_request(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<u64, Error> {
        self.memory.write(offset, parts)
    }

    /// Appends to `bytes`.
    pub(crate) fn read_request(
        &self,
        offset: u64,
        len: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.memory.read(offset, len, bytes)
    }

    /// At the start of the area of replies.
    pub(crate) fn write_reply(&self, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.memory.write(self.size, parts).map(|_| ())
    }

    /// From the start of the area of replies; appends to `bytes`.
    pub(crate) fn read_reply(&self, len: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.memory.read(self.size, len, bytes)
    }
}
