// SPDX-License-Identifier: GPL-2.0

//! Pages that the CPU reads by their physical address: EPTs, the views' page tables, and their
//! data.

use crate::table::{HostPhys, Tables};
use core::ptr::NonNull;
use kernel::{
    bindings,
    page::{PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
    sync::atomic::{Atomic, Relaxed, Release},
};

const WORDS: usize = PAGE_SIZE / size_of::<u64>();

/// The direct mapping of physical memory.
pub(crate) fn direct_map(page: HostPhys) -> *mut u8 {
    // SAFETY: Set at boot, and never again.
    let base = unsafe { bindings::page_offset_base };
    base.wrapping_add(page.address() as usize) as *mut u8
}

/// The page frame of a `struct page`.
pub(crate) fn frame_of(page: *const bindings::page) -> HostPhys {
    // SAFETY: Set at boot, and never again.
    let start = unsafe { bindings::vmemmap_base };
    let index = (page as usize).wrapping_sub(start) / size_of::<bindings::page>();
    HostPhys::of_entry((index as u64) << PAGE_SHIFT)
}

/// A page of our own.
///
/// # Invariants
///
/// The pointer is to a page of the direct mapping that is owned.
pub(crate) struct TablePage(NonNull<u64>);

// SAFETY: A page belongs to no thread; it is accessed atomically alone.
unsafe impl Send for TablePage {}
// SAFETY: As above.
unsafe impl Sync for TablePage {}

impl TablePage {
    /// A zeroed page, charged to the calling process's memory control group.
    pub(crate) fn new() -> Result<Self> {
        let flags = bindings::GFP_KERNEL_ACCOUNT | bindings::__GFP_ZERO;
        // SAFETY: No requirements.
        let address = unsafe { bindings::get_free_pages_noprof(flags, 0) };
        // INVARIANT: Just allocated.
        NonNull::new(address as *mut u64).map(Self).ok_or(ENOMEM)
    }

    pub(crate) fn physical(&self) -> HostPhys {
        // SAFETY: Set at boot, and never again.
        let base = unsafe { bindings::page_offset_base };
        HostPhys::of_entry((self.0.as_ptr() as usize).wrapping_sub(base) as u64)
    }

    /// The word `index`, less than 512; 0 beyond.
    pub(crate) fn load(&self, index: usize) -> u64 {
        word(self.physical(), index).map_or(0, |word| word.load(Relaxed))
    }

    /// Stores the word `index`, less than 512. A vCPU may read it meanwhile.
    pub(crate) fn store(&self, index: usize, value: u64) {
        if let Some(word) = word(self.physical(), index) {
            word.store(value, Release);
        }
    }

    /// The bytes of a page that no table names for writing.
    pub(crate) fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: A page of ours; nobody writes it while it is borrowed, by what the caller says.
        unsafe { &*self.0.as_ptr().cast() }
    }

    /// Its bytes, before anybody else knows of it.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: A page of ours, which `&mut self` says nobody else uses.
        unsafe { &mut *self.0.as_ptr().cast() }
    }
}

impl Drop for TablePage {
    fn drop(&mut self) {
        // SAFETY: Ours by the invariants; whoever owns a page that a CPU may still read through its
        // TLB has it flushed first.
        unsafe { bindings::free_pages(self.0.as_ptr() as usize, 0) };
    }
}

/// Pages that are all freed together.
#[derive(Default)]
pub(crate) struct TablePages(KVec<TablePage>);

impl TablePages {
    /// Pages of it, for statistics.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Tables for TablePages {
    fn allocate(&mut self) -> Option<HostPhys> {
        let page = TablePage::new().ok()?;
        let physical = page.physical();
        self.0.push(page, GFP_KERNEL).ok()?;
        Some(physical)
    }

    fn read(&self, page: HostPhys, index: usize) -> u64 {
        word(page, index).map_or(0, |word| word.load(Relaxed))
    }

    fn write(&mut self, page: HostPhys, index: usize, value: u64) {
        if let Some(word) = word(page, index) {
            word.store(value, Release);
        }
    }
}

/// A word of a page that one of our tables names.
fn word<'a>(page: HostPhys, index: usize) -> Option<&'a Atomic<u64>> {
    if index >= WORDS {
        return None;
    }
    let address = direct_map(page).cast::<u64>().wrapping_add(index);
    // SAFETY: A page of ours: a `TablePage`, or one that `TablePages::allocate` gave to the tables
    // that name it.
    Some(unsafe { Atomic::from_ptr(address) })
}
