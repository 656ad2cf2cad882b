// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Server end: one thread receives, and several may reply.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use crate::limits::message_len;
use crate::message::{Incoming, Message, MessageKind, Outgoing};
use crate::sync::{lock, Mutex};
use crate::{Error, Kind, Server, SetAside};

pub(crate) struct Answers<S, R> {
    requests: R,
    replies: Arc<Replies<S>>,
    /// Of the next request.
    sequence: u32,
    /// The call that was received last, while it awaits its reply.
    call: Option<u32>,
    broken: bool,
}

struct Replies<S> {
    /// Longest message that both ends accept.
    max_send: u32,
    sending: Mutex<Sending<S>>,
}

struct Sending<S> {
    outgoing: S,
    broken: bool,
}

impl<S: Outgoing, R: Incoming> Answers<S, R> {
    pub(crate) fn new(max_send: u32, outgoing: S, incoming: R) -> Self {
        let sending = Mutex::new(Sending {
            outgoing,
            broken: false,
        });
        Answers {
            requests: incoming,
            replies: Arc::new(Replies { max_send, sending }),
            sequence: 0,
            call: None,
            broken: false,
        }
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
        let Some(message) = self.requests.receive(accept, request)? else {
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

impl<S: Outgoing> Replies<S> {
    /// Answers `call`, which is none's afterwards.
    fn give(&self, call: &mut Option<u32>, reply: &[IoSlice<'_>]) -> Result<(), Error> {
        let sequence = call.ok_or(Error::Misuse("a reply where no call awaits one"))?;
        let message = Message {
            kind: MessageKind::Reply,
            sequence,
            len: message_len(reply, self.max_send)?,
        };
        *call = None;
        let sending = &mut *lock(&self.sending);
        if sending.broken {
            return Err(Error::PeerGone);
        }
        let sent = sending.outgoing.send(message, reply);
        sending.broken |= sent.is_err();
        sent
    }
}

impl<S: Outgoing + 'static, R: Incoming> Server for Answers<S, R> {
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
        self.requests.set_deadline(deadline)
    }

    fn reply(&mut self, reply: &[IoSlice<'_>]) -> Result<(), Error> {
        if self.broken {
            return Err(Error::PeerGone);
        }
        self.replies.give(&mut self.call, reply)
    }

    fn set_aside(&mut self) -> Result<Box<dyn SetAside>, Error> {
        let sequence = self.call.take();
        let call = Some(sequence.ok_or(Error::Misuse("no call awaits a reply"))?);
        let replies = self.replies.clone();
        Ok(Box::new(Awaiting { replies, call }))
    }
}

struct Awaiting<S> {
    replies: Arc<Replies<S>>,
    call: Option<u32>,
}

impl<S: Outgoing> SetAside for Awaiting<S> {
    fn reply(&mut self, reply: &[IoSlice<'_>]) -> Result<(), Error> {
        self.replies.give(&mut self.call, reply)
    }
}
