// SPDX-License-Identifier: GPL-2.0

//! Eventfds, which KVM turns into interrupts of a VM (irqfd).

use crate::bindings as c;
use core::ptr::NonNull;
use kernel::{error::from_err_ptr, prelude::*};

/// A reference to an eventfd.
///
/// # Invariants
///
/// The pointer is valid, and a reference to it is owned.
pub(crate) struct EventFd(NonNull<c::eventfd_ctx>);

// SAFETY: Eventfds are reference-counted, and used from any thread.
unsafe impl Send for EventFd {}
// SAFETY: As above.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// The one that a file descriptor of the caller's stands for. EBADF: it is not open; EINVAL: it
    /// is something else.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: Process context.
        let context = from_err_ptr(unsafe { c::eventfd_ctx_fdget(fd) })?;
        // INVARIANT: A reference was taken.
        NonNull::new(context).map(Self).ok_or(EBADF)
    }

    /// Adds one to its count, unless that is at its limit. Does not sleep; in any context.
    pub(crate) fn signal(&self) {
        // SAFETY: By the invariants.
        unsafe { c::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { c::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
