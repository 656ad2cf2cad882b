// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How one side of a channel wakes the other.

use std::io;
use std::time::Duration;

/// Why [`Doorbell::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wake {
    /// This side's event word now.
    pub(super) event: u32,
    /// The other side closed the channel, or its machine is gone. Once true,
    /// always true.
    pub(super) closed: bool,
}

/// A channel's notifications. Each side has an *event word* that counts the
/// other side's [`notify`](Doorbell::notify).
pub(super) trait Doorbell: Send + Sync {
    /// Adds one to the other side's event word and wakes it. Does not block.
    fn notify(&self) -> io::Result<()>;

    /// Sleeps until this side's event word differs from `seen`, the other side
    /// is gone, or the time is up, which is `ErrorKind::TimedOut`. `None`: no
    /// limit of time; zero: only looks. Signals do not end it. Threads may sleep at the same
    /// time, and each notices every change.
    fn wait(&self, seen: u32, timeout: Option<Duration>) -> io::Result<Wake>;
}
