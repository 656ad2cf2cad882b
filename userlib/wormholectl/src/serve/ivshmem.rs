// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of the ivshmem server protocol (QEMU, docs/specs/ivshmem-spec):
//! each is a little-endian 64-bit number, some with a file descriptor.
//!
//! Of the protocol, we use the handshake only: a VM gets its vectors and the
//! other VM's when it connects, whether or not the other one is there, and
//! nothing after that. QEMU cannot take notice of a peer that comes back: told
//! that one has gone (its ID without a file), `close_peer_eventfds` in
//! hw/misc/ivshmem-pci.c (hw/misc/ivshmem.c before QEMU 10) frees the peer's
//! array of eventfds and keeps the pointer, so that the peer's next vectors are
//! written to freed memory (QEMU 7.2 was seen to abort; later ones have the
//! same code). Vectors sent again without that notice are refused as too many.
//! Guests hear of each other from the window's link words and the link vector.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};

/// The protocol's version, its first message.
const PROTOCOL_VERSION: i64 = 0;
/// The message that comes with the shared memory.
const SHARED_MEMORY: i64 = -1;

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    pub value: i64,
    pub fd: Option<Arc<OwnedFd>>,
}

impl Message {
    /// The protocol's version.
    pub const fn version() -> Message {
        Message {
            value: PROTOCOL_VERSION,
            fd: None,
        }
    }

    /// Instead of the version: an error number, negated. QEMU (seen in 7.2)
    /// reads on for ever if the connection just ends, but says "server sent
    /// version -16, expecting 0" and exits when it gets this.
    pub fn refusal(errno: Errno) -> Message {
        Message {
            value: -i64::from(errno as i32),
            fd: None,
        }
    }

    /// The receiver's own ID.
    pub fn own_id(id: u32) -> Message {
        Message {
            value: id.into(),
            fd: None,
        }
    }

    /// The shared memory.
    pub const fn shared_memory(fd: Arc<OwnedFd>) -> Message {
        Message {
            value: SHARED_MEMORY,
            fd: Some(fd),
        }
    }

    /// A peer's (or the receiver's own) next vector.
    pub fn vector(id: u32, fd: Arc<OwnedFd>) -> Message {
        Message {
            value: id.into(),
            fd: Some(fd),
        }
    }
}

/// Messages on their way to one peer. Never blocks. It holds one handshake at
/// most, even if the peer never reads.
///
/// # Invariants
/// `sent` is less than 8, and 0 if `queue` is empty.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Message>,
    /// Bytes of the first message that are out already.
    sent: usize,
}

impl Outbox {
    /// With these messages, all that its peer will get.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Outbox {
        Outbox {
            queue: messages.into_iter().collect(),
            sent: 0,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Sends what the socket takes now.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        while let Some(message) = self.queue.front() {
            let bytes = message.value.to_le_bytes();
            let data = [IoSlice::new(&bytes[self.sent..])];
            // The descriptor goes with the first byte.
            let fd = message.fd.as_ref().filter(|_| self.sent == 0);
            let raw = fd.map(|fd| [fd.as_raw_fd()]);
            let control = raw.as_ref().map(|raw| [ControlMessage::ScmRights(raw)]);
            let sent = sendmsg::<()>(
                socket.as_raw_fd(),
                &data,
                control.as_ref().map_or(&[], |control| control.as_slice()),
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
                None,
            );
            match sent {
                Ok(count) => {
                    self.sent += count;
                    if self.sent >= bytes.len() {
                        self.sent = 0;
                        self.queue.pop_front();
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
