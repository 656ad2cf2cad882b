// SPDX-License-Identifier: GPL-2.0

//! Mappings of a channel in user space, filled page by page.

use crate::endpoint::Endpoint;
use core::ops::Range;
use kernel::{
    bindings,
    mm::virt::{
        flags,
        VmaNew,
        VmaRef, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    types::ForeignOwnable, //
};

/// The page of the open file `file` that a VMA has at `address`; `None` if it is not of that file.
///
/// `file` is one of ours, so a VMA of it was prepared by [`Mapping::install`].
pub(crate) fn page_of(vma: &VmaRef, file: *mut bindings::file, address: usize) -> Option<usize> {
    // SAFETY: A `VmaRef` is valid and locked.
    let (its_file, first) = unsafe { ((*vma.as_ptr()).vm_file, (*vma.as_ptr()).vm_pgoff) };
    if its_file != file || address >= vma.end() {
        return None;
    }
    let offset = address.checked_sub(vma.start())?;
    first.checked_add(offset >> PAGE_SHIFT)
}

/// What a page fault comes to.
#[derive(Clone, Copy)]
pub(crate) struct VmFault(bindings::vm_fault_t);

impl VmFault {
    /// SIGBUS.
    pub(crate) const BUS_ERROR: Self = Self(bindings::vm_fault_reason_VM_FAULT_SIGBUS);
}

/// A mapping that `mmap(2)` is about to make of an [`Endpoint`]'s file.
pub(crate) struct Mapping<'a>(&'a VmaNew);

impl<'a> Mapping<'a> {
    /// Wraps the VMA that `->mmap()` gets.
    ///
    /// # Safety
    ///
    /// `vma` must be valid and be undergoing its set-up for a file whose private data is a
    /// `KBox<Endpoint>`.
    pub(crate) unsafe fn from_raw(vma: *mut bindings::vm_area_struct) -> Self {
        // SAFETY: By the safety requirements.
        Self(unsafe { VmaNew::from_raw(vma) })
    }

    /// `MAP_SHARED`.
    pub(crate) fn shared(&self) -> bool {
        self.0.flags() & flags::SHARED != 0
    }

    /// Bytes.
    pub(crate) fn length(&self) -> u64 {
        self.0.end().saturating_sub(self.0.start()) as u64
    }

    /// Offset in the file, bytes.
    pub(crate) fn offset(&self) -> Result<u64> {
        // SAFETY: The VMA is valid and not shared yet.
        let pages = unsafe { (*self.0.as_ptr()).vm_pgoff };
        (pages as u64).checked_mul(PAGE_SIZE as u64).ok_or(EINVAL)
    }

    /// Refuses `PROT_EXEC`, now and for `mprotect(2)`.
    pub(crate) fn forbid_execution(&self) -> Result {
        self.0.try_clear_mayexec().map_err(|_| EACCES)
    }

    /// Leaves the pages to [`Endpoint::fault`].
    pub(crate) fn install(&self) {
        self.0.set_io();
        self.0.set_dontexpand();
        self.0.set_dontdump();
        let vma = self.0.as_ptr();
        // SAFETY: The VMA is undergoing its set-up, so it is ours to write. It has page frames
        // alone (VM_PFNMAP), which `Fault::map` inserts; the operations live as long as the
        // module, which the file holds.
        unsafe {
            (*vma).__bindgen_anon_2.vm_flags |= flags::PFNMAP;
            (*vma).vm_ops = &OPERATIONS;
        }
    }
}

const OPERATIONS: bindings::vm_operations_struct = bindings::vm_operations_struct {
    fault: Some(fault),
    ..pin_init::zeroed()
};

/// # Safety
///
/// To be called by the kernel alone, on a VMA that [`Mapping::install`] prepared.
unsafe extern "C" fn fault(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The kernel passes a valid fault of a VMA of ours, whose file it holds.
    let private = unsafe { (*(*(*fault).__bindgen_anon_1.vma).vm_file).private_data };
    // SAFETY: `Mapping` has it that this is a `KBox<Endpoint>`; it is released with the file.
    let endpoint = unsafe { <KBox<Endpoint> as ForeignOwnable>::borrow(private) };
    // INVARIANT: See above.
    endpoint
        .fault(&Fault {
            fault,
            _lifetime: core::marker::PhantomData,
        })
        .0
}

/// A page fault in a mapping.
///
/// # Invariants
///
/// `fault` is valid for `'a`, of a VMA that [`Mapping::install`] prepared.
pub(crate) struct Fault<'a> {
    fault: *mut bindings::vm_fault,
    _lifetime: core::marker::PhantomData<&'a bindings::vm_fault>,
}

impl Fault<'_> {
    /// The page of the file that is missing.
    pub(crate) fn page(&self) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.fault).__bindgen_anon_1.pgoff }
    }

    /// Maps pages of the file (those that lie in the mapping), the missing one first. `pfn`: the
    /// page frame of the file's page 0, of memory that stays there until
    /// [`crate::address_space::AddressSpace::unmap_all`].
    pub(crate) fn map(&self, pages: Range<usize>, pfn: usize) -> VmFault {
        let missing = self.map_page(self.page(), pfn);
        if missing.0 == bindings::vm_fault_reason_VM_FAULT_NOPAGE {
            for page in pages {
                // What fails here faults when it is needed.
                let _ = self.map_page(page, pfn);
            }
        }
        missing
    }

    fn map_page(&self, page: usize, pfn: usize) -> VmFault {
        // SAFETY: Valid by the type invariants.
        let vma = unsafe { (*self.fault).__bindgen_anon_1.vma };
        // SAFETY: As above; the VMA is locked against changes during a fault.
        let (start, end, first) = unsafe {
            (
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start,
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_end,
                (*vma).vm_pgoff,
            )
        };
        let address = page
            .checked_sub(first)
            .and_then(|pages| pages.checked_mul(1 << PAGE_SHIFT))
            .and_then(|bytes| start.checked_add(bytes))
            .filter(|address| *address < end);
        let (Some(address), Some(pfn)) = (address, pfn.checked_add(page)) else {
            return VmFault::BUS_ERROR;
        };
        // SAFETY: The VMA is valid, has VM_PFNMAP, and the address lies within. Callers vouch for
        // the page frame.
        VmFault(unsafe { bindings::vmf_insert_pfn(vma, address, pfn) })
    }
}
