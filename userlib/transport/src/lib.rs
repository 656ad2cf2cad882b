// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Message transports between a Wormhole client and its server.
//!
//! A connection carries requests one way and replies the other. A request is
//! either *posted*, and never answered, or a *call*, which is answered by
//! exactly one reply; requests arrive in the order in which they were given.
//! Each thread of a client can have a call under way, and the server may reply to
//! these in any order.
//!
//! `ring` runs over a channel of the window that two VMs share, `tcp` and `vsock`
//! over a connection of that kind; [`Config`] says which, and where the peer is.
//! `vmfunc`, in a crate of its own, uses the channel of a `ring` and its [`Spare`]
//! memory; what uses either may put data into the channel's [`DataArea`]. `memfd` and
//! [`pair()`] serve tests on one machine.
//!
//! The peer is not trusted: whatever it sends, or writes into shared memory,
//! ends in an [`Error`] at worst, and takes no more memory than the bytes it
//! sent. A peer that lives but does nothing is waited for, unless
//! [`Limits::timeout`] says otherwise.

mod answers;
mod calls;
mod config;
mod error;
mod limits;
#[cfg(all(test, loom))]
mod loom_tests;
mod message;
mod pair;
mod random;
mod ring;
mod stream;
mod sync;
mod tcp;
mod vsock;

use std::fmt;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use stream::{StreamConnection, StreamListener};

#[cfg(fuzzing)]
pub use ring::fuzzing;

pub use config::{Config, Endpoint, DEFAULT_DEVICE};
pub use error::Error;
pub use limits::Limits;
pub use pair::{pair, Ends};
pub use random::random;
pub use ring::{Counts, DataArea, Spare, SpareWord};
pub use vsock::VsockAddress;

/// Whether a request awaits a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does not.
    Posted,
    /// It does: [`Server::reply`] must follow.
    Call,
}

/// Client end of a connection, for all threads. One request message, at most one reply.
/// The first two bytes of a request say what it asks for (a function's number,
/// little-endian); 0xffff is a transport's own.
pub trait Client: Send + Sync {
    /// Hands over a request that awaits no reply. It may be kept back until the
    /// next [`call`](Client::call) or [`flush`](Client::flush), which send
    /// everything in order. What is kept back when the client is dropped may be
    /// lost.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the peer would not accept it; it is not sent.
    fn post(&self, request: &[IoSlice<'_>]) -> Result<(), Error>;

    /// Sends a request and waits for its reply, which replaces the contents of
    /// `reply`. Other threads' requests do not wait for it. On an error the contents
    /// of `reply` are unspecified.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the peer would not accept it; it is not sent.
    fn call(&self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error>;

    /// Sends what [`post`](Client::post) kept back and wakes the server.
    fn flush(&self) -> Result<(), Error>;

    /// As [`flush`](Client::flush), unless another thread is sending.
    fn try_flush(&self) -> Result<(), Error>;

    /// Name of the transport, e.g. "ring" or "tcp".
    fn transport(&self) -> &'static str;
}

/// Server end of one client's connection.
pub trait Server: Send {
    /// Waits for the next request, which replaces the contents of `request`.
    /// `Ok(None)` when the client has gone between two requests.
    ///
    /// # Errors
    /// [`Error::Misuse`] while a call awaits its reply, and was not set aside.
    fn receive(&mut self, request: &mut Vec<u8>) -> Result<Option<Kind>, Error>;

    /// Has [`receive`](Server::receive) fail with [`Error::TimedOut`] if all of
    /// a request is not there by then, whatever [`Limits::timeout`] says;
    /// `None`, as at first: it waits as long as the client lives. A connection
    /// that has timed out is of no more use.
    ///
    /// # Errors
    /// Those of the system.
    fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<(), Error>;

    /// Answers the call that was received last.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the client would not accept it: another reply can
    /// be given instead. [`Error::Misuse`] if no call awaits a reply.
    fn reply(&mut self, reply: &[IoSlice<'_>]) -> Result<(), Error>;

    /// Leaves the call that was received last to be answered later.
    ///
    /// # Errors
    /// [`Error::Misuse`] if no call awaits a reply.
    fn set_aside(&mut self) -> Result<Box<dyn SetAside>, Error>;
}

/// A call that awaits its reply while the server receives others.
pub trait SetAside: Send {
    /// Answers it.
    ///
    /// # Errors
    /// As [`Server::reply`].
    fn reply(&mut self, reply: &[IoSlice<'_>]) -> Result<(), Error>;
}

/// Connects to the server that `config` names, by `ring` where it asks for
/// exitless calls, too.
pub fn connect(config: &Config) -> Result<Box<dyn Client>, Error> {
    connect_spare(config).map(|(client, _)| client)
}

/// As [`connect`]; also gives the memory beside the messages, if there is any.
pub fn connect_spare(config: &Config) -> Result<(Box<dyn Client>, Option<Spare>), Error> {
    let limits = &config.limits.bounded();
    let (client, spare) = match &config.endpoint {
        Endpoint::Auto(path) | Endpoint::Vmfunc(path) | Endpoint::Ring(path) => {
            ring::device::connect(path, limits)?
        }
        Endpoint::Tcp(address) => return Ok((Box::new(tcp::connect(address, limits)?), None)),
        Endpoint::Vsock(address) => return Ok((Box::new(vsock::connect(*address, limits)?), None)),
        Endpoint::Memfd(path) => ring::memfd::connect(path, limits)?,
    };
    Ok((Box::new(client), Some(spare)))
}

/// The guest driver's devices through which this machine can take clients in.
pub fn server_devices() -> Vec<PathBuf> {
    ring::device::servers()
}

/// Starts to listen where `config` says.
pub fn listen(config: &Config) -> Result<Listener, Error> {
    let inner = match &config.endpoint {
        Endpoint::Auto(path) | Endpoint::Vmfunc(path) | Endpoint::Ring(path) => {
            ListenerInner::Ring(ring::device::Listener::open(path)?)
        }
        Endpoint::Tcp(address) => ListenerInner::Stream(tcp::listen(address)?),
        Endpoint::Vsock(address) => ListenerInner::Stream(vsock::listen(*address)?),
        Endpoint::Memfd(path) => ListenerInner::Memfd(ring::memfd::Listener::bind(path)?),
    };
    Ok(Listener {
        inner,
        limits: config.limits.bounded(),
    })
}

enum ListenerInner {
    Ring(ring::device::Listener),
    Stream(StreamListener),
    Memfd(ring::memfd::Listener),
}

/// Takes in clients. Its file descriptor polls readable when
/// [`accept`](Listener::accept) would not block, and changes with each client;
/// a process that is forked to serve one client should drop the listener.
pub struct Listener {
    inner: ListenerInner,
    limits: Limits,
}

impl Listener {
    /// Waits for the next client.
    ///
    /// # Errors
    /// [`Error::Io`] with `ErrorKind::Interrupted` when a signal came first.
    pub fn accept(&mut self) -> Result<Connection, Error> {
        let inner = match &mut self.inner {
            ListenerInner::Ring(listener) => ConnectionInner::Ring(listener.accept()?),
            ListenerInner::Stream(listener) => ConnectionInner::Stream(listener.accept()?),
            ListenerInner::Memfd(listener) => ConnectionInner::Memfd(listener.accept()?),
        };
        Ok(Connection {
            inner,
            limits: self.limits,
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.inner {
            ListenerInner::Ring(listener) => listener.as_fd(),
            ListenerInner::Stream(listener) => listener.as_fd(),
            ListenerInner::Memfd(listener) => listener.as_fd(),
        }
    }
}

impl fmt::Display for Listener {
    /// Where clients reach it: a path, or e.g. `127.0.0.1:4711` or `vsock 1:4711`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            ListenerInner::Ring(listener) => listener.fmt(f),
            ListenerInner::Stream(listener) => listener.fmt(f),
            ListenerInner::Memfd(listener) => listener.fmt(f),
        }
    }
}

enum ConnectionInner {
    Ring(ring::device::Connection),
    Stream(StreamConnection),
    Memfd(ring::memfd::Connection),
}

/// A client that was taken in, but not spoken to yet. It survives a fork: the
/// child calls [`serve`](Connection::serve), the parent drops its copy, which
/// leaves the child's connection alone.
pub struct Connection {
    inner: ConnectionInner,
    limits: Limits,
}

impl Connection {
    /// A connection whose file descriptor comes from elsewhere, for instance
    /// from the parent of this process, which accepted it with the same
    /// `config` and took it out with [`into_fd`](Connection::into_fd).
    pub fn from_fd(fd: OwnedFd, config: &Config) -> Result<Self, Error> {
        let inner = match &config.endpoint {
            Endpoint::Auto(_) | Endpoint::Vmfunc(_) | Endpoint::Ring(_) => {
                ConnectionInner::Ring(ring::device::Connection::from_fd(fd)?)
            }
            Endpoint::Tcp(_) => ConnectionInner::Stream(StreamConnection::new(&tcp::FAMILY, fd)),
            Endpoint::Vsock(_) => {
                ConnectionInner::Stream(StreamConnection::new(&vsock::FAMILY, fd))
            }
            Endpoint::Memfd(_) => ConnectionInner::Memfd(ring::memfd::Connection::from_fd(fd)),
        };
        Ok(Connection {
            inner,
            limits: config.limits.bounded(),
        })
    }

    /// The file descriptor that is the connection. Closed on exec.
    pub fn into_fd(self) -> OwnedFd {
        match self.inner {
            ConnectionInner::Ring(connection) => connection.into_fd(),
            ConnectionInner::Stream(connection) => connection.into_fd(),
            ConnectionInner::Memfd(connection) => connection.into_fd(),
        }
    }

    /// Greets the client and returns the server end.
    pub fn serve(self) -> Result<Box<dyn Server>, Error> {
        self.serve_spare().map(|(server, _)| server)
    }

    /// As [`serve`](Connection::serve); also gives the memory beside the
    /// messages, if there is any.
    pub fn serve_spare(self) -> Result<(Box<dyn Server>, Option<Spare>), Error> {
        let limits = &self.limits;
        let (server, spare) = match self.inner {
            ConnectionInner::Ring(connection) => connection.serve(limits)?,
            ConnectionInner::Stream(connection) => {
                return Ok((Box::new(connection.serve(limits)?), None))
            }
            ConnectionInner::Memfd(connection) => connection.serve(limits)?,
        };
        Ok((Box::new(server), Some(spare)))
    }
}

impl fmt::Display for Connection {
    /// Who the client is, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            ConnectionInner::Ring(connection) => connection.fmt(f),
            ConnectionInner::Stream(connection) => connection.fmt(f),
            ConnectionInner::Memfd(connection) => connection.fmt(f),
        }
    }
}
