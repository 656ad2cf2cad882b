// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the server carries requests out: for delegated calls and for messages by ring,
//! one at a time.

use std::fmt::Display;
use std::io::IoSlice;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wormhole_transport::{Error, Kind};

use crate::areas::Areas;
use crate::batch::{Walk, HEADER};
use crate::serve::Handler;
use crate::{length_of, operation, OVER};

/// The session is over; the handler was told why.
#[derive(Debug)]
struct Over;

pub(crate) struct Desk<H> {
    areas: Areas,
    /// Longest message that the client accepts, and longest that this side does.
    max_send: u32,
    max_receive: u32,
    state: Mutex<State<H>>,
}

struct State<H> {
    handler: H,
    over: bool,
    /// The request being carried out; kept for its memory.
    request: Vec<u8>,
    /// A reply that is longer than its area, while the client fetches it.
    reply: Vec<u8>,
}

impl<H: Handler> Desk<H> {
    /// For a client that accepts `max_send` bytes.
    pub(crate) fn new(areas: Areas, handler: H, max_send: u32, max_receive: u32) -> Self {
        Desk {
            areas,
            max_send: max_send.min(max_receive),
            max_receive,
            state: Mutex::new(State {
                handler,
                over: false,
                request: Vec::new(),
                reply: Vec::new(),
            }),
        }
    }

    pub(crate) fn areas(&self) -> &Areas {
        &self.areas
    }

    fn lock(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delegated call. It returns whatever happens.
    pub(crate) fn call(&self, operation: u64, argument: u64) -> u64 {
        let work = || match operation {
            operation::DELIVER => self.deliver(argument),
            operation::FETCH => self.fetch(argument),
            _ => Err(self.lock().end(&"a delegated call of an unknown kind")),
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(len)) => len.into(),
            Ok(Err(Over)) => OVER,
            Err(_) => {
                // Not even this may unwind into the client's vCPU.
                let _ = catch_unwind(AssertUnwindSafe(|| self.lock().end(&"a panic")));
                OVER
            }
        }
    }

    /// A message by ring.
    pub(crate) fn message(
        &self,
        request: &[u8],
        kind: Kind,
        reply: &mut crate::Reply<'_>,
    ) -> Result<(), H::Error> {
        let mut state = self.lock();
        if state.over {
            // The handler knows. It may not have ended the process.
            return Ok(());
        }
        state.handler.handle(request, kind, reply)
    }

    fn deliver(&self, len: u64) -> Result<u32, Over> {
        let mut state = self.lock();
        if state.over {
            return Err(Over);
        }
        state.reply = Vec::new();
        let mut walk = Walk::new(len, self.areas.size()).map_err(|why| state.end(&why))?;
        let mut replied = 0;
        while let Some(at) = walk.next().map_err(|why| state.end(&why))? {
            let mut header = Vec::with_capacity(HEADER as usize);
            self.areas
                .read_request(at, HEADER, &mut header)
                .map_err(|why| state.end(&why))?;
            let header = header.try_into().unwrap_or_default();
            let record = walk.take(header).map_err(|why| state.end(&why))?;
            if record.len > self.max_receive {
                return Err(state.end(&"a request that is too long"));
            }
            let mut request = std::mem::take(&mut state.request);
            request.clear();
            self.areas
                .read_request(record.offset, record.len.into(), &mut request)
                .map_err(|why| state.end(&why))?;
            if let Some(len) = self.carry_out(&mut state, &request, record.kind)? {
                replied = len;
            }
            state.request = request;
        }
        Ok(replied)
    }

    /// Carries out one request; gives the length of its reply, which then is in the area or
    /// begins there.
    fn carry_out(
        &self,
        state: &mut State<H>,
        request: &[u8],
        kind: Kind,
    ) -> Result<Option<u32>, Over> {
        let mut replied = None;
        let State { handler, reply, .. } = state;
        let mut answer = |parts: &[IoSlice<'_>]| {
            if kind == Kind::Posted || replied.is_some() {
                return Err(Error::Misuse("a reply where no call awaits one"));
            }
            let len = length_of(parts, self.max_send)?;
            if u64::from(len) <= self.areas.size() {
                self.areas.write_reply(parts)?;
            } else {
                parts.iter().for_each(|part| reply.extend_from_slice(part));
                let first = &reply[..self.areas.size() as usize];
                self.areas.write_reply(&[IoSlice::new(first)])?;
            }
            replied = Some(len);
            Ok(())
        };
        if let Err(error) = handler.handle(request, kind, &mut answer) {
            return Err(state.end(&error));
        }
        match (kind, replied) {
            (Kind::Call, None) => Err(state.end(&"a call that was not answered")),
            (_, replied) => Ok(replied),
        }
    }

    fn fetch(&self, offset: u64) -> Result<u32, Over> {
        let mut state = self.lock();
        if state.over {
            return Err(Over);
        }
        let reply = usize::try_from(offset)
            .ok()
            .and_then(|offset| state.reply.get(offset..))
            .filter(|rest| !rest.is_empty());
        let Some(rest) = reply else {
            return Err(state.end(&"nothing to fetch there"));
        };
        let piece = &rest[..rest.len().min(self.areas.size() as usize)];
        let (len, last) = (piece.len(), piece.len() == rest.len());
        self.areas
            .write_reply(&[IoSlice::new(piece)])
            .map_err(|why| state.end(&why))?;
        if last {
            state.reply = Vec::new();
        }
        // No more than the area.
        Ok(len as u32)
    }
}

impl<H: Handler> State<H> {
    fn end(&mut self, why: &dyn Display) -> Over {
        if !std::mem::replace(&mut self.over, true) {
            self.handler.over(why);
        }
        Over
    }
}
