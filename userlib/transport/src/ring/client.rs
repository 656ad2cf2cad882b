// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Client end over a channel.

use std::io::IoSlice;

use super::channel::Channel;
use super::link::Link;
use super::receiver::Receiver;
use super::record::{Message, MessageKind};
use super::sender::Sender;
use super::shared::SharedWord;
use crate::limits::message_len;
use crate::{Client, Error, Limits};

pub(crate) struct RingClient {
    link: Link<SharedWord>,
    sender: Sender,
    receiver: Receiver,
    transport: &'static str,
    limits: Limits,
    /// Longest message that both ends accept.
    max_send: u32,
    /// Of the next request.
    sequence: u32,
    broken: bool,
}

impl RingClient {
    /// Greets the server at the other side of `channel`.
    pub(super) fn greet(
        channel: Channel,
        transport: &'static str,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let ends = channel.greet(super::layout::Role::Client, limits)?;
        Ok(RingClient {
            link: ends.link,
            sender: ends.sender,
            receiver: ends.receiver,
            transport,
            limits: *limits,
            max_send: ends.max_send,
            sequence: 0,
            broken: false,
        })
    }

    fn request(&mut self, kind: MessageKind, request: &[IoSlice<'_>]) -> Result<u32, Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        let len = message_len(request, self.max_send)?;
        let message = Message {
            kind,
            sequence: self.sequence,
            len,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let sent = self.sender.send(&mut self.link, message, request);
        self.noting_failure(sent)?;
        Ok(message.sequence)
    }

    fn receive_reply(&mut self, sequence: u32, reply: &mut Vec<u8>) -> Result<(), Error> {
        self.sender.flush(&mut self.link)?;
        let accept = |message: Message| {
            if message.kind != MessageKind::Reply {
                return Err(Error::Protocol("a request came where a reply was due"));
            }
            if message.sequence != sequence {
                return Err(Error::Protocol("a reply to another call"));
            }
            Ok(())
        };
        self.receiver
            .receive(&mut self.link, self.limits.timeout, accept, reply)?
            .map(|_| ())
            .ok_or(Error::PeerGone)
    }

    /// A failed exchange leaves the rings at an unknown place.
    fn noting_failure<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.broken |= result.is_err();
        result
    }
}

impl Client for RingClient {
    fn post(&mut self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        self.request(MessageKind::Posted, request).map(|_| ())
    }

    fn call(&mut self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        let sequence = self.request(MessageKind::Call, request)?;
        let received = self.receive_reply(sequence, reply);
        self.noting_failure(received)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        let flushed = self.sender.flush(&mut self.link);
        self.noting_failure(flushed)
    }

    fn transport(&self) -> &'static str {
        self.transport
    }
}
