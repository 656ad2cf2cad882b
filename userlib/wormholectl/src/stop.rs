// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signals that ask a holding command to end.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::Error;

/// A file that becomes readable on SIGTERM, SIGINT or SIGHUP, which from now
/// on do nothing else to this thread.
pub fn signals() -> Result<SignalFd, Error> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|errno| Error::os("cannot wait for signals", errno))
}
