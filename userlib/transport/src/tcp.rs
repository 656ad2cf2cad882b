// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tcp`: frames over a TCP connection, for machines apart and for
//! development without any VM.

use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::stream::{Family, StreamClient, StreamListener};
use crate::{Error, Limits};

pub(crate) static FAMILY: Family = Family {
    name: "tcp",
    prepare,
    peer,
};

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
                let socket = OwnedFd::from(stream);
                prepare(&socket).map_err(|error| Error::setup(what(), error))?;
                return StreamClient::handshake(socket, FAMILY.name, limits);
            }
            Err(error) => last = Error::setup(what(), error),
        }
    }
    Err(last)
}

/// Listens at `host:port`.
pub(crate) fn listen(address: &str) -> Result<StreamListener, Error> {
    let listen = || {
        let socket = TcpListener::bind(address)?;
        let address = socket.local_addr()?.to_string();
        Ok(StreamListener::new(&FAMILY, socket.into(), address))
    };
    listen().map_err(|error: std::io::Error| {
        Error::setup(format!("cannot listen on tcp {address}"), error)
    })
}

/// Small messages must not wait for each other, and a machine that vanished
/// must be noticed.
fn prepare(socket: &OwnedFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(socket, 3)
}

fn peer(socket: &OwnedFd) -> Option<String> {
    let peer = rustix::net::getpeername(socket).ok()??;
    Some(SocketAddr::try_from(peer).ok()?.to_string())
}
