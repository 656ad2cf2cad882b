// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `vsock`: frames over a connection between a VM and its host. Between two VMs
//! it takes a relay on the host: vsock carries nothing from VM to VM.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, VsockAddr};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{sockopt, AddressFamily, SocketFlags, SocketType};

use crate::stream::{Family, StreamClient, StreamListener};
use crate::{Error, Limits};

pub(crate) static FAMILY: Family = Family {
    name: "vsock",
    prepare: |_| Ok(()),
    peer,
};

/// Connections that may wait for the listener.
const BACKLOG: i32 = 128;

/// A vsock address: `CID:PORT`, or `PORT` at any of this machine's context IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VsockAddress {
    /// Context ID of the machine.
    pub cid: u32,
    /// Port; to listen, the largest number stands for any that is free.
    pub port: u32,
}

impl VsockAddress {
    /// To listen: whichever context IDs this machine has. None to connect to.
    pub const ANY_CID: u32 = u32::MAX;
    /// This machine itself.
    pub const LOCAL_CID: u32 = 1;
    /// The host, for a VM and for itself.
    pub const HOST_CID: u32 = 2;
}

impl FromStr for VsockAddress {
    type Err = Error;

    /// A context ID is a number, `local` or `host`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (cid, port) = match text.split_once(':') {
            None => (Some(Self::ANY_CID), text),
            Some(("local", port)) => (Some(Self::LOCAL_CID), port),
            Some(("host", port)) => (Some(Self::HOST_CID), port),
            Some((number, port)) => (number.parse().ok(), port),
        };
        match (cid, port.parse()) {
            (Some(cid), Ok(port)) => Ok(VsockAddress { cid, port }),
            _ => Err(Error::Config(format!(
                "\"{text}\" is no vsock address: CID:PORT, both numbers, or local or host for the CID"
            ))),
        }
    }
}

impl fmt::Display for VsockAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cid {
            Self::ANY_CID => write!(f, "vsock port {}", self.port),
            cid => write!(f, "vsock {cid}:{}", self.port),
        }
    }
}

/// Connects to the process that listens at `address`.
pub(crate) fn connect(address: VsockAddress, limits: &Limits) -> Result<StreamClient, Error> {
    let socket = connected(address, limits.connect_timeout)
        .map_err(|error| Error::setup(format!("cannot connect to {address}"), error))?;
    StreamClient::handshake(socket, FAMILY.name, limits)
}

fn connected(address: VsockAddress, timeout: Duration) -> io::Result<OwnedFd> {
    let socket = socket(SocketFlags::NONBLOCK)?;
    match socket::connect(socket.as_raw_fd(), &raw(address)) {
        Ok(()) => {}
        Err(nix::Error::EINPROGRESS) => {
            await_writable(&socket, timeout)?;
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error.into()),
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

/// A connection that is being made can be written to when that has ended.
fn await_writable(socket: &OwnedFd, timeout: Duration) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => {}
            result => return result.map(drop).map_err(io::Error::from),
        }
    }
}

/// Listens at `address`.
pub(crate) fn listen(address: VsockAddress) -> Result<StreamListener, Error> {
    let listen = || {
        let socket = socket(SocketFlags::empty())?;
        socket::bind(socket.as_raw_fd(), &raw(address))?;
        rustix::net::listen(&socket, BACKLOG)?;
        let bound = name(socket::getsockname(socket.as_raw_fd())?);
        Ok(StreamListener::new(&FAMILY, socket, bound))
    };
    listen().map_err(|error: io::Error| Error::setup(format!("cannot listen on {address}"), error))
}

fn socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)
}

fn peer(socket: &OwnedFd) -> Option<String> {
    socket::getpeername(socket.as_raw_fd()).ok().map(name)
}

fn raw(address: VsockAddress) -> VsockAddr {
    VsockAddr::new(address.cid, address.port)
}

fn name(address: VsockAddr) -> String {
    let (cid, port) = (address.cid(), address.port());
    VsockAddress { cid, port }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_named() {
        for (text, cid, port, name) in [
            ("3:7117", 3, 7117, "vsock 3:7117"),
            ("host:7117", 2, 7117, "vsock 2:7117"),
            ("local:1", 1, 1, "vsock 1:1"),
            ("7117", VsockAddress::ANY_CID, 7117, "vsock port 7117"),
        ] {
            let address: VsockAddress = text.parse().unwrap();
            assert_eq!(address, VsockAddress { cid, port }, "{text}");
            assert_eq!(address.to_string(), name);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":",
            "3:",
            ":7117",
            "3:7117:1",
            "guest:7117",
            "-1:7117",
            "3:4294967296",
        ] {
            let error = text.parse::<VsockAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
    }
}
