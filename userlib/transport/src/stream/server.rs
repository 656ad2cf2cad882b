// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Server end over a stream.

use std::io::{BufRead, BufReader, IoSlice};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::frame::{self, FrameKind, Header};
use super::hello;
use super::socket::Socket;
use crate::limits::message_len;
use crate::{Error, Kind, Limits, Server};

const RECEIVE_BUFFER: usize = 64 << 10;

pub(crate) struct StreamServer {
    stream: BufReader<Socket>,
    timeout: Option<Duration>,
    /// Of the next request.
    sequence: u32,
    /// Sequence of the call that awaits its reply.
    call: Option<u32>,
    max_send: u32,
    max_receive: u32,
    broken: bool,
}

impl StreamServer {
    pub(crate) fn handshake(socket: OwnedFd, limits: &Limits) -> Result<Self, Error> {
        let socket = Socket::new(socket);
        let timeout = Some(limits.connect_timeout);
        socket.set_timeouts(timeout, timeout)?;
        // The hello goes out first, so that a client of another version
        // learns of it, too.
        hello::send(&socket, limits)?;
        let accepted = hello::receive(&socket)?;
        socket.set_timeouts(None, limits.timeout)?;
        Ok(StreamServer {
            stream: BufReader::with_capacity(RECEIVE_BUFFER, socket),
            timeout: limits.timeout,
            sequence: 0,
            call: None,
            max_send: limits.max_message.min(accepted),
            max_receive: limits.max_message,
            broken: false,
        })
    }

    fn receive_request(&mut self, request: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        if self.timeout.is_some() {
            // Only a request that has begun must arrive in time.
            self.set_receive_timeout(None)?;
            self.await_bytes()?;
            self.set_receive_timeout(self.timeout)?;
        }
        let Some(header) = frame::read_header(&mut self.stream, self.max_receive)? else {
            return Ok(None);
        };
        let kind = match header.kind {
            FrameKind::Posted => Kind::Posted,
            FrameKind::Call => Kind::Call,
            FrameKind::Reply => {
                return Err(Error::Protocol("a reply came where a request was due"))
            }
        };
        if header.sequence != self.sequence {
            return Err(Error::Protocol("a request out of sequence"));
        }
        frame::read_message(&mut self.stream, header, request)?;
        self.sequence = self.sequence.wrapping_add(1);
        if kind == Kind::Call {
            self.call = Some(header.sequence);
        }
        Ok(Some(kind))
    }

    fn set_receive_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.stream.get_ref().set_timeouts(timeout, self.timeout)
    }

    fn await_bytes(&mut self) -> Result<(), Error> {
        loop {
            match self.stream.fill_buf() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Server for StreamServer {
    fn receive(&mut self, request: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        if self.call.is_some() {
            return Err(Error::Misuse("receive while a call awaits its reply"));
        }
        let received = self.receive_request(request);
        self.broken |= !matches!(received, Ok(Some(_)));
        received
    }

    fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.stream.get_mut().set_deadline(deadline);
        self.set_receive_timeout(None)
    }

    fn reply(&mut self, reply: &[IoSlice<'_>]) -> Result<(), Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        let sequence = self
            .call
            .ok_or(Error::Misuse("a reply where no call awaits one"))?;
        let header = Header {
            kind: FrameKind::Reply,
            sequence,
            len: message_len(reply, self.max_send)?,
        }
        .encode();
        let mut parts = Vec::with_capacity(reply.len() + 1);
        parts.push(IoSlice::new(&header));
        parts.extend(reply.iter().map(|part| IoSlice::new(part)));
        self.call = None;
        let sent = self.stream.get_ref().send_all(&mut parts);
        self.broken |= sent.is_err();
        sent
    }
}
