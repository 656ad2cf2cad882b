// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Client end over a stream.

use std::io::{BufReader, IoSlice};
use std::os::fd::OwnedFd;

use super::frame::{self, FrameKind, Header, HEADER_LEN};
use super::hello;
use super::socket::Socket;
use crate::limits::message_len;
use crate::{Client, Error, Limits};

/// Posted requests wait for company up to this many bytes, headers included.
const BATCH: usize = 64 << 10;

pub(crate) struct StreamClient {
    stream: BufReader<Socket>,
    transport: &'static str,
    /// Frames of posted requests that were not sent yet.
    batch: Vec<u8>,
    /// Of the next request.
    sequence: u32,
    max_send: u32,
    max_receive: u32,
    broken: bool,
}

impl StreamClient {
    pub(crate) fn handshake(
        socket: OwnedFd,
        transport: &'static str,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let socket = Socket::new(socket);
        let timeout = Some(limits.connect_timeout);
        socket.set_timeouts(timeout, timeout)?;
        hello::send(&socket, limits)?;
        let accepted = hello::receive(&socket)?;
        socket.set_timeouts(limits.timeout, limits.timeout)?;
        Ok(StreamClient {
            stream: BufReader::with_capacity(BATCH, socket),
            transport,
            batch: Vec::with_capacity(BATCH),
            sequence: 0,
            max_send: limits.max_message.min(accepted),
            max_receive: limits.max_message,
            broken: false,
        })
    }

    /// Sends the batch and, behind it, one request that did not go into it.
    fn send(&mut self, header: &[u8], request: &[IoSlice<'_>]) -> Result<(), Error> {
        let mut parts = Vec::with_capacity(request.len() + 2);
        parts.push(IoSlice::new(&self.batch));
        parts.push(IoSlice::new(header));
        parts.extend(request.iter().map(|part| IoSlice::new(part)));
        self.stream.get_ref().send_all(&mut parts)?;
        self.batch.clear();
        Ok(())
    }

    fn header(&mut self, kind: FrameKind, request: &[IoSlice<'_>]) -> Result<Header, Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        let len = message_len(request, self.max_send)?;
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Ok(Header {
            kind,
            sequence,
            len,
        })
    }

    fn receive_reply(&mut self, sequence: u32, reply: &mut Vec<u8>) -> Result<(), Error> {
        let header =
            frame::read_header(&mut self.stream, self.max_receive)?.ok_or(Error::PeerGone)?;
        if header.kind != FrameKind::Reply {
            return Err(Error::Protocol("a request came where a reply was due"));
        }
        if header.sequence != sequence {
            return Err(Error::Protocol("a reply to another call"));
        }
        frame::read_message(&mut self.stream, header, reply)
    }

    /// A failed exchange leaves the stream at an unknown place.
    fn noting_failure<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.broken |= result.is_err();
        result
    }
}

impl Client for StreamClient {
    fn post(&mut self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        let header = self.header(FrameKind::Posted, request)?;
        let bytes = header.encode();
        let frame = HEADER_LEN + header.len as usize;
        if self.batch.len() + frame <= BATCH {
            self.batch.extend_from_slice(&bytes);
            for part in request {
                self.batch.extend_from_slice(part);
            }
            return Ok(());
        }
        let sent = self.send(&bytes, request);
        self.noting_failure(sent)
    }

    fn call(&mut self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        let header = self.header(FrameKind::Call, request)?;
        let done = self
            .send(&header.encode(), request)
            .and_then(|()| self.receive_reply(header.sequence, reply));
        self.noting_failure(done)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        let sent = self.send(&[], &[]);
        self.noting_failure(sent)
    }

    fn transport(&self) -> &'static str {
        self.transport
    }
}
