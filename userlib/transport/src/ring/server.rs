// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Server end over a channel.

use std::io::IoSlice;
use std::time::Instant;

use super::channel::Channel;
use super::layout::Role;
use super::link::Link;
use super::receiver::Receiver;
use super::record::{Message, MessageKind};
use super::sender::Sender;
use super::shared::SharedWord;
use crate::limits::message_len;
use crate::{Error, Kind, Limits, Server};

pub(crate) struct RingServer {
    link: Link<SharedWord>,
    sender: Sender,
    receiver: Receiver,
    /// Longest message that both ends accept.
    max_send: u32,
    /// Of the next request.
    sequence: u32,
    /// Sequence of the call that awaits its reply.
    call: Option<u32>,
    broken: bool,
}

impl RingServer {
    /// Greets the client at the other side of `channel`.
    pub(super) fn greet(channel: Channel, limits: &Limits) -> Result<Self, Error> {
        let ends = channel.greet(Role::Server, limits)?;
        Ok(RingServer {
            link: ends.link,
            sender: ends.sender,
            receiver: ends.receiver,
            max_send: ends.max_send,
            sequence: 0,
            call: None,
            broken: false,
        })
    }

    fn receive_request(&mut self, request: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        let sequence = self.sequence;
        let accept = |message: Message| {
            if message.kind == MessageKind::Reply {
                return Err(Error::Protocol("a reply came where a request was due"));
            }
            if message.sequence != sequence {
                return Err(Error::Protocol("a request out of sequence"));
            }
            Ok(())
        };
        let received = self
            .receiver
            .receive(&mut self.link, None, accept, request)?;
        let Some(message) = received else {
            return Ok(None);
        };
        self.sequence = sequence.wrapping_add(1);
        if message.kind == MessageKind::Call {
            self.call = Some(sequence);
            return Ok(Some(Kind::Call));
        }
        Ok(Some(Kind::Posted))
    }
}

impl Server for RingServer {
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
        self.receiver.set_deadline(deadline);
        Ok(())
    }

    fn reply(&mut self, reply: &[IoSlice<'_>]) -> Result<(), Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        let sequence = self
            .call
            .ok_or(Error::Misuse("a reply where no call awaits one"))?;
        let message = Message {
            kind: MessageKind::Reply,
            sequence,
            len: message_len(reply, self.max_send)?,
        };
        self.call = None;
        let sent = self
            .sender
            .send(&mut self.link, message, reply)
            .and_then(|()| self.sender.flush(&mut self.link));
        self.broken |= sent.is_err();
        sent
    }
}
