// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Takes clients in over sockets of any family.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::SocketFlags;

use super::StreamServer;
use crate::{Error, Limits};

/// What a family of sockets does in its own way.
pub(crate) struct Family {
    /// Name of the transport.
    pub(crate) name: &'static str,
    /// Sets the options of a connected socket.
    pub(crate) prepare: fn(&OwnedFd) -> rustix::io::Result<()>,
    /// Address of a connected socket's other end, for logs.
    pub(crate) peer: fn(&OwnedFd) -> Option<String>,
}

pub(crate) struct StreamListener {
    family: &'static Family,
    socket: OwnedFd,
    address: String,
}

impl StreamListener {
    /// `socket` listens at `address`.
    pub(crate) fn new(family: &'static Family, socket: OwnedFd, address: String) -> Self {
        StreamListener {
            family,
            socket,
            address,
        }
    }

    pub(crate) fn accept(&self) -> Result<StreamConnection, Error> {
        // Not std's accept, which starts over when a signal comes.
        let socket = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC)?;
        Ok(StreamConnection::new(self.family, socket))
    }
}

impl AsFd for StreamListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Display for StreamListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

pub(crate) struct StreamConnection {
    family: &'static Family,
    socket: OwnedFd,
    peer: Option<String>,
}

impl StreamConnection {
    pub(crate) fn new(family: &'static Family, socket: OwnedFd) -> Self {
        let peer = (family.peer)(&socket);
        StreamConnection {
            family,
            socket,
            peer,
        }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket
    }

    pub(crate) fn serve(self, limits: &Limits) -> Result<StreamServer, Error> {
        (self.family.prepare)(&self.socket)?;
        StreamServer::handshake(self.socket, limits)
    }
}

impl fmt::Display for StreamConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) => f.write_str(peer),
            None => write!(f, "{} client", self.family.name),
        }
    }
}
