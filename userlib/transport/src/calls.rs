// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of several threads over one connection.
//!
//! Requests go out one at a time. Of the threads that wait for replies one, the *leader*,
//! receives; it hands over what is for others, the *followers*, which sleep meanwhile. When it
//! has its own reply the next follower leads. So a thread that is alone receives for itself, and
//! wakes nobody.
//!
//! A thread leads or follows only when all of its request was sent. So whatever reply the server
//! gives, there is a thread that takes it, however long another thread's request waits for the
//! server to take that.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::limits::message_len;
use crate::message::{Incoming, Message, MessageKind, Outgoing};
use crate::sync::{lock, AtomicBool, AtomicU32, Condvar, Mutex};
use crate::{Client, Error};

/// The client end of a connection.
pub(crate) struct Calls<S, R> {
    transport: &'static str,
    /// Longest message that both ends accept.
    max_send: u32,
    sending: Mutex<Sending<S>>,
    waiting: Mutex<Waiting<R>>,
    /// Calls that were made so far; wraps.
    made: AtomicU32,
    broken: AtomicBool,
}

struct Sending<S> {
    outgoing: S,
    /// Of the next request.
    sequence: u32,
}

struct Waiting<R> {
    /// `None`: a leader has it.
    incoming: Option<Box<R>>,
    /// Calls of followers, and those whose reply came before their thread.
    calls: Vec<Call>,
    /// Calls whose threads have taken their replies; wraps.
    ended: u32,
}

struct Call {
    sequence: u32,
    reply: Option<Vec<u8>>,
    /// For the thread, if it sleeps.
    woken: Option<Arc<Condvar>>,
}

impl<S: Outgoing, R: Incoming> Calls<S, R> {
    pub(crate) fn new(transport: &'static str, max_send: u32, outgoing: S, incoming: R) -> Self {
        let sending = Sending {
            outgoing,
            sequence: 0,
        };
        let waiting = Waiting {
            incoming: Some(Box::new(incoming)),
            calls: Vec::new(),
            ended: 0,
        };
        Calls {
            transport,
            max_send,
            sending: Mutex::new(sending),
            waiting: Mutex::new(waiting),
            made: AtomicU32::new(0),
            broken: AtomicBool::new(false),
        }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// A failed exchange leaves the two ends at unknown places.
    fn noting_failure<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        result
    }

    fn send(&self, kind: MessageKind, request: &[IoSlice<'_>]) -> Result<u32, Error> {
        let sending = &mut *lock(&self.sending);
        if self.is_broken() {
            return Err(Error::PeerGone);
        }
        let message = Message {
            kind,
            sequence: sending.sequence,
            len: message_len(request, self.max_send)?,
        };
        sending.sequence = sending.sequence.wrapping_add(1);
        if kind == MessageKind::Call {
            // Who holds the lock is alone to change it. Before there can be a reply.
            let made = self.made.load(Ordering::Relaxed).wrapping_add(1);
            self.made.store(made, Ordering::Release);
        }
        let sent = sending.outgoing.send(message, request);
        self.noting_failure(sent)?;
        Ok(message.sequence)
    }

    fn send_kept(&self, sending: &mut Sending<S>) -> Result<(), Error> {
        if self.is_broken() {
            return Err(Error::PeerGone);
        }
        let flushed = sending.outgoing.flush();
        self.noting_failure(flushed)
    }

    fn await_reply(&self, sequence: u32, reply: &mut Vec<u8>) -> Result<(), Error> {
        let mut waiting = lock(&self.waiting);
        let incoming = loop {
            if let Some(taken) = waiting.take_reply(sequence) {
                *reply = taken;
                return Ok(());
            }
            if self.is_broken() {
                waiting.leave(sequence);
                waiting.wake_next();
                return Err(Error::PeerGone);
            }
            if let Some(incoming) = waiting.incoming.take() {
                waiting.leave(sequence);
                break incoming;
            }
            let woken = waiting.follow(sequence);
            waiting = woken.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        };
        drop(waiting);
        self.lead(incoming, sequence, reply)
    }

    /// Receives until the reply to this thread's call has come.
    fn lead(&self, mut incoming: Box<R>, sequence: u32, reply: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            let received = receive_reply(&mut *incoming, reply);
            let mut waiting = lock(&self.waiting);
            let done = match received {
                Ok(own) if own == sequence => {
                    waiting.ended = waiting.ended.wrapping_add(1);
                    Ok(true)
                }
                Ok(other) => {
                    let under_way = self
                        .made
                        .load(Ordering::Acquire)
                        .wrapping_sub(waiting.ended);
                    waiting
                        .hand_over(other, std::mem::take(reply), under_way)
                        .map(|()| false)
                }
                Err(error) => Err(error),
            };
            if !matches!(done, Ok(false)) {
                let done = self.noting_failure(done).map(|_| ());
                waiting.incoming = Some(incoming);
                waiting.wake_next();
                return done;
            }
        }
    }
}

/// Waits for the next reply; gives the sequence of its call.
fn receive_reply(incoming: &mut impl Incoming, reply: &mut Vec<u8>) -> Result<u32, Error> {
    let accept = |message: Message| match message.kind {
        MessageKind::Reply => Ok(()),
        _ => Err(Error::Protocol("a request came where a reply was due")),
    };
    let message = incoming.receive(accept, reply)?.ok_or(Error::PeerGone)?;
    Ok(message.sequence)
}

impl<R> Waiting<R> {
    fn position(&self, sequence: u32) -> Option<usize> {
        self.calls.iter().position(|call| call.sequence == sequence)
    }

    /// The reply to a call, if it came.
    fn take_reply(&mut self, sequence: u32) -> Option<Vec<u8>> {
        let place = self.position(sequence)?;
        let reply = self.calls[place].reply.take()?;
        self.calls.swap_remove(place);
        self.ended = self.ended.wrapping_add(1);
        Some(reply)
    }

    /// What the thread of a call that sleeps is woken by.
    fn follow(&mut self, sequence: u32) -> Arc<Condvar> {
        if let Some(place) = self.position(sequence) {
            let woken = &mut self.calls[place].woken;
            return woken.get_or_insert_with(Arc::default).clone();
        }
        let woken = Arc::<Condvar>::default();
        self.calls.push(Call {
            sequence,
            reply: None,
            woken: Some(woken.clone()),
        });
        woken
    }

    /// The thread of a call sleeps no more.
    fn leave(&mut self, sequence: u32) {
        if let Some(place) = self.position(sequence) {
            self.calls.swap_remove(place);
        }
    }

    /// The leader has received the reply to a call of another thread's. So many calls are
    /// under way, its own among them.
    fn hand_over(&mut self, sequence: u32, reply: Vec<u8>, under_way: u32) -> Result<(), Error> {
        let unknown = Error::Protocol("a reply to another call");
        if let Some(place) = self.position(sequence) {
            let call = &mut self.calls[place];
            if call.reply.is_some() {
                return Err(unknown);
            }
            call.reply = Some(reply);
            if let Some(woken) = &call.woken {
                woken.notify_one();
            }
            return Ok(());
        }
        // There must be a call that it can be to.
        if self.calls.len() as u64 + 1 >= u64::from(under_way) {
            return Err(unknown);
        }
        self.calls.push(Call {
            sequence,
            reply: Some(reply),
            woken: None,
        });
        Ok(())
    }

    /// There is no leader now: has a follower lead, or find that all is over.
    fn wake_next(&self) {
        let mut following = self.calls.iter().filter(|call| call.reply.is_none());
        if let Some(woken) = following.find_map(|call| call.woken.as_ref()) {
            woken.notify_one();
        }
    }
}

impl<S: Outgoing, R: Incoming> Client for Calls<S, R> {
    fn post(&self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        self.send(MessageKind::Posted, request).map(|_| ())
    }

    fn call(&self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        let sequence = self.send(MessageKind::Call, request)?;
        self.await_reply(sequence, reply)
    }

    fn flush(&self) -> Result<(), Error> {
        self.send_kept(&mut lock(&self.sending))
    }

    fn try_flush(&self) -> Result<(), Error> {
        match self.sending.try_lock() {
            Ok(mut sending) => self.send_kept(&mut sending),
            // Poisoned is as good as held: it is for the end of a process.
            Err(_) => Ok(()),
        }
    }

    fn transport(&self) -> &'static str {
        self.transport
    }
}
