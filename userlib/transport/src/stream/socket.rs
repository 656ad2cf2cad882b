// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A connected stream socket.

use std::io::{self, IoSlice, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{sockopt, RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::Error;

/// `sendmsg` takes no more parts at once (UIO_MAXIOV).
const MAX_PARTS: usize = 1024;

pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Socket(socket)
    }

    /// Bounds each wait for the peer.
    pub(super) fn set_timeouts(
        &self,
        receive: Option<Duration>,
        send: Option<Duration>,
    ) -> Result<(), Error> {
        self.set_receive_timeout(receive)?;
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Send, send)?;
        Ok(())
    }

    /// Bounds each wait for something to read.
    pub(super) fn set_receive_timeout(&self, timeout: Option<Duration>) -> rustix::io::Result<()> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, timeout)
    }

    /// Sends all parts, in order. Not by `write`: the library lives in
    /// programs that do not expect SIGPIPE.
    pub(super) fn send_all(&self, mut parts: &mut [IoSlice<'_>]) -> Result<(), Error> {
        // Parts without bytes would look like an end of progress.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let some = &parts[..parts.len().min(MAX_PARTS)];
            match rustix::net::sendmsg(
                &self.0,
                some,
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            ) {
                Ok(0) => return Err(Error::PeerGone),
                Ok(n) => IoSlice::advance_slices(&mut parts, n),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, received) = rustix::net::recv(&self.0, buffer, RecvFlags::empty())?;
        Ok(received)
    }
}
