// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Client end.
//!
//! Lock order: `front`; `free` and `growing` are taken alone.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use wormhole_delegate::{CallError, Called};
use wormhole_transport::{Client, Error, Kind};

use crate::age::{Age, Ages, Finding, Seen, Watch};
use crate::areas::{Areas, Lane, LANES};
use crate::batch::{self, Place, Record};
use crate::counts::Counts;
use crate::greeting::Grow;
use crate::home::Home;
use crate::{function_of, length_of, lock, operation, try_lock, FIRST_CARRIERS, OVER};

/// Delegated calls of the server, several at a time.
pub(crate) trait Delegate: Send + Sync + 'static {
    /// `busy` is called if there is no carrier for it yet.
    fn call(&self, operation: u64, argument: u64, busy: impl FnOnce())
        -> Result<Called, CallError>;
}

impl Delegate for wormhole_delegate::Client {
    fn call(
        &self,
        operation: u64,
        argument: u64,
        busy: impl FnOnce(),
    ) -> Result<Called, CallError> {
        // SAFETY: what comes back is checked. The server cannot touch this process's memory.
        unsafe { self.call_asking([operation, argument, 0, 0, 0, 0], busy) }
    }
}

/// What becomes of the connection when exitless calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    GoByRing,
    Fail,
}

type Ring = Box<dyn Client>;

pub(crate) struct VmfuncClient<D> {
    me: Weak<Self>,
    watch: Watch,
    /// What the shared lane holds.
    front: Mutex<Front>,
    ring: Ring,
    /// Lanes for calls that may take long.
    free: Mutex<Vec<Lane>>,
    delegate: D,
    refused: Refused,
    areas: Areas,
    /// Longest message that this side accepts, and longest that both do.
    max_receive: u32,
    max_send: u32,
    counts: Counts,
    /// Calls that can be under way at once, as far as is known.
    carriers: AtomicU32,
    /// Whether there are all the carriers that there can be. Locked to ask for more.
    growing: Mutex<bool>,
    /// Exitless calls were refused.
    by_ring: AtomicBool,
    broken: AtomicBool,
}

struct Front {
    batch: Vec<Record>,
    /// Bytes of the batch.
    filled: u64,
    /// Function of its last request.
    function: u16,
    home: Home,
    age: Age,
}

/// The answer to a delegated call.
struct Answer {
    /// Length of the reply.
    len: u32,
    hopped: bool,
}

/// A lane of one call's own.
struct OwnLane<'a> {
    lane: Lane,
    free: &'a Mutex<Vec<Lane>>,
}

impl Drop for OwnLane<'_> {
    fn drop(&mut self) {
        lock(self.free).push(self.lane);
    }
}

impl Front {
    /// Whether there is room for one more request.
    fn has_room(&self, lane: Lane, len: u32) -> bool {
        self.batch.len() < batch::RECORDS && self.filled + batch::record_size(len) <= lane.size()
    }

    /// Whether the watch is to be woken.
    #[must_use]
    fn add(&mut self, record: Record, function: u16) -> bool {
        let begins = self.batch.is_empty();
        self.batch.push(record);
        self.filled = record.end();
        self.function = function;
        begins && self.age.begin()
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.filled = 0;
        self.age.end();
    }
}

impl<D: Delegate> Ages for VmfuncClient<D> {
    fn look(&self, seen: &mut Seen) -> bool {
        // Unless somebody is at it.
        let Some(mut front) = try_lock(&self.front) else {
            return true;
        };
        let begun = !front.batch.is_empty();
        match front.age.look(begun, seen) {
            Finding::Old => {
                let sent = self
                    .check(&[])
                    .and_then(|_| self.deliver_posted(&mut front));
                let sent = sent.and_then(|()| match self.goes_by_ring() {
                    true => self.ring.try_flush(),
                    false => Ok(()),
                });
                // What went wrong the next call hears.
                self.noting_failure(sent).is_ok()
            }
            Finding::Young => true,
            Finding::Idle => false,
        }
    }
}

impl<D: Delegate> VmfuncClient<D> {
    /// Of a ring whose server has offered exitless calls, and accepts `max_send` bytes.
    pub(crate) fn new(
        ring: Ring,
        delegate: D,
        areas: Areas,
        refused: Refused,
        (max_receive, max_send): (u32, u32),
    ) -> Arc<Self> {
        // The first ones at the end, where they are taken from.
        let own = (1..LANES).rev().filter_map(|number| areas.lane(number));
        let own = own.collect();
        Arc::new_cyclic(|me| VmfuncClient {
            me: me.clone(),
            watch: Watch::new(),
            front: Mutex::new(Front {
                batch: Vec::with_capacity(batch::RECORDS),
                filled: 0,
                function: 0,
                home: Home::default(),
                age: Age::new(),
            }),
            ring,
            free: Mutex::new(own),
            delegate,
            refused,
            areas,
            max_receive,
            max_send: max_send.min(max_receive),
            counts: Counts::new(),
            carriers: AtomicU32::new(FIRST_CARRIERS),
            growing: Mutex::new(false),
            by_ring: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    /// As [`Client::post`].
    pub(crate) fn post(&self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        let len = self.check(request)?;
        let kept = self.keep(&mut lock(&self.front), len, request);
        self.noting_failure(kept)
    }

    /// As [`Client::call`].
    pub(crate) fn call(
        &self,
        request: &[IoSlice<'_>],
        reply: &mut Vec<u8>,
        blocking: bool,
    ) -> Result<(), Error> {
        let len = self.check(request)?;
        let answered = match blocking {
            true => self.call_alone(len, request, reply),
            false => self.call_shared(len, request, reply),
        };
        self.noting_failure(answered)
    }

    /// Makes a call by ring, after what was posted before it.
    pub(crate) fn wait(&self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        self.check(request)?;
        let answered = self
            .deliver_posted(&mut lock(&self.front))
            .and_then(|()| self.call_by_ring(request, reply));
        self.noting_failure(answered)
    }

    /// As [`Client::flush`].
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.check(&[])?;
        let sent = self.send();
        self.noting_failure(sent)
    }

    /// As [`flush`](Self::flush), unless another thread is in the middle of a call.
    pub(crate) fn try_flush(&self) -> Result<(), Error> {
        self.check(&[])?;
        let sent = match try_lock(&self.front) {
            Some(mut front) => self.deliver_posted(&mut front),
            None => Ok(()),
        };
        let sent = sent.and_then(|()| match self.goes_by_ring() {
            true => self.ring.try_flush(),
            false => Ok(()),
        });
        self.noting_failure(sent)
    }

    /// Has its thread end.
    pub(crate) fn end(&self) {
        self.watch.end();
    }

    pub(crate) fn transport(&self) -> &'static str {
        match self.goes_by_ring() {
            false => "vmfunc",
            true => "ring",
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    fn check(&self, request: &[IoSlice<'_>]) -> Result<u32, Error> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(Error::PeerGone),
            false => length_of(request, self.max_send),
        }
    }

    /// After an error the two sides do not agree any more.
    fn noting_failure<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        result
    }

    fn goes_by_ring(&self) -> bool {
        self.by_ring.load(Ordering::Relaxed)
    }

    fn keep(&self, front: &mut Front, len: u32, request: &[IoSlice<'_>]) -> Result<(), Error> {
        let lane = self.areas.shared();
        if !front.has_room(lane, len) {
            self.deliver_posted(front)?;
        }
        if self.goes_by_ring() {
            return self.post_by_ring(request);
        }
        let function = function_of(request);
        self.counts.posted(function);
        if let Some(record) = self.write(lane, front.filled, len, Kind::Posted, request)? {
            if front.add(record, function) {
                self.watch.wake(&self.me);
            }
            if record.place == Place::Here {
                return Ok(());
            }
            if let Some(answer) = self.deliver(lane, front.filled)? {
                front.clear();
                return self.answered_posted(function, answer);
            }
            front.clear();
        }
        self.post_by_ring(request)
    }

    /// A call in the shared lane, together with what was posted before it.
    fn call_shared(
        &self,
        len: u32,
        request: &[IoSlice<'_>],
        reply: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut locked = lock(&self.front);
        let front = &mut *locked;
        let lane = self.areas.shared();
        let function = function_of(request);
        if front.home.next(function) {
            self.deliver_posted(front)?;
            drop(locked);
            return self.call_by_ring(request, reply);
        }
        if !front.has_room(lane, len) {
            self.deliver_posted(front)?;
        }
        if !self.goes_by_ring() {
            if let Some(answer) = self.write_call(lane, front.filled, len, request)? {
                front.clear();
                front.home.delegated(function, answer.hopped);
                self.counts.delegated(function, answer.hopped);
                return self.fetch(lane, answer.len, reply);
            }
        }
        self.batch_by_ring(front)?;
        drop(locked);
        self.call_by_ring(request, reply)
    }

    /// A call in a lane of its own, after what was posted before it.
    fn call_alone(
        &self,
        len: u32,
        request: &[IoSlice<'_>],
        reply: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let function = function_of(request);
        let mut front = lock(&self.front);
        self.deliver_posted(&mut front)?;
        let by_ring = self.goes_by_ring() || front.home.next(function);
        drop(front);
        let own = match by_ring {
            true => None,
            false => self.own_lane()?,
        };
        if let Some(own) = own {
            let lane = own.lane;
            if let Some(answer) = self.write_call(lane, 0, len, request)? {
                self.counts.delegated(function, answer.hopped);
                let fetched = self.fetch(lane, answer.len, reply);
                drop(own);
                lock(&self.front).home.delegated(function, answer.hopped);
                return fetched;
            }
        }
        self.call_by_ring(request, reply)
    }

    fn send(&self) -> Result<(), Error> {
        let front = &mut *lock(&self.front);
        self.deliver_posted(front)?;
        match self.goes_by_ring() {
            true => self.ring.flush(),
            false => Ok(()),
        }
    }

    /// Writes a request behind the batch that fills a lane up to `at`; one that has no room in an
    /// empty lane is sent in pieces first. `None`: that was refused, and nothing is carried out.
    fn write(
        &self,
        lane: Lane,
        at: u64,
        len: u32,
        kind: Kind,
        request: &[IoSlice<'_>],
    ) -> Result<Option<Record>, Error> {
        let place = match at + batch::record_size(len) <= lane.size() {
            true => Place::Here,
            false => Place::Pieces,
        };
        if place == Place::Pieces && !self.put(lane, len, request)? {
            return Ok(None);
        }
        let header = batch::header(len, kind, place);
        let offset = self
            .areas
            .write_request(lane, at, &[IoSlice::new(&header)])?;
        if place == Place::Here {
            self.areas.write_request(lane, offset, request)?;
        }
        Ok(Some(Record {
            kind,
            place,
            offset,
            len,
        }))
    }

    /// Writes a call, as [`write`](Self::write) does, and has the server carry out all that is in
    /// the lane. `None`: it was refused, and nothing was carried out.
    fn write_call(
        &self,
        lane: Lane,
        at: u64,
        len: u32,
        request: &[IoSlice<'_>],
    ) -> Result<Option<Answer>, Error> {
        match self.write(lane, at, len, Kind::Call, request)? {
            Some(record) => self.deliver(lane, record.end()),
            None => Ok(None),
        }
    }

    /// Gives the server a request in pieces. False if exitless calls were refused; then nothing
    /// is carried out.
    fn put(&self, lane: Lane, len: u32, request: &[IoSlice<'_>]) -> Result<bool, Error> {
        let (mut done, area) = (0, lane.size() as usize);
        for part in request {
            for piece in part.chunks(area) {
                self.areas.write_request(lane, 0, &[IoSlice::new(piece)])?;
                match self.delegate(operation::PUT, lane, piece.len() as u64)? {
                    None => return Ok(false),
                    Some(Answer { len: 0, .. }) => done += piece.len(),
                    Some(_) => return Err(Error::Protocol("a reply to a piece")),
                }
            }
        }
        debug_assert_eq!(done, len as usize);
        Ok(true)
    }

    /// Makes a delegated call. `None`: it was refused, and nothing was carried out.
    fn delegate(&self, work: u64, lane: Lane, argument: u64) -> Result<Option<Answer>, Error> {
        let work = operation::join(work, lane);
        let result = self.delegate.call(work, argument, || self.busy());
        match result {
            Ok(Called { result: OVER, .. }) => Err(Error::PeerGone),
            Ok(Called { result, hops }) => Ok(Some(Answer {
                len: u32::try_from(result).map_err(|_| Error::Protocol("an impossible length"))?,
                hopped: hops > 0,
            })),
            Err(CallError::Refused(_)) if self.refused == Refused::GoByRing => {
                self.by_ring.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(CallError::Gone) => Err(Error::PeerGone),
            Err(CallError::Refused(errno) | CallError::Failed(errno)) => {
                Err(Error::Io(io::Error::from_raw_os_error(errno)))
            }
        }
    }

    /// Has the server carry out the batch of a lane; gives the length of the reply. `None`: it
    /// was refused, and nothing was carried out.
    fn deliver(&self, lane: Lane, filled: u64) -> Result<Option<Answer>, Error> {
        let Some(answer) = self.delegate(operation::DELIVER, lane, filled)? else {
            return Ok(None);
        };
        match answer.len <= self.max_receive {
            true => Ok(Some(answer)),
            false => Err(Error::TooLarge {
                len: answer.len.into(),
                max: self.max_receive.into(),
            }),
        }
    }

    /// Empties the shared lane, where no call is.
    fn deliver_posted(&self, front: &mut Front) -> Result<(), Error> {
        if front.batch.is_empty() {
            return Ok(());
        }
        match self.deliver(self.areas.shared(), front.filled)? {
            Some(answer) => {
                front.clear();
                self.answered_posted(front.function, answer)
            }
            None => self.batch_by_ring(front),
        }
    }

    fn answered_posted(&self, function: u16, answer: Answer) -> Result<(), Error> {
        self.counts.delegated(function, answer.hopped);
        match answer.len {
            0 => Ok(()),
            _ => Err(Error::Protocol("a reply where no call waits")),
        }
    }

    /// Posts the batch by ring, now that exitless calls were refused.
    fn batch_by_ring(&self, front: &mut Front) -> Result<(), Error> {
        let mut request = Vec::new();
        for record in std::mem::take(&mut front.batch) {
            request.clear();
            let (lane, len) = (self.areas.shared(), record.here());
            self.areas
                .read_request(lane, record.offset, len, &mut request)?;
            self.post_by_ring(&[IoSlice::new(&request)])?;
        }
        front.clear();
        Ok(())
    }

    fn post_by_ring(&self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        self.counts.home(function_of(request));
        self.ring.post(request)
    }

    fn call_by_ring(&self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        self.counts.home(function_of(request));
        self.ring.call(request, reply)
    }

    /// A lane for a call that may take long, if there is one, and a carrier for it besides one
    /// for the shared lane: that must not wait.
    fn own_lane(&self) -> Result<Option<OwnLane<'_>>, Error> {
        let mut free = lock(&self.free);
        let Some(lane) = free.pop() else {
            return Ok(None);
        };
        // With the shared lane's.
        let busy = LANES - free.len();
        drop(free);
        let own = OwnLane {
            lane,
            free: &self.free,
        };
        Ok(self.has_carriers(busy as u32)?.then_some(own))
    }

    /// A call finds no carrier: the server has taken back some, which were not needed for long.
    fn busy(&self) {
        *lock(&self.growing) = false;
        self.carriers.store(FIRST_CARRIERS, Ordering::Relaxed);
        // With the shared lane's.
        let calls = LANES - lock(&self.free).len();
        // The call that waits hears of it if the server has gone.
        let _ = self.has_carriers(calls as u32);
    }

    /// Whether so many calls can be under way at once. Asks for carriers if it is not known that
    /// there are, or that there can be no more.
    fn has_carriers(&self, calls: u32) -> Result<bool, Error> {
        if calls <= self.carriers.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let mut all = lock(&self.growing);
        // Another thread may have asked meanwhile.
        if !*all && calls > self.carriers.load(Ordering::Relaxed) {
            let carriers = calls.next_power_of_two();
            let mut reply = Vec::new();
            let request = Grow { carriers }.pack();
            self.ring.call(&[IoSlice::new(&request)], &mut reply)?;
            let has = reply.as_slice().try_into().map(u32::from_le_bytes);
            let has = has.map_err(|_| Error::Protocol("no number of carriers"))?;
            self.carriers.store(has, Ordering::Relaxed);
            *all = has < carriers;
        }
        Ok(calls <= self.carriers.load(Ordering::Relaxed))
    }

    /// Takes a reply, which begins in the lane's area.
    fn fetch(&self, lane: Lane, len: u32, reply: &mut Vec<u8>) -> Result<(), Error> {
        let (len, area) = (u64::from(len), lane.size());
        reply.clear();
        self.areas.read_reply(lane, len.min(area), reply)?;
        let mut done = len.min(area);
        while done < len {
            let piece = area.min(len - done);
            // It was carried out, so that there is no other way.
            let answer = self
                .delegate(operation::FETCH, lane, done)?
                .ok_or(Error::PeerGone)?;
            if u64::from(answer.len) != piece {
                return Err(Error::Protocol("a piece of another length than announced"));
            }
            self.areas.read_reply(lane, piece, reply)?;
            done += piece;
        }
        Ok(())
    }
}
