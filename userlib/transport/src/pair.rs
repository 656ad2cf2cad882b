// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two connected ends within one process, for tests of what lies above.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use crate::stream::{StreamClient, StreamServer};
use crate::{Client, Error, Limits, Server};

/// A client and the server end that it is connected to.
pub type Ends = (Box<dyn Client>, Box<dyn Server>);

/// A client and the server end that it is connected to, over a socket pair.
/// The ends may go to different threads, or to different sides of a fork.
pub fn pair(limits: &Limits) -> Result<Ends, Error> {
    let limits = limits.bounded();
    let (a, b) = UnixStream::pair()?;
    let server = thread::spawn(move || StreamServer::handshake(OwnedFd::from(b), &limits));
    let client = StreamClient::handshake(OwnedFd::from(a), "pair", &limits)?;
    let server = server
        .join()
        .map_err(|_| Error::Misuse("the server's thread panicked"))??;
    Ok((Box::new(client), Box::new(server)))
}
