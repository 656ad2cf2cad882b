// SPDX-License-Identifier: GPL-2.0

//! Where an open file is mapped, so that its mappings can be taken away.

use kernel::{
    bindings,
    fs::File, //
};

/// The address space of an open file's inode.
///
/// # Invariants
///
/// `mapping` is valid: this holds a reference to its host, an inode.
pub(crate) struct AddressSpace {
    mapping: *mut bindings::address_space,
}

// SAFETY: An address space and its inode have no affinity to a task.
unsafe impl Send for AddressSpace {}
// SAFETY: They have locks of their own.
unsafe impl Sync for AddressSpace {}

impl AddressSpace {
    /// That of `file`.
    pub(crate) fn of(file: &File) -> Self {
        // SAFETY: `f_mapping` of an open file does not change and is valid, with a host.
        let mapping = unsafe { (*file.as_ptr()).f_mapping };
        // SAFETY: The file holds a reference to the inode, so we may take another.
        unsafe { bindings::ihold((*mapping).host) };
        // INVARIANT: Just took the reference.
        Self { mapping }
    }

    /// Takes all pages out of all mappings of the file; the next access faults. Sleeps.
    pub(crate) fn unmap_all(&self) {
        // SAFETY: `mapping` is valid by the type invariants. A length of 0 means to the end.
        unsafe { bindings::unmap_mapping_range(self.mapping, 0, 0, 1) };
    }
}

impl Clone for AddressSpace {
    fn clone(&self) -> Self {
        // SAFETY: We hold a reference, so we may take another.
        unsafe { bindings::ihold((*self.mapping).host) };
        // INVARIANT: Just took the reference.
        Self {
            mapping: self.mapping,
        }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // SAFETY: Gives back the reference of the type invariants.
        unsafe { bindings::iput((*self.mapping).host) };
    }
}
