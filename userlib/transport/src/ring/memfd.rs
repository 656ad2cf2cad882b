// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A channel between two processes of one machine: a sealed memfd, an eventfd
//! for each side's event word, and a Unix socket that hands them over and
//! whose end is the end of the peer.

use std::fmt;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::channel::{Channel, RingClient, RingServer};
use super::doorbell::{Doorbell, Wake};
use super::layout::Layout;
use super::shared::Region;
use super::spare::Spare;
use crate::{Error, Limits};

/// Size of a channel in bytes.
pub(super) const CHANNEL_SIZE: u64 = 4 << 20;

/// The one message on the socket: this and the channel's size in bytes
/// (little-endian), with the memfd, the server's eventfd and the client's.
const MAGIC: [u8; 8] = *b"WHMEMFD1";
const OFFER_LEN: usize = 16;
const OFFER_FDS: usize = 3;

/// A side's eventfd, the other side's, and the socket between them.
struct EventFds {
    own: OwnedFd,
    peer: OwnedFd,
    socket: UnixStream,
    events: Mutex<Events>,
    /// The events have changed, or nobody polls any more.
    changed: Condvar,
}

#[derive(Default)]
struct Events {
    /// This side's event word: what the eventfd counted so far.
    event: u32,
    closed: bool,
    /// A thread polls, and the others wait for it: it alone sees what it takes out of the eventfd.
    polled: bool,
}

impl EventFds {
    fn events(&self) -> MutexGuard<'_, Events> {
        // Nothing panics half-way through a change.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something new.
    fn poll(&self, left: Option<Duration>) -> io::Result<bool> {
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::new(&self.own, PollFlags::IN),
            PollFd::new(&self.socket, PollFlags::RDHUP),
        ];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => Ok(!fds[1].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What the eventfd counted since it was last asked.
    fn count(&self) -> io::Result<u32> {
        let mut count = [0; 8];
        match rustix::io::read(&self.own, &mut count) {
            // The event word wraps as the driver's does.
            Ok(_) => Ok(u64::from_ne_bytes(count) as u32),
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Doorbell for EventFds {
    fn notify(&self) -> io::Result<()> {
        match rustix::io::write(&self.peer, &1u64.to_ne_bytes()) {
            // A count that is full is not empty, which is all that matters.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn wait(&self, seen: u32, timeout: Option<Duration>) -> io::Result<Wake> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut looked = false;
        let mut events = self.events();
        loop {
            if events.closed || events.event != seen {
                return Ok(Wake {
                    event: events.event,
                    closed: events.closed,
                });
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if looked && left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            looked = true;
            if events.polled {
                // Nobody waits longer than a year.
                let left = left.unwrap_or(Duration::from_secs(365 * 24 * 3600));
                let waited = self.changed.wait_timeout(events, left);
                events = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            events.polled = true;
            drop(events);
            let polled = self.poll(left);
            events = self.events();
            events.polled = false;
            let counted = polled.and_then(|closed| {
                events.closed |= closed;
                self.count()
            });
            self.changed.notify_all();
            events.event = events.event.wrapping_add(counted?);
        }
    }
}

/// Connects to the server that listens on the socket at `path`.
pub(crate) fn connect(path: &Path, limits: &Limits) -> Result<(RingClient, Spare), Error> {
    let socket = UnixStream::connect(path)
        .map_err(|error| Error::setup(format!("cannot connect to {}", path.display()), error))?;
    connect_over(socket, limits)
}

/// Connects to the server at the other end of `socket`.
pub(super) fn connect_over(
    socket: UnixStream,
    limits: &Limits,
) -> Result<(RingClient, Spare), Error> {
    socket.set_read_timeout(Some(limits.connect_timeout))?;
    let channel = take_offer(socket)?;
    let spare = Spare::new(&channel, None);
    Ok((channel.connect("memfd", limits)?, spare))
}

/// Takes in clients at a Unix socket.
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        let bind = || {
            // What a server that died left there.
            let stale = fs::symlink_metadata(path).is_ok_and(|at| at.file_type().is_socket())
                && UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if stale {
                fs::remove_file(path)?;
            }
            UnixListener::bind(path)
        };
        let socket = bind()
            .map_err(|error| Error::setup(format!("cannot listen on {}", path.display()), error))?;
        Ok(Listener {
            socket,
            path: path.to_owned(),
        })
    }

    pub(crate) fn accept(&mut self) -> Result<Connection, Error> {
        // Not std's accept, which starts over when a signal comes.
        let socket = rustix::net::accept_with(&self.socket, rustix::net::SocketFlags::CLOEXEC)?;
        Ok(Connection::from_fd(socket))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// The socket of a client.
pub(crate) struct Connection {
    socket: UnixStream,
}

impl Connection {
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Connection { socket: fd.into() }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }

    pub(crate) fn serve(self, limits: &Limits) -> Result<(RingServer, Spare), Error> {
        let channel = offer(self.socket, CHANNEL_SIZE)?;
        let spare = Spare::new(&channel, None);
        Ok((channel.serve(limits)?, spare))
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memfd client")
    }
}

/// Makes a channel and hands it to the client at the other end of `socket`.
pub(super) fn offer(socket: UnixStream, size: u64) -> Result<Channel, Error> {
    let layout = Layout::new(size)?;
    let memory = rustix::fs::memfd_create(
        "wormhole-channel",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    rustix::fs::ftruncate(&memory, size)?;
    rustix::fs::fcntl_add_seals(&memory, fixed_size())?;
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let own = eventfd(0, flags)?;
    let peer = eventfd(0, flags)?;

    let mut bytes = [0; OFFER_LEN];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&size.to_le_bytes());
    let fds = [memory.as_fd(), own.as_fd(), peer.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(OFFER_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Error::Misuse("no room for the descriptors of a channel"));
    }
    // A socket that is fresh takes this in one piece, and at once.
    rustix::net::sendmsg(
        &socket,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;

    Ok(Channel {
        memory: Region::map(&memory, size)?,
        layout,
        doorbell: Arc::new(EventFds {
            own,
            peer,
            socket,
            events: Mutex::default(),
            changed: Condvar::new(),
        }),
    })
}

/// Takes the channel that the server at the other end of `socket` offers.
pub(super) fn take_offer(socket: UnixStream) -> Result<Channel, Error> {
    let mut bytes = [0; OFFER_LEN];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(OFFER_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        &socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(Error::PeerGone);
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let [m0, m1, m2, m3, m4, m5, m6, m7, size @ ..] = bytes;
    let [memory, peer, own] = <[OwnedFd; OFFER_FDS]>::try_from(fds)
        .map_err(|_| Error::Protocol("an offer without its descriptors"))?;
    if received.bytes != OFFER_LEN || [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
        return Err(Error::Protocol("not the offer of a channel"));
    }
    let size = u64::from_le_bytes(size);
    let layout = Layout::new(size)?;
    // Otherwise the server could cut the memory off under our feet.
    if !rustix::fs::fcntl_get_seals(&memory)?.contains(fixed_size()) {
        return Err(Error::Protocol("a channel that is not sealed"));
    }
    let actual = rustix::fs::fstat(&memory)?.st_size;
    if u64::try_from(actual) != Ok(size) {
        return Err(Error::Protocol("a channel of another size than announced"));
    }
    Ok(Channel {
        memory: Region::map(&memory, size)?,
        layout,
        doorbell: Arc::new(EventFds {
            own,
            peer,
            socket,
            events: Mutex::default(),
            changed: Condvar::new(),
        }),
    })
}

fn fixed_size() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL
}
