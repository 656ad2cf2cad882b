// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory of a channel for data that is used where it lies.

use std::ops::Range;
use std::ptr::NonNull;

use super::channel::Channel;
use super::shared::Region;

/// The half of a channel that is for data which one end puts there and the other one
/// uses where it lies: the contents of buffers, as far as nobody has to believe them. Both
/// ends can change it at any time. Which part is in use is their users' affair.
#[derive(Clone)]
pub struct DataArea(Region);

impl DataArea {
    pub(super) fn new(channel: &Channel) -> Self {
        let (offset, size) = channel.layout.data();
        DataArea(channel.memory.part(offset, size))
    }

    pub(super) fn addresses(&self) -> Range<usize> {
        self.0.addresses()
    }

    /// Its size in bytes, a multiple of the page size. It begins on a page.
    pub fn size(&self) -> u64 {
        self.addresses().len() as u64
    }

    /// Where the `len` bytes at `offset` are mapped, as long as this lives. `None` if
    /// they are not all there.
    pub fn address(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        (end <= self.size()).then(|| self.0.part(offset, len).address())
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// If they do not fit: places never come from the other end.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.0.write(offset, bytes);
    }

    /// Copies the `len` bytes at `offset` to `target`.
    ///
    /// # Panics
    /// If they are not all there.
    ///
    /// # Safety
    /// `len` bytes at `target` are valid for writing, and apart from those.
    pub unsafe fn read(&self, offset: u64, len: u64, target: *mut u8) {
        // SAFETY: the caller promises it.
        unsafe { self.0.read_to(offset, len, target) };
    }
}
