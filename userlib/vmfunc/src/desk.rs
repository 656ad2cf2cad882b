// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the server carries requests out: for delegated calls, one at a time in each
//! lane, and for messages by ring.

use std::fmt::Display;
use std::io::IoSlice;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wormhole_transport::{Error, Kind};
use wormhole_window::Count;

use crate::areas::{Areas, Lane, LANES};
use crate::batch::{Place, Walk};
use crate::serve::Handler;
use crate::{function_of, length_of, operation, OVER};

/// The session is over; the handler was told why.
#[derive(Debug)]
struct Over;

pub(crate) struct Desk<H> {
    areas: Areas,
    /// Longest message that the client accepts, and longest that this side does.
    max_send: u32,
    max_receive: u32,
    handler: H,
    over: AtomicBool,
    lanes: Vec<Mutex<State>>,
}

/// What stays of a lane between calls.
#[derive(Default)]
struct State {
    /// The batch being carried out; kept for its memory.
    batch: Vec<u8>,
    /// A request that comes in pieces.
    pieces: Vec<u8>,
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
            handler,
            over: AtomicBool::new(false),
            lanes: (0..LANES).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn areas(&self) -> &Areas {
        &self.areas
    }

    pub(crate) fn handler(&self) -> &H {
        &self.handler
    }

    /// A delegated call. It returns whatever happens.
    pub(crate) fn call(&self, operation: u64, argument: u64) -> u64 {
        match catch_unwind(AssertUnwindSafe(|| self.work(operation, argument))) {
            Ok(Ok(len)) => len.into(),
            Ok(Err(Over)) => OVER,
            Err(_) => {
                // Not even this may unwind into the client's vCPU.
                let _ = catch_unwind(AssertUnwindSafe(|| self.end(&"a panic")));
                OVER
            }
        }
    }

    fn work(&self, operation: u64, argument: u64) -> Result<u32, Over> {
        if self.over.load(Ordering::Relaxed) {
            return Err(Over);
        }
        let (operation, number) = operation::split(operation);
        let (Some(lane), Some(state)) = (self.areas.lane(number), self.lanes.get(number)) else {
            return Err(self.end(&"a delegated call in no lane"));
        };
        let mut state = state.lock();
        match operation {
            operation::DELIVER => self.deliver(lane, &mut state, argument),
            operation::FETCH => self.fetch(lane, &mut state, argument),
            operation::PUT => self.put(lane, &mut state, argument),
            _ => Err(self.end(&"a delegated call of an unknown kind")),
        }
    }

    /// A message by ring.
    pub(crate) fn message(
        &self,
        request: &[u8],
        kind: Kind,
        reply: &mut crate::Reply<'_>,
    ) -> Result<(), H::Error> {
        if self.over.load(Ordering::Relaxed) {
            // The handler knows. It may not have ended the process.
            return Ok(());
        }
        self.handler.handle(request, kind, reply)
    }

    fn deliver(&self, lane: &Lane, state: &mut State, len: u64) -> Result<u32, Over> {
        let mut walk = Walk::new(len, lane.size()).map_err(|why| self.end(&why))?;
        state.reply = Vec::new();
        state.batch.clear();
        let copied = self.areas.read_request(lane, len, &mut state.batch);
        copied.map_err(|why| self.end(&why))?;
        while let Some(record) = walk.next(&state.batch).map_err(|why| self.end(&why))? {
            if record.len > self.max_receive {
                return Err(self.end(&"a request that is too long"));
            }
            let pieces;
            let request = match record.place {
                Place::Here => record.of(&state.batch),
                Place::Pieces => {
                    pieces = self.pieces(&mut state.pieces, record.len)?;
                    &pieces
                }
            };
            match record.kind {
                Kind::Posted => self.carry_out(request)?,
                Kind::Call => {
                    if !record.is_first() {
                        self.areas.set_carried_out(lane, true);
                    }
                    // It is the last one.
                    return self.answer(lane, &mut state.reply, request);
                }
            }
        }
        Ok(0)
    }

    /// A request that came in pieces.
    #[cold]
    fn pieces(&self, pieces: &mut Vec<u8>, len: u32) -> Result<Vec<u8>, Over> {
        match pieces.len() == len as usize {
            true => Ok(std::mem::take(pieces)),
            false => Err(self.end(&"a request of which not all pieces came")),
        }
    }

    /// Counts the hop that came since the last request, if there was one.
    #[inline]
    fn count_hop(&self, request: &[u8]) {
        let Some(cause) = wormhole_delegate::take_hop() else {
            return;
        };
        if let Some(count) = Count::of_cause(cause) {
            let function = function_of(&[IoSlice::new(request)]);
            self.areas.counts().add_shared(function, count);
        }
    }

    /// Carries out one request, to which nobody awaits a reply.
    #[inline]
    fn carry_out(&self, request: &[u8]) -> Result<(), Over> {
        let mut none = |_: &[IoSlice<'_>]| Err(Error::Misuse("a reply where no call awaits one"));
        let handled = self.handler.handle(request, Kind::Posted, &mut none);
        handled.map_err(|error| self.end(&error))?;
        self.count_hop(request);
        Ok(())
    }

    /// Carries out a call; gives the length of its reply, which then is in the area or
    /// begins there.
    #[inline]
    fn answer(&self, lane: &Lane, rest: &mut Vec<u8>, request: &[u8]) -> Result<u32, Over> {
        let mut replied = None;
        let mut answer = |parts: &[IoSlice<'_>]| {
            if replied.is_some() {
                return Err(Error::Misuse("a second reply to a call"));
            }
            replied = Some(match parts {
                [] => 0,
                parts => self.write_reply(lane, rest, parts)?,
            });
            Ok(())
        };
        let handled = self.handler.handle(request, Kind::Call, &mut answer);
        handled.map_err(|error| self.end(&error))?;
        self.count_hop(request);
        replied.ok_or_else(|| self.end(&"a call that was not answered"))
    }

    /// Puts a reply where the client finds it, and into `rest` if that is too short. Gives its
    /// length.
    #[inline(never)]
    fn write_reply(
        &self,
        lane: &Lane,
        rest: &mut Vec<u8>,
        parts: &[IoSlice<'_>],
    ) -> Result<u32, Error> {
        let len = length_of(parts, self.max_send)?;
        if u64::from(len) <= lane.size() {
            self.areas.write_reply(lane, parts)?;
            return Ok(len);
        }
        parts.iter().for_each(|part| rest.extend_from_slice(part));
        let first = &rest[..lane.size() as usize];
        self.areas.write_reply(lane, &[IoSlice::new(first)])?;
        Ok(len)
    }

    fn put(&self, lane: &Lane, state: &mut State, len: u64) -> Result<u32, Over> {
        let sum = (state.pieces.len() as u64).saturating_add(len);
        if len > lane.size() || sum > u64::from(self.max_receive) {
            return Err(self.end(&"a piece that is too long"));
        }
        self.areas
            .read_request(lane, len, &mut state.pieces)
            .map_err(|why| self.end(&why))?;
        Ok(0)
    }

    fn fetch(&self, lane: &Lane, state: &mut State, offset: u64) -> Result<u32, Over> {
        let reply = usize::try_from(offset)
            .ok()
            .and_then(|offset| state.reply.get(offset..))
            .filter(|rest| !rest.is_empty());
        let Some(rest) = reply else {
            return Err(self.end(&"nothing to fetch there"));
        };
        let piece = &rest[..rest.len().min(lane.size() as usize)];
        let (len, last) = (piece.len(), piece.len() == rest.len());
        self.areas
            .write_reply(lane, &[IoSlice::new(piece)])
            .map_err(|why| self.end(&why))?;
        if last {
            state.reply = Vec::new();
        }
        // No more than the area.
        Ok(len as u32)
    }

    fn end(&self, why: &dyn Display) -> Over {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.handler.over(why);
        }
        Over
    }
}
