// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every transport carries, and the two directions of one.

use std::io::IoSlice;
use std::time::Instant;

use crate::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Posted = 1,
    Call = 2,
    Reply = 3,
}

/// What is said of a message before its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    /// Counts requests from 0, wrapping; a reply repeats its call's.
    pub(crate) sequence: u32,
    pub(crate) len: u32,
}

/// The direction in which an end sends.
pub(crate) trait Outgoing: Send {
    /// Sends a message of `message.len` bytes, which are those of `parts`. One that is posted
    /// may be kept back.
    fn send(&mut self, message: Message, parts: &[IoSlice<'_>]) -> Result<(), Error>;

    /// Sends what was kept back, and wakes the receiver.
    fn flush(&mut self) -> Result<(), Error>;
}

/// The direction in which an end receives.
pub(crate) trait Incoming: Send {
    /// Waits for the next message, which replaces the contents of `bytes`. `accept` sees what it
    /// claims to be before that. `None` if the sender has gone between two messages.
    fn receive(
        &mut self,
        accept: impl FnOnce(Message) -> Result<(), Error>,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Message>, Error>;

    /// Has [`receive`](Incoming::receive) fail at that time.
    fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<(), Error>;
}
