// SPDX-License-Identifier: GPL-2.0

//! Memory of a VM, pinned.

use crate::{
    bindings as mm,
    table::HostPhys,
    table_page::{direct_map, frame_of},
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Relaxed, Release},
};

/// A page of a VM's memory that stays where it is, whatever the VM's process does.
///
/// # Invariants
///
/// The page is pinned, for writing and for long.
pub(crate) struct PinnedPage(NonNull<bindings::page>);

// SAFETY: A pin belongs to no thread.
unsafe impl Send for PinnedPage {}
// SAFETY: What is written is hostile memory anyway, through raw pointers alone.
unsafe impl Sync for PinnedPage {}

impl PinnedPage {
    /// Pins the page at a user address of the calling process. EFAULT if that is not memory; EBUSY:
    /// it is pinned too often already.
    pub(crate) fn new(address: usize) -> Result<Self> {
        let mut page = core::ptr::null_mut::<mm::page>();
        // SAFETY: Room for one page; process context.
        let pinned = unsafe {
            mm::pin_user_pages_fast(address, 1, mm::FOLL_WRITE | mm::FOLL_LONGTERM, &mut page)
        };
        let page = NonNull::new(page.cast::<bindings::page>());
        match (pinned, page) {
            // INVARIANT: Just pinned.
            (1, Some(page)) => Self(page).pinned_reasonably_often(),
            _ => Err(EFAULT),
        }
    }

    /// EBUSY if the page's reference count, of which a pin takes 1024, is on its way to its limit:
    /// a guest may register one page of its memory any number of times.
    fn pinned_reasonably_often(self) -> Result<Self> {
        const LIMIT: i32 = 1 << 30;
        // SAFETY: A valid page; the kernel accesses this `atomic_t` atomically too. Of a large folio
        // the first page has the count, and pins take 1 of it; those of the others are 0.
        let references = unsafe {
            let page = self.0.as_ptr().cast::<mm::page>();
            Atomic::from_ptr(&raw mut (*page)._refcount.counter)
        };
        if references.load(Relaxed) > LIMIT {
            return Err(EBUSY);
        }
        Ok(self)
    }

    pub(crate) fn physical(&self) -> HostPhys {
        frame_of(self.0.as_ptr())
    }

    fn address(&self) -> *mut u8 {
        direct_map(self.physical())
    }

    /// Copies from offset `at`; `None` if that is not all in the page.
    pub(crate) fn read(&self, at: usize, bytes: &mut [u8]) -> Option<()> {
        if at.checked_add(bytes.len())? > PAGE_SIZE {
            return None;
        }
        // SAFETY: Within the page, which stays by the invariants. The VM may write it meanwhile:
        // whatever is read is validated afterwards.
        unsafe {
            core::ptr::copy_nonoverlapping(self.address().add(at), bytes.as_mut_ptr(), bytes.len())
        };
        Some(())
    }

    /// The `u64` at offset `at`.
    pub(crate) fn read_u64(&self, at: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Copies to offset `at`; `None` if that is not all in the page.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> Option<()> {
        if at.checked_add(bytes.len())? > PAGE_SIZE {
            return None;
        }
        // SAFETY: As in `read`.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.address().add(at), bytes.len())
        };
        Some(())
    }

    /// Stores a `u32` at offset `at`, a multiple of 4, after everything written before.
    pub(crate) fn publish(&self, at: usize, value: u32) -> Option<()> {
        if at % 4 != 0 || at.checked_add(4)? > PAGE_SIZE {
            return None;
        }
        // SAFETY: Aligned and within the page; as in `read`.
        unsafe { Atomic::from_ptr(self.address().add(at).cast::<u32>()) }.store(value, Release);
        Some(())
    }

    /// A copy of the whole page.
    pub(crate) fn copy_to(&self, copy: &mut [u8; PAGE_SIZE]) {
        let _ = self.read(0, copy);
    }
}

impl Drop for PinnedPage {
    fn drop(&mut self) {
        let mut page = self.0.as_ptr();
        // SAFETY: Pinned by the invariants. A view may have written it.
        unsafe { bindings::unpin_user_pages_dirty_lock(&mut page, 1, true) };
    }
}
