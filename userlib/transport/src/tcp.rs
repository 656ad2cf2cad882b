// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tcp`: frames over a TCP connection, for machines apart and for
//! development without any VM.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::stream::{StreamClient, StreamServer};
use crate::{Error, Limits};

/// Connects to `host:port`, trying every address that the name has.
pub(crate) fn connect(address: &str, limits: &Limits) -> Result<StreamClient, Error> {
    let what = || format!("cannot connect to tcp {address}");
    let candidates = address
        .to_socket_addrs()
        .map_err(|error| Error::setup(what(), error))?;
    let deadline = Instant::now() + limits.connect_timeout;
    let mut last = Error::setup(
        what(),
        std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"),
    );
    for candidate in candidates {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TimedOut);
        }
        match TcpStream::connect_timeout(&candidate, left) {
            Ok(stream) => {
                let socket = prepare(stream).map_err(|error| Error::setup(what(), error))?;
                return StreamClient::handshake(socket, "tcp", limits);
            }
            Err(error) => last = Error::setup(what(), error),
        }
    }
    Err(last)
}

/// Small messages must not wait for each other, and a machine that vanished
/// must be noticed.
fn prepare(stream: TcpStream) -> rustix::io::Result<OwnedFd> {
    let socket = OwnedFd::from(stream);
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&socket, 3)?;
    Ok(socket)
}

pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    pub(crate) fn bind(address: &str) -> Result<Self, Error> {
        let bind = || {
            let socket = TcpListener::bind(address)?;
            let address = socket.local_addr()?;
            Ok(Listener { socket, address })
        };
        bind().map_err(|error: std::io::Error| {
            Error::setup(format!("cannot listen on tcp {address}"), error)
        })
    }

    pub(crate) fn accept(&self) -> Result<Connection, Error> {
        // Not std's accept, which starts over when a signal comes.
        let (socket, peer) =
            rustix::net::acceptfrom_with(&self.socket, rustix::net::SocketFlags::CLOEXEC)?;
        Ok(Connection {
            stream: TcpStream::from(socket),
            peer: peer.and_then(|peer| SocketAddr::try_from(peer).ok()),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    peer: Option<SocketAddr>,
}

impl Connection {
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        let stream = TcpStream::from(fd);
        let peer = stream.peer_addr().ok();
        Connection { stream, peer }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.stream.into()
    }

    pub(crate) fn serve(self, limits: &Limits) -> Result<StreamServer, Error> {
        StreamServer::handshake(prepare(self.stream)?, limits)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => peer.fmt(f),
            None => f.write_str("tcp client"),
        }
    }
}
