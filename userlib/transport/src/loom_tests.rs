// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Threads that call at the same time, under loom: whoever receives a reply, it must reach its
//! thread, and a thread that nobody wakes shows as a deadlock. The server is played.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Instant;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::calls::Calls;
use crate::message::{Incoming, Message, MessageKind, Outgoing};
use crate::{Client, Error};

/// Is answered when `RELEASE` has come.
const WAIT: &[u8] = b"wait";
const RELEASE: &[u8] = b"release";
/// Ends the connection.
const END: &[u8] = b"end";

#[derive(Default)]
struct Server {
    state: Mutex<State>,
    replied: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u32>,
    released: bool,
    replies: VecDeque<u32>,
    gone: bool,
}

impl Outgoing for Arc<Server> {
    fn send(&mut self, message: Message, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        let state = &mut *self.state.lock().unwrap();
        match &*parts[0] {
            WAIT if !state.released => state.waiting.push(message.sequence),
            END => state.gone = true,
            request => {
                state.replies.push_back(message.sequence);
                if request == RELEASE {
                    state.released = true;
                    state.replies.extend(state.waiting.drain(..));
                }
            }
        }
        self.replied.notify_one();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Incoming for Arc<Server> {
    fn receive(
        &mut self,
        accept: impl FnOnce(Message) -> Result<(), Error>,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Message>, Error> {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(sequence) = state.replies.pop_front() {
                let (kind, len) = (MessageKind::Reply, 4);
                let message = Message {
                    kind,
                    sequence,
                    len,
                };
                accept(message)?;
                *bytes = sequence.to_le_bytes().to_vec();
                return Ok(Some(message));
            }
            if state.gone {
                return Ok(None);
            }
            state = self.replied.wait(state).unwrap();
        }
    }

    fn set_deadline(&mut self, _: Option<Instant>) -> Result<(), Error> {
        Ok(())
    }
}

type Played = Calls<Arc<Server>, Arc<Server>>;

/// Has two threads call, the second of them several times; gives what each got.
fn two_threads(
    one: &'static [u8],
    other: &'static [&'static [u8]],
    check: impl Fn(Vec<Result<u32, Error>>) + Sync + Send + 'static,
) {
    fn call(client: &Played, request: &[u8]) -> Result<u32, Error> {
        let mut reply = Vec::new();
        client.call(&[IoSlice::new(request)], &mut reply)?;
        Ok(u32::from_le_bytes(reply.try_into().unwrap()))
    }
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let server = Arc::new(Server::default());
        let client = Arc::new(Calls::new("played", 100, server.clone(), server));
        let calling = client.clone();
        let thread = thread::spawn(move || call(&calling, one));
        let called = other.iter().map(|request| call(&client, request));
        let mut results: Vec<_> = called.collect();
        results.push(thread.join().unwrap());
        check(results);
    });
}

/// The replies are those to all the calls there were.
fn all_answered(results: Vec<Result<u32, Error>>) {
    let count = results.len() as u32;
    let mut sequences: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(0..count));
}

#[test]
fn loom_replies_reach_their_threads() {
    two_threads(b"call", &[b"call", b"call"], all_answered);
}

#[test]
fn loom_a_call_that_waits_holds_up_no_other() {
    two_threads(WAIT, &[b"call", RELEASE], all_answered);
}

#[test]
fn loom_the_end_reaches_every_thread() {
    two_threads(WAIT, &[END], |results| {
        for result in results {
            assert!(matches!(result, Err(Error::PeerGone)));
        }
    });
}
