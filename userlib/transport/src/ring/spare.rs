// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory of a channel that messages leave alone.

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::channel::Channel;
use super::counts::Counts;
use super::data::DataArea;
use super::shared::{Region, SharedWord};
use super::word::Word;
use crate::Error;

/// The memory of a channel that messages leave alone, for what goes beside
/// them: calls, and behind these [`DataArea`]. Both ends can change it at any time:
/// what is read is a copy, and may be anything.
pub struct Spare {
    /// That for calls.
    region: Region,
    len: u64,
    data: DataArea,
    counts: Counts,
    file: Option<OwnedFd>,
}

/// A word of that memory. The other end can change it at any time.
pub struct SpareWord(SharedWord);

impl SpareWord {
    /// What it is now. What the other end wrote before it stored this is there, too.
    #[inline]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Changes it, behind everything that this end wrote before.
    #[inline]
    pub fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

impl Spare {
    /// Of a channel that was reached through `file`, a file of the guest driver.
    pub(super) fn new(channel: &Channel, file: Option<OwnedFd>) -> Self {
        let (offset, len) = channel.layout.calls();
        Spare {
            region: channel.memory.part(offset, len),
            len,
            data: DataArea::new(channel),
            counts: Counts::new(channel),
            file,
        }
    }

    /// The part for data.
    pub fn data(&self) -> &DataArea {
        &self.data
    }

    /// The part for counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where the parts for calls and for data are mapped.
    pub fn addresses(&self) -> Range<usize> {
        self.region.addresses().start..self.data.addresses().end
    }

    /// Size in bytes of the part for calls, which the other functions are about.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// The guest driver's file that the channel belongs to, if it is one of a window.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Copies `parts` to `offset`, one behind the other. Gives the offset of
    /// what follows.
    ///
    /// # Errors
    /// [`Error::Misuse`] if they do not fit.
    #[inline]
    pub fn write(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<u64, Error> {
        let mut at = offset;
        for part in parts {
            let end = self.end(at, part.len() as u64)?;
            self.region.write(at, part);
            at = end;
        }
        Ok(at)
    }

    /// Appends a copy of the `len` bytes at `offset` to `bytes`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if they are not all there, [`Error::Io`] if there is no
    /// memory for them.
    #[inline]
    pub fn read(&self, offset: u64, len: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.end(offset, len)?;
        self.region
            .append_to(offset, len, bytes)
            .map_err(|_| Error::Io(std::io::ErrorKind::OutOfMemory.into()))
    }

    /// The word at `offset`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is not there, or not aligned.
    pub fn word(&self, offset: u64) -> Result<SpareWord, Error> {
        self.end(offset, size_of::<u64>() as u64)?;
        match offset % size_of::<u64>() as u64 {
            0 => Ok(SpareWord(self.region.word(offset))),
            _ => Err(Error::Misuse("a word that is not aligned")),
        }
    }

    #[inline]
    fn end(&self, offset: u64, len: u64) -> Result<u64, Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(end),
            _ => Err(Error::Misuse("an access beyond the memory for calls")),
        }
    }
}
