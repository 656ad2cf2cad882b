// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Client end.

use std::io::{self, IoSlice};
use std::sync::Arc;

use wormhole_delegate::CallError;
use wormhole_transport::{Client, Error, Kind};

use crate::areas::Areas;
use crate::batch::{self, Record};
use crate::counts::Counts;
use crate::home::Home;
use crate::{function_of, length_of, operation, OVER};

/// Delegated calls of the server.
pub(crate) trait Delegate: Send {
    fn call(&mut self, operation: u64, argument: u64) -> Result<u64, CallError>;
    /// Calls that hopped home so far.
    fn hops(&self) -> u64;
}

impl Delegate for wormhole_delegate::Client {
    fn call(&mut self, operation: u64, argument: u64) -> Result<u64, CallError> {
        // SAFETY: what comes back is checked. The server cannot touch this process's memory.
        unsafe { wormhole_delegate::Client::call(self, operation, argument, 0, 0, 0, 0) }
    }

    fn hops(&self) -> u64 {
        wormhole_delegate::Client::hops(self)
    }
}

/// What becomes of the connection when exitless calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    GoByRing,
    Fail,
}

pub(crate) struct VmfuncClient<D> {
    ring: Box<dyn Client>,
    /// None once it was refused.
    delegate: Option<D>,
    refused: Refused,
    areas: Areas,
    /// Longest message that this side accepts, and longest that both do.
    max_receive: u32,
    max_send: u32,
    batch: Vec<Record>,
    /// Bytes of the batch.
    filled: u64,
    /// Something was posted by ring, and may not have been carried out.
    ring_first: bool,
    home: Home,
    counts: Arc<Counts>,
    broken: bool,
}

impl<D: Delegate> VmfuncClient<D> {
    /// Of a ring whose server has offered exitless calls, and accepts `max_send` bytes.
    pub(crate) fn new(
        ring: Box<dyn Client>,
        delegate: D,
        areas: Areas,
        refused: Refused,
        (max_receive, max_send): (u32, u32),
    ) -> Self {
        VmfuncClient {
            ring,
            delegate: Some(delegate),
            refused,
            areas,
            max_receive,
            max_send: max_send.min(max_receive),
            batch: Vec::with_capacity(batch::RECORDS),
            filled: 0,
            ring_first: false,
            home: Home::default(),
            counts: Arc::new(Counts::new()),
            broken: false,
        }
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    fn check(&self, request: &[IoSlice<'_>]) -> Result<u32, Error> {
        match self.broken {
            true => Err(Error::PeerGone),
            false => length_of(request, self.max_send),
        }
    }

    /// After an error the two sides do not agree any more.
    fn noting_failure<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.broken |= result.is_err();
        result
    }

    /// Whether a request of this length must go by ring.
    fn by_ring(&self, len: u32) -> bool {
        self.ring_first || self.delegate.is_none() || batch::record_size(len) > self.areas.size()
    }

    /// Whether the batch has room for one more request.
    fn has_room(&self, len: u32) -> bool {
        self.batch.len() < batch::RECORDS
            && self.filled + batch::record_size(len) <= self.areas.size()
    }

    fn append(&mut self, len: u32, kind: Kind, request: &[IoSlice<'_>]) -> Result<(), Error> {
        let header = batch::header(len, kind);
        let offset = self
            .areas
            .write_request(self.filled, &[IoSlice::new(&header)])?;
        self.areas.write_request(offset, request)?;
        self.batch.push(Record { kind, offset, len });
        self.filled += batch::record_size(len);
        Ok(())
    }

    fn forget_batch(&mut self) {
        self.batch.clear();
        self.filled = 0;
    }

    /// Function of the batch's last record. The server may have changed that, and then deceives
    /// nobody but the statistics.
    fn last_function(&self) -> u16 {
        let mut bytes = Vec::new();
        if let Some(last) = self.batch.last() {
            // Without it is function 0.
            let _ = self
                .areas
                .read_request(last.offset, last.len.min(2).into(), &mut bytes);
        }
        function_of(&[IoSlice::new(&bytes)])
    }

    /// Has the server carry out the batch; gives the length of the reply. `None`: it was refused,
    /// and nothing was carried out.
    fn deliver(&mut self, function: u16) -> Result<Option<u32>, Error> {
        let Some(delegate) = self.delegate.as_mut() else {
            return Ok(None);
        };
        let before = delegate.hops();
        let result = delegate.call(operation::DELIVER, self.filled);
        if let Err(CallError::Refused(errno)) = result {
            if self.refused == Refused::GoByRing {
                self.delegate = None;
                return Ok(None);
            }
            return Err(Error::Io(io::Error::from_raw_os_error(errno)));
        }
        let hopped = delegate.hops() != before;
        self.forget_batch();
        let len = length(result.map_err(lost)?)?;
        self.counts.delegated(function, hopped);
        self.home.delegated(function, hopped);
        match len <= self.max_receive {
            true => Ok(Some(len)),
            false => Err(Error::TooLarge {
                len: len.into(),
                max: self.max_receive.into(),
            }),
        }
    }

    /// Empties a batch that has no call.
    fn deliver_posted(&mut self) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let function = self.last_function();
        if self.home.next(function) {
            return self.batch_by_ring();
        }
        match self.deliver(function)? {
            Some(0) => Ok(()),
            Some(_) => Err(Error::Protocol("a reply where no call waits")),
            None => self.batch_by_ring(),
        }
    }

    /// Posts the batch by ring.
    fn batch_by_ring(&mut self) -> Result<(), Error> {
        let mut request = Vec::new();
        for record in std::mem::take(&mut self.batch) {
            request.clear();
            self.areas
                .read_request(record.offset, record.len.into(), &mut request)?;
            self.post_by_ring(&[IoSlice::new(&request)])?;
        }
        self.forget_batch();
        Ok(())
    }

    fn post_by_ring(&mut self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        self.ring_first = true;
        self.counts.home(function_of(request));
        self.ring.post(request)
    }

    fn call_by_ring(&mut self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        self.batch_by_ring()?;
        self.counts.home(function_of(request));
        self.ring.call(request, reply)?;
        // So all before it has been carried out.
        self.ring_first = false;
        Ok(())
    }

    fn exchange(
        &mut self,
        len: u32,
        request: &[IoSlice<'_>],
        reply: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let function = function_of(request);
        if self.by_ring(len) || self.home.next(function) {
            return self.call_by_ring(request, reply);
        }
        if !self.has_room(len) {
            self.deliver_posted()?;
        }
        if self.by_ring(len) {
            return self.call_by_ring(request, reply);
        }
        self.append(len, Kind::Call, request)?;
        match self.deliver(function)? {
            Some(len) => self.fetch(len, reply),
            None => {
                self.batch.pop();
                self.call_by_ring(request, reply)
            }
        }
    }

    /// Takes a reply, which begins in the area.
    fn fetch(&mut self, len: u32, reply: &mut Vec<u8>) -> Result<(), Error> {
        let (len, area) = (u64::from(len), self.areas.size());
        reply.clear();
        self.areas.read_reply(len.min(area), reply)?;
        let mut done = len.min(area);
        while done < len {
            let piece = area.min(len - done);
            let delegate = self.delegate.as_mut().ok_or(Error::PeerGone)?;
            let result = delegate.call(operation::FETCH, done);
            if u64::from(length(result.map_err(lost)?)?) != piece {
                return Err(Error::Protocol("a piece of another length than announced"));
            }
            self.areas.read_reply(piece, reply)?;
            done += piece;
        }
        Ok(())
    }

    fn keep(&mut self, len: u32, request: &[IoSlice<'_>]) -> Result<(), Error> {
        if !self.by_ring(len) && !self.has_room(len) {
            self.deliver_posted()?;
        }
        if self.by_ring(len) {
            self.batch_by_ring()?;
            return self.post_by_ring(request);
        }
        self.append(len, Kind::Posted, request)?;
        self.counts.posted(function_of(request));
        Ok(())
    }

    fn send(&mut self) -> Result<(), Error> {
        if !self.ring_first {
            self.deliver_posted()?;
        }
        match self.ring_first {
            true => self.ring.flush(),
            false => Ok(()),
        }
    }
}

/// A length that the server has returned.
fn length(result: u64) -> Result<u32, Error> {
    match result {
        OVER => Err(Error::PeerGone),
        other => u32::try_from(other).map_err(|_| Error::Protocol("an impossible length")),
    }
}

fn lost(error: CallError) -> Error {
    match error {
        CallError::Gone => Error::PeerGone,
        CallError::Refused(errno) | CallError::Failed(errno) => {
            Error::Io(io::Error::from_raw_os_error(errno))
        }
    }
}

impl<D: Delegate> Client for VmfuncClient<D> {
    fn post(&mut self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        let len = self.check(request)?;
        let kept = self.keep(len, request);
        self.noting_failure(kept)
    }

    fn call(&mut self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        let len = self.check(request)?;
        let answered = self.exchange(len, request, reply);
        self.noting_failure(answered)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.check(&[])?;
        let sent = self.send();
        self.noting_failure(sent)
    }

    fn transport(&self) -> &'static str {
        match self.delegate {
            Some(_) => "vmfunc",
            None => self.ring.transport(),
        }
    }
}
