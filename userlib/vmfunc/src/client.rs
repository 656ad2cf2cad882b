// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Client end.
//!
//! Lock order: `front`, then `growing`.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use parking_lot::MutexGuard;
use wormhole_delegate::{CallError, Called};
use wormhole_transport::{Client, Counts, Error, Kind};
use wormhole_window::Count;

use crate::age::{Age, Ages, Finding, Next, Seen, Watch};
use crate::areas::{Areas, Lane, LANES};
use crate::batch::{self, posted, Batch};
use crate::free::{FreeLanes, Taken};
use crate::greeting::Grow;
use crate::home::Home;
use crate::{function_of, length_of, lock, operation, FIRST_CARRIERS, OVER};

/// How often to look whether another thread's batch is carried out before letting other threads
/// run, and how often then before sleeping.
const SPINS: u32 = 100;
const YIELDS: u32 = SPINS + 100;
const PAUSE: Duration = Duration::from_micros(50);

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
    front: parking_lot::Mutex<Front>,
    ring: Ring,
    /// Lanes for calls that may take long.
    free: FreeLanes,
    delegate: D,
    refused: Refused,
    areas: Areas,
    /// Longest message that this side accepts, and longest that both do.
    max_receive: u32,
    max_send: u32,
    /// Of these those of what is posted are changed by who has `front` alone.
    counts: Counts,
    home: Home,
    /// Whether the call that took a batch to a lane of its own has come back, by lane.
    returned: [AtomicBool; LANES],
    /// Calls that can be under way at once, as far as is known.
    carriers: AtomicU32,
    /// Whether there are all the carriers that there can be. Locked to ask for more.
    growing: Mutex<bool>,
    /// Exitless calls were refused.
    by_ring: AtomicBool,
    broken: AtomicBool,
}

struct Front {
    batch: Batch,
    /// Function of its last request.
    function: u16,
    age: Age,
    /// Number of the lane of the last call that took a batch to one of its own.
    ahead: Option<usize>,
}

/// The answer to a delegated call.
struct Answer {
    /// Length of the reply.
    len: u32,
    hopped: bool,
}

/// The call that took a batch to a lane of its own, until it comes back.
struct Ahead<'a>(&'a AtomicBool);

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Front {
    /// Whether the watch is to be woken.
    #[must_use]
    fn add(&mut self, len: u32, request: &[IoSlice<'_>], function: u16) -> bool {
        let begins = self.batch.is_empty();
        self.batch.push(Kind::Posted, len, request);
        self.function = function;
        begins && self.age.begin()
    }

    /// It was delivered, with a call or without, if it had `begun`.
    fn clear(&mut self, begun: bool) {
        self.batch.clear();
        if begun {
            self.age.end();
        }
    }
}

impl<D: Delegate> Ages for VmfuncClient<D> {
    fn look(&self, seen: &mut Seen) -> Next {
        // Unless somebody is at it.
        let Some(mut front) = self.front.try_lock() else {
            return Next::Soon;
        };
        let begun = !front.batch.is_empty();
        match front.age.look(begun, seen) {
            // Another time.
            Finding::Old if self.is_ahead(front.ahead) => Next::Soon,
            Finding::Old => {
                let sent = self
                    .check(&[])
                    .and_then(|_| self.deliver_posted(&mut front));
                let sent = sent.and_then(|()| match self.goes_by_ring() {
                    true => self.ring.try_flush(),
                    false => Ok(()),
                });
                // What went wrong the next call hears.
                match self.noting_failure(sent) {
                    Ok(()) => Next::Soon,
                    Err(_) => Next::Woken,
                }
            }
            Finding::Young => Next::Soon,
            Finding::Busy => Next::Busy { begun },
            Finding::Idle => Next::Woken,
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
        Arc::new_cyclic(|me| VmfuncClient {
            me: me.clone(),
            watch: Watch::new(),
            front: parking_lot::Mutex::new(Front {
                batch: Batch::new(),
                function: 0,
                age: Age::new(),
                ahead: None,
            }),
            ring,
            free: FreeLanes::new(),
            delegate,
            refused,
            counts: areas.counts().clone(),
            areas,
            max_receive,
            max_send: max_send.min(max_receive),
            home: Home::new(),
            returned: [const { AtomicBool::new(true) }; LANES],
            carriers: AtomicU32::new(FIRST_CARRIERS),
            growing: Mutex::new(false),
            by_ring: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    /// As [`Client::post`].
    pub(crate) fn post(&self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        let len = self.check(request)?;
        let kept = self.keep(len, request);
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
            .deliver_posted(&mut self.front())
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
        let sent = match self.front.try_lock() {
            Some(mut front) if !self.is_ahead(front.ahead) => self.deliver_posted(&mut front),
            _ => Ok(()),
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

    fn keep(&self, len: u32, request: &[IoSlice<'_>]) -> Result<(), Error> {
        let lane = self.areas.shared();
        let mut front = self.front.lock();
        if self.goes_by_ring() || !front.batch.has_room(lane.size(), len) {
            drop(front);
            front = self.front();
            self.deliver_posted(&mut front)?;
            if self.goes_by_ring() {
                return self.post_by_ring(request);
            }
        }
        let function = function_of(request);
        self.counts.add(function, Count::Posted);
        if batch::record_size(len) <= lane.size() {
            if front.add(len, request, function) {
                self.watch.wake(&self.me);
            }
            return Ok(());
        }
        let answer = self.carry_out(lane, &mut front.batch, Kind::Posted, len, request)?;
        front.batch.clear();
        match answer {
            Some(answer) => self.answered_posted(function, answer),
            None => self.post_by_ring(request),
        }
    }

    /// A call in the shared lane, together with what was posted before it.
    fn call_shared(
        &self,
        len: u32,
        request: &[IoSlice<'_>],
        reply: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut locked = self.front();
        let front = &mut *locked;
        let lane = self.areas.shared();
        let function = function_of(request);
        if self.home.next(function) {
            self.deliver_posted(front)?;
            drop(locked);
            return self.call_by_ring(request, reply);
        }
        if !front.batch.has_room(lane.size(), len) {
            self.deliver_posted(front)?;
        }
        let begun = !front.batch.is_empty();
        if !self.goes_by_ring() {
            let answer = self.carry_out(lane, &mut front.batch, Kind::Call, len, request)?;
            if let Some(answer) = answer {
                front.clear(begun);
                self.delegated(function, &answer);
                return self.fetch(lane, answer.len, reply);
            }
        }
        self.batch_by_ring(front.batch.bytes())?;
        front.clear(begun);
        drop(locked);
        self.call_by_ring(request, reply)
    }

    /// A call in a lane of its own, together with what was posted before it.
    fn call_alone(
        &self,
        len: u32,
        request: &[IoSlice<'_>],
        reply: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let function = function_of(request);
        let mut locked = self.front();
        let front = &mut *locked;
        let own = match self.goes_by_ring() || self.home.next(function) {
            true => None,
            false => self.own_lane()?,
        };
        let Some((own, lane)) = own else {
            self.deliver_posted(front)?;
            drop(locked);
            return self.call_by_ring(request, reply);
        };
        if !front.batch.has_room(lane.size(), len) {
            self.deliver_posted(front)?;
        }
        let answer = if front.batch.has_room(lane.size(), len) {
            let begun = !front.batch.is_empty();
            let ahead = begun.then(|| self.begin_ahead(front, lane));
            front.batch.push(Kind::Call, len, request);
            let bytes = front.batch.bytes();
            let size = bytes.len() as u64;
            self.areas.write_request(lane, bytes)?;
            front.clear(begun);
            drop(locked);
            let answer = self.deliver(lane, size)?;
            if answer.is_none() {
                self.area_by_ring(lane, size)?;
            }
            drop(ahead);
            answer
        } else {
            drop(locked);
            self.carry_out(lane, &mut Batch::new(), Kind::Call, len, request)?
        };
        match answer {
            Some(answer) => {
                self.delegated(function, &answer);
                self.fetch(lane, answer.len, reply)
            }
            None => {
                drop(own);
                self.call_by_ring(request, reply)
            }
        }
    }

    /// A call takes a batch to a lane of its own: whoever sends something after it waits until the
    /// server has carried out that.
    #[inline]
    fn begin_ahead(&self, front: &mut Front, lane: &Lane) -> Ahead<'_> {
        let returned = &self.returned[lane.number];
        self.areas.set_carried_out(lane, false);
        returned.store(false, Ordering::Relaxed);
        front.ahead = Some(lane.number);
        Ahead(returned)
    }

    /// Whether the server may have to carry out a batch that the call in this lane took with it.
    #[inline]
    fn is_ahead(&self, lane: Option<usize>) -> bool {
        lane.is_some_and(|lane| {
            !self.returned[lane].load(Ordering::Acquire)
                && !self.areas.carried_out(self.areas.own(lane))
        })
    }

    /// What the shared lane holds, when nothing is ahead of it. Without it meanwhile: who is ahead
    /// needs it for his next request, and would in turn be waited for then.
    #[inline(always)]
    fn front(&self) -> MutexGuard<'_, Front> {
        loop {
            let front = self.front.lock();
            let ahead = front.ahead;
            if !self.is_ahead(ahead) {
                return front;
            }
            drop(front);
            self.await_ahead(ahead);
        }
    }

    /// Waits until nothing is there that was ahead.
    #[cold]
    fn await_ahead(&self, ahead: Option<usize>) {
        let mut turns = 0u32;
        while self.is_ahead(ahead) {
            turns = turns.saturating_add(1);
            match turns {
                0..SPINS => std::hint::spin_loop(),
                SPINS..YIELDS => std::thread::yield_now(),
                _ => std::thread::sleep(PAUSE),
            }
        }
    }

    /// What a call tells of its function.
    #[inline]
    fn delegated(&self, function: u16, answer: &Answer) {
        self.home.delegated(function, answer.hopped);
        self.count_delegated(function, answer);
    }

    #[inline]
    fn count_delegated(&self, function: u16, answer: &Answer) {
        self.counts.add_shared(function, Count::Delegated);
        if answer.hopped {
            self.counts.add_shared(function, Count::Hopped);
        }
    }

    fn send(&self) -> Result<(), Error> {
        self.deliver_posted(&mut self.front())?;
        match self.goes_by_ring() {
            true => self.ring.flush(),
            false => Ok(()),
        }
    }

    /// Has the server carry out a batch and, behind it, another request. One that has no room
    /// behind an empty batch is sent in pieces first. `None`: that was refused, and nothing is
    /// carried out.
    fn carry_out(
        &self,
        lane: &Lane,
        batch: &mut Batch,
        kind: Kind,
        len: u32,
        request: &[IoSlice<'_>],
    ) -> Result<Option<Answer>, Error> {
        if batch.has_room(lane.size(), len) {
            batch.push(kind, len, request);
        } else if self.put(lane, len, request)? {
            batch.push_sent(kind, len);
        } else {
            return Ok(None);
        }
        self.deliver_batch(lane, batch)
    }

    /// Gives the server a request in pieces. False if exitless calls were refused; then nothing
    /// is carried out.
    fn put(&self, lane: &Lane, len: u32, request: &[IoSlice<'_>]) -> Result<bool, Error> {
        let (mut done, area) = (0, lane.size() as usize);
        for part in request {
            for piece in part.chunks(area) {
                self.areas.write_request(lane, piece)?;
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
    fn delegate(&self, work: u64, lane: &Lane, argument: u64) -> Result<Option<Answer>, Error> {
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

    /// Has the server carry out a batch; gives the length of the reply. `None`: it was refused,
    /// and nothing was carried out.
    fn deliver_batch(&self, lane: &Lane, batch: &Batch) -> Result<Option<Answer>, Error> {
        let bytes = batch.bytes();
        self.areas.write_request(lane, bytes)?;
        self.deliver(lane, bytes.len() as u64)
    }

    /// As [`deliver_batch`](Self::deliver_batch), of a batch of so many bytes that is there already.
    fn deliver(&self, lane: &Lane, bytes: u64) -> Result<Option<Answer>, Error> {
        let answer = self.delegate(operation::DELIVER, lane, bytes)?;
        let Some(answer) = answer else {
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

    /// Has the server carry out what was posted, when nothing is ahead of it.
    fn deliver_posted(&self, front: &mut Front) -> Result<(), Error> {
        if front.batch.is_empty() {
            return Ok(());
        }
        let answer = self.deliver_batch(self.areas.shared(), &front.batch)?;
        if answer.is_none() {
            self.batch_by_ring(front.batch.bytes())?;
        }
        front.clear(true);
        match answer {
            Some(answer) => self.answered_posted(front.function, answer),
            None => Ok(()),
        }
    }

    fn answered_posted(&self, function: u16, answer: Answer) -> Result<(), Error> {
        self.count_delegated(function, &answer);
        match answer.len {
            0 => Ok(()),
            _ => Err(Error::Protocol("a reply where no call waits")),
        }
    }

    /// Posts what was posted by ring, now that exitless calls were refused.
    fn batch_by_ring(&self, batch: &[u8]) -> Result<(), Error> {
        posted(batch).try_for_each(|request| self.post_by_ring(&[IoSlice::new(request)]))
    }

    /// As [`batch_by_ring`](Self::batch_by_ring), of a batch that is in a lane's area alone. The
    /// server may have changed it there: then it gets what it has made up itself.
    #[cold]
    fn area_by_ring(&self, lane: &Lane, size: u64) -> Result<(), Error> {
        let mut batch = Vec::new();
        self.areas.read_request(lane, size, &mut batch)?;
        self.batch_by_ring(&batch)
    }

    fn post_by_ring(&self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        self.counts.add_shared(function_of(request), Count::Home);
        self.ring.post(request)
    }

    fn call_by_ring(&self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        self.counts.add_shared(function_of(request), Count::Home);
        self.ring.call(request, reply)
    }

    /// A lane for a call that may take long, if there is one, and a carrier for it besides one
    /// for the shared lane: that must not wait.
    fn own_lane(&self) -> Result<Option<(Taken<'_>, &Lane)>, Error> {
        let Some(taken) = self.free.take() else {
            return Ok(None);
        };
        let lane = self.areas.own(taken.number());
        // With the shared lane's.
        let has_carrier = self.has_carriers(taken.busy() + 1)?;
        Ok(has_carrier.then_some((taken, lane)))
    }

    /// A call finds no carrier: the server has taken back some, which were not needed for long.
    fn busy(&self) {
        *lock(&self.growing) = false;
        self.carriers.store(FIRST_CARRIERS, Ordering::Relaxed);
        // With the shared lane's.
        let calls = self.free.busy() + 1;
        // The call that waits hears of it if the server has gone.
        let _ = self.has_carriers(calls);
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
    #[inline]
    fn fetch(&self, lane: &Lane, len: u32, reply: &mut Vec<u8>) -> Result<(), Error> {
        reply.clear();
        // Most have nothing to tell.
        match len {
            0 => Ok(()),
            len => self.fetch_bytes(lane, len.into(), reply),
        }
    }

    fn fetch_bytes(&self, lane: &Lane, len: u64, reply: &mut Vec<u8>) -> Result<(), Error> {
        let area = lane.size();
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
