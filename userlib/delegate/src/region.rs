// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The gate region of this process, and the page in it.

use std::ptr::{copy_nonoverlapping, null_mut};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{mmap_anonymous, mprotect, munmap, MapFlags, MprotectFlags, ProtFlags};
use wormhole_uapi as uapi;

use crate::gate::PAGE_SIZE;
use crate::{Error, Role};

const REGION: usize = uapi::WORMHOLE_GATE_REGION as usize;
const REGION_SIZE: usize = 1 << 30;
const GATE: usize = uapi::WORMHOLE_GATE_ADDRESS as usize;

/// What the page is for that this process has there. It stays to the process's end.
static PAGE: Mutex<Option<Role>> = Mutex::new(None);

/// Puts `page` at the gate's address, unless it is there already. All callers of a role must have
/// the same page.
///
/// # Safety
/// Whoever jumps to the page must be fit for what is there.
pub(crate) unsafe fn install(role: Role, page: &[u8; PAGE_SIZE]) -> Result<(), Error> {
    let what = |errno| Error::system("cannot reserve the gate's region", errno);
    let mut installed = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    match *installed {
        Some(other) if other == role => return Ok(()),
        // One process cannot be both: there is one page.
        Some(_) => return Err(what(Errno::BUSY)),
        None => {}
    }
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    let region = REGION as *mut _;
    // SAFETY: nothing is replaced.
    let base = unsafe { mmap_anonymous(region, REGION_SIZE, ProtFlags::empty(), flags) };
    let base = base.map_err(what)?;
    if base != region {
        // A kernel before 4.17 takes the address for a hint.
        // SAFETY: it was just mapped.
        let _ = unsafe { munmap(base, REGION_SIZE) };
        return Err(what(Errno::EXIST));
    }
    // SAFETY: in the region, which is ours and empty.
    let written = unsafe { write(GATE as *mut u8, page) };
    if let Err(errno) = written {
        // SAFETY: nobody knows of it yet.
        let _ = unsafe { munmap(region, REGION_SIZE) };
        return Err(what(errno));
    }
    *installed = Some(role);
    Ok(())
}

/// # Safety
/// `place` must be a page that is this function's to change.
unsafe fn write(place: *mut u8, page: &[u8; PAGE_SIZE]) -> Result<(), Errno> {
    // SAFETY: the caller vouches for it.
    unsafe {
        mprotect(
            place.cast(),
            PAGE_SIZE,
            MprotectFlags::READ | MprotectFlags::WRITE,
        )?;
        copy_nonoverlapping(page.as_ptr(), place, PAGE_SIZE);
        mprotect(
            place.cast(),
            PAGE_SIZE,
            MprotectFlags::READ | MprotectFlags::EXEC,
        )
    }
}

/// Memory of a carrier.
///
/// # Invariants
/// `length` bytes at `base` are this object's mapping, of which those from `usable` on can be read
/// and written.
pub(crate) struct Pages {
    base: *mut u8,
    length: usize,
    usable: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Pages {}
// SAFETY: there is nothing to do with a shared reference but ask for addresses.
unsafe impl Sync for Pages {}

impl Pages {
    /// Zeroed memory; behind `guard` bytes that cannot be accessed.
    pub(crate) fn new(usable: usize, guard: usize) -> Result<Self, Errno> {
        let usable = usable
            .checked_next_multiple_of(PAGE_SIZE)
            .ok_or(Errno::NOMEM)?;
        let length = usable.checked_add(guard).ok_or(Errno::NOMEM)?;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            mmap_anonymous(
                null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        // INVARIANT: it was just mapped.
        let pages = Pages {
            base: base.cast(),
            length,
            usable: guard,
        };
        if guard > 0 {
            // SAFETY: its first pages, which nobody uses yet.
            unsafe { mprotect(base, guard, MprotectFlags::empty()) }?;
        }
        Ok(pages)
    }

    pub(crate) fn start(&self) -> *mut u8 {
        // SAFETY: within the mapping by the invariants.
        unsafe { self.base.add(self.usable) }
    }

    /// Bytes from [`Self::start`].
    pub(crate) fn len(&self) -> usize {
        self.length - self.usable
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: by the invariants it is this object's, and nobody uses it any more.
        let _ = unsafe { munmap(self.base.cast(), self.length) };
    }
}
