// SPDX-License-Identifier: GPL-2.0

//! Pages of a process, pinned, and their guest-physical addresses.

use crate::{
    mapping,
    registered::{
        Rights,
        Slot, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    fs::File,
    mm::{
        virt::{
            flags,
            VmaRef, //
        },
        MmWithUser, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::Atomic, //
};

/// A page of the kernel's own whose guest-physical address is known.
///
/// # Invariants
///
/// The pointer is to a page of the direct mapping that is owned.
pub(crate) struct PhysicalPage(NonNull<u8>);

impl PhysicalPage {
    /// A zeroed page.
    pub(crate) fn new() -> Result<Self> {
        let flags = bindings::GFP_KERNEL | bindings::__GFP_ZERO;
        // SAFETY: No requirements.
        let address = unsafe { bindings::get_free_pages_noprof(flags, 0) };
        // INVARIANT: Just allocated.
        NonNull::new(address as *mut u8).map(Self).ok_or(ENOMEM)
    }

    /// Its guest-physical address.
    pub(crate) fn gpa(&self) -> u64 {
        gpa_of_kernel(self.0.as_ptr() as usize)
    }

    /// Writes entry `index` of an array of `T`; EINVAL if that is not in the page.
    pub(crate) fn write<T: Copy>(&mut self, index: usize, value: T) -> Result {
        if align_of::<T>() > PAGE_SIZE || index >= PAGE_SIZE / size_of::<T>().max(1) {
            return Err(EINVAL);
        }
        // SAFETY: Within the page, which is ours, and aligned.
        unsafe { self.0.as_ptr().cast::<T>().add(index).write(value) };
        Ok(())
    }
}

impl Drop for PhysicalPage {
    fn drop(&mut self) {
        // SAFETY: Ours by the invariants.
        unsafe { bindings::free_pages(self.0.as_ptr() as usize, 0) };
    }
}

/// The guest-physical address behind one of the direct mapping.
pub(crate) fn gpa_of_kernel(address: usize) -> u64 {
    // SAFETY: Set at boot, and never again.
    let base = unsafe { bindings::page_offset_base };
    address.wrapping_sub(base) as u64
}

/// The guest-physical address of a page, by the address of its `struct page`.
fn gpa_of_page(page: usize) -> u64 {
    // SAFETY: Set at boot, and never again.
    let start = unsafe { bindings::vmemmap_base };
    ((page.wrapping_sub(start) / size_of::<bindings::page>()) as u64) << PAGE_SHIFT
}

/// Gives the pin of a slot back, if it has one. Callable from any context, with the page locked or
/// not.
pub(crate) fn unpin(slot: Slot) {
    let page = slot.page() as *mut bindings::page;
    if page.is_null() {
        return;
    }
    if slot.writable() {
        // SAFETY: A page that is pinned, by us. Not `set_page_dirty_lock`: whoever invalidates it
        // may hold its lock. It is anonymous memory or shmem (pins for long and for writing are of
        // no other), where the page's lock protects nothing that this needs.
        unsafe { bindings::set_page_dirty(page) };
    }
    // SAFETY: As above; slots are unpinned once, as whoever does so owns them.
    unsafe { bindings::unpin_user_page(page) };
}

/// A page that was looked up: where, its guest-physical address, what is pinned.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) address: usize,
    pub(crate) gpa: u64,
    pub(crate) slot: Slot,
}

/// What the device has mapped into the process: through which file, and the page frame of the
/// file's first page.
pub(crate) struct Channel<'a> {
    pub(crate) file: &'a File,
    pub(crate) pfn: usize,
}

/// Looks pages of the calling process up.
pub(crate) struct Lookup<'a> {
    pub(crate) mm: &'a MmWithUser,
    pub(crate) channel: Channel<'a>,
    pub(crate) rights: Rights,
}

impl Lookup<'_> {
    /// Looks up the pages at `addresses`, which ascend, pins them, and adds them to `found`, as far
    /// as it has room and until the first that cannot be had.
    ///
    /// The pages are in the process's page tables when this returns, so that whatever changes
    /// afterwards is an invalidation.
    pub(crate) fn find(
        &self,
        addresses: &[usize],
        pages: &mut KVec<*mut bindings::page>,
        found: &mut KVec<Found>,
    ) -> Result {
        let guard = self.mm.mmap_read_lock();
        let mut rest = addresses;
        while let Some(first) = rest.first().copied() {
            let vma = guard.vma_lookup(first).ok_or(EFAULT)?;
            self.check(vma)?;
            let run = rest
                .iter()
                .zip((first..vma.end()).step_by(PAGE_SIZE))
                .take_while(|(address, expected)| **address == *expected)
                .count();
            let (now, later) = rest.split_at_checked(run).ok_or(EINVAL)?;
            match self.channel_page(vma, first) {
                Some(_) => self.find_channel(vma, now, found)?,
                None => self.pin(now, pages, found)?,
            }
            rest = later;
        }
        Ok(())
    }

    fn check(&self, vma: &VmaRef) -> Result {
        let mut needed = flags::READ;
        if self.rights.write() {
            needed |= flags::WRITE;
        }
        if self.rights.execute() {
            needed |= flags::EXEC;
        }
        if vma.flags() & needed == needed {
            Ok(())
        } else {
            Err(EACCES)
        }
    }

    /// The guest-physical address of what is mapped at `address`, if that is the channel.
    fn channel_page(&self, vma: &VmaRef, address: usize) -> Option<u64> {
        let file = self.channel.file.as_ptr();
        let page = mapping::page_of(vma, file, address)?;
        let pfn = self.channel.pfn.checked_add(page)?;
        Some((pfn as u64) << PAGE_SHIFT)
    }

    /// Finds pages of the channel, after the fault that maps them (and notes that they were used).
    fn find_channel(&self, vma: &VmaRef, addresses: &[usize], found: &mut KVec<Found>) -> Result {
        let flags = if self.rights.write() {
            bindings::fault_flag_FAULT_FLAG_WRITE
        } else {
            0
        };
        for address in addresses.iter().copied() {
            let gpa = self.channel_page(vma, address).ok_or(EFAULT)?;
            // SAFETY: The caller holds the mm's lock, which without `unlocked` stays held.
            to_result(unsafe {
                bindings::fixup_user_fault(self.mm.as_raw(), address, flags, core::ptr::null_mut())
            })?;
            let slot = Slot::new(0, self.rights);
            found.push_within_capacity(Found { address, gpa, slot })?;
        }
        Ok(())
    }

    /// Pins pages of one mapping, at successive addresses.
    fn pin(
        &self,
        addresses: &[usize],
        pages: &mut KVec<*mut bindings::page>,
        found: &mut KVec<Found>,
    ) -> Result {
        let first = addresses.first().copied().ok_or(EINVAL)?;
        let room = pages
            .len()
            .min(found.capacity().saturating_sub(found.len()));
        if addresses.len() > room {
            return Err(EINVAL);
        }
        let flags = if self.rights.write() {
            bindings::FOLL_WRITE | bindings::FOLL_LONGTERM
        } else if self.rights.execute() {
            // The host copies it: until then.
            0
        } else {
            bindings::FOLL_LONGTERM
        };
        // SAFETY: The caller holds the lock of the mm, which is the calling process's; `pages` has
        // that much room, just checked.
        let pinned =
            unsafe { bindings::pin_user_pages(first, addresses.len(), flags, pages.as_mut_ptr()) };
        let count = match usize::try_from(pinned) {
            Ok(count) => count,
            // Which would say that there are no exitless calls.
            Err(_) if pinned == -(bindings::EOPNOTSUPP as c_long) => return Err(EFAULT),
            Err(_) => return to_result(pinned.try_into()?),
        };
        for (address, page) in addresses.iter().zip(pages.iter()).take(count) {
            let page = *page as usize;
            found.push_within_capacity(Found {
                address: *address,
                gpa: gpa_of_page(page),
                slot: Slot::new(page, self.rights),
            })?;
        }
        if count == addresses.len() {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}

/// A page of a process that this has pinned, for writing and for long.
///
/// # Invariants
///
/// The slot has the pin of a page.
pub(crate) struct PinnedPage(Slot);

impl PinnedPage {
    /// The page at `address` of the calling process.
    pub(crate) fn new(address: usize) -> Result<Self> {
        let rights = Rights::new((Rights::READ | Rights::WRITE) as u32).ok_or(EINVAL)?;
        let flags = bindings::FOLL_WRITE | bindings::FOLL_LONGTERM;
        let mut page = core::ptr::null_mut();
        // SAFETY: Room for one page; process context, without the mm's lock.
        let pinned = unsafe { bindings::pin_user_pages_fast(address, 1, flags, &mut page) };
        if pinned != 1 {
            to_result(pinned)?;
            return Err(EFAULT);
        }
        // INVARIANT: Just pinned.
        Ok(Self(Slot::new(page as usize, rights)))
    }

    /// Its guest-physical address.
    pub(crate) fn gpa(&self) -> u64 {
        gpa_of_page(self.0.page())
    }

    /// Its first word, which others may change at any time.
    pub(crate) fn first_word(&self) -> &Atomic<u32> {
        // SAFETY: Set at boot, and never again.
        let base = unsafe { bindings::page_offset_base };
        let page = base.wrapping_add(self.gpa() as usize);
        // SAFETY: The direct mapping has all memory that can be pinned, and by the type invariants
        // this page is not freed. All accesses by this driver are atomic.
        unsafe { Atomic::from_ptr(page as *mut u32) }
    }
}

impl Drop for PinnedPage {
    fn drop(&mut self) {
        unpin(self.0);
    }
}
