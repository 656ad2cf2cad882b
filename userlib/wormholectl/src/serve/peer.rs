// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A QEMU that is connected to one of the two VM sockets.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::ivshmem::{Message, Outbox};

/// Where a connection stands.
pub enum Phase<P> {
    /// It gets nothing until its process has a VM.
    Seeking { process: P, until: Instant },
    /// It has the window. `process` is `None` where no VM is sought.
    Served { process: Option<P> },
}

/// What a peer's side of the socket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Quiet,
    Closed,
    /// It sent something, which no ivshmem client does.
    Spoke,
}

/// Turns a connection away that has got nothing yet.
pub fn refuse(stream: &UnixStream, errno: Errno) {
    let told = Outbox::new([Message::refusal(errno)]).flush(stream.as_fd());
    // Who has left already need not be told.
    if let Err(errno) = told {
        log::debug!("refusal: {}", errno.desc());
    }
}

/// One connection.
pub struct Peer<P> {
    stream: UnixStream,
    pub pid: i32,
    pub since: Instant,
    pub phase: Phase<P>,
    outbox: Outbox,
}

impl<P> Peer<P> {
    /// Whose VM is sought. `stream` is non-blocking.
    pub fn seeking(
        stream: UnixStream,
        pid: i32,
        since: Instant,
        process: P,
        until: Instant,
    ) -> Peer<P> {
        Peer {
            stream,
            pid,
            since,
            phase: Phase::Seeking { process, until },
            outbox: Outbox::default(),
        }
    }

    /// Which has the window: `handshake` is all that it gets. `stream` is
    /// non-blocking.
    pub fn served(
        stream: UnixStream,
        pid: i32,
        since: Instant,
        process: Option<P>,
        handshake: impl IntoIterator<Item = Message>,
    ) -> Peer<P> {
        Peer {
            stream,
            pid,
            since,
            phase: Phase::Served { process },
            outbox: Outbox::new(handshake),
        }
    }

    /// Turns it away; only before it has the window.
    pub fn refuse(&self, errno: Errno) {
        refuse(&self.stream, errno);
    }

    /// The connection and where it stood.
    pub fn into_parts(self) -> (UnixStream, Phase<P>) {
        (self.stream, self.phase)
    }

    /// Looks whether it closed or spoke.
    pub fn listen(&self) -> Speech {
        loop {
            return match (&self.stream).read(&mut [0; 64]) {
                Ok(0) => Speech::Closed,
                Ok(_) => Speech::Spoke,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => Speech::Quiet,
                    ErrorKind::Interrupted => continue,
                    _ => Speech::Closed,
                },
            };
        }
    }

    /// Sends what it takes now.
    pub fn flush(&mut self) -> Result<(), Errno> {
        self.outbox.flush(self.stream.as_fd())
    }

    /// Whether it has the window.
    pub fn is_served(&self) -> bool {
        matches!(self.phase, Phase::Served { .. })
    }

    /// The socket, for poll(2), and what to wait for.
    pub fn interest(&self) -> (&UnixStream, PollFlags) {
        let flags = if self.outbox.is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        (&self.stream, flags)
    }
}
