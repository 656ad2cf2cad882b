// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The event file descriptors that carry a VM's interrupts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};
use wormhole_uapi::{WORMHOLE_VECTORS, WORMHOLE_VECTOR_CHANNEL, WORMHOLE_VECTOR_LINK};

const VECTORS: usize = WORMHOLE_VECTORS as usize;

/// One eventfd per MSI-X vector of a role's VM.
pub struct Vectors([Arc<OwnedFd>; VECTORS]);

impl Vectors {
    pub fn new() -> Result<Vectors, Errno> {
        let one = || {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            EventFd::from_value_and_flags(0, flags).map(|fd| Arc::new(OwnedFd::from(fd)))
        };
        Ok(Vectors([one()?, one()?]))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<OwnedFd>> {
        self.0.iter()
    }

    /// What raises the VM's interrupt for its channels.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.0[WORMHOLE_VECTOR_CHANNEL as usize].as_fd()
    }

    /// Raises the VM's link interrupt, if it is not pending.
    pub fn signal_link(&self) {
        let fd = &self.0[WORMHOLE_VECTOR_LINK as usize];
        // Not writable: the counter is full, so the interrupt is pending.
        if is_ready(fd, PollFlags::POLLOUT) {
            if let Err(error) = write(fd, &1u64.to_ne_bytes()) {
                log::debug!("link interrupt: {}", error.desc());
            }
        }
    }

    /// Forgets interrupts that nobody took.
    pub fn drain(&self) {
        for fd in &self.0 {
            if is_ready(fd, PollFlags::POLLIN) {
                if let Err(error) = read(fd, &mut [0; 8]) {
                    log::debug!("stale interrupt: {}", error.desc());
                }
            }
        }
    }
}

/// Whether a read or write can be done now. Asked first, for `O_NONBLOCK`
/// does not hold for sure: each QEMU that has the eventfd can take it away.
fn is_ready(fd: &OwnedFd, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), flags)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds[0].any().unwrap_or(false),
        Err(errno) => {
            log::debug!("eventfd: {}", errno.desc());
            false
        }
    }
}
