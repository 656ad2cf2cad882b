// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The division of a channel's spare memory: lanes, each for one delegated call at a
//! time, with an area for requests and one for replies; behind them a word for each lane, which
//! says how far its call is. Behind all that is what is for data.
//!
//! Half of their memory is the first lane's, which all threads share; the other half is
//! divided among the lanes of calls that may take long.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use wormhole_transport::{Counts, DataArea, Error, Spare, SpareWord};

use crate::bytes_in;

/// Number of lanes. More of them would have smaller areas, and long messages more pieces.
pub(crate) const LANES: usize = 16;

/// Bytes of a lane's word.
const PROGRESS: u64 = 8;

/// Where a lane's areas are. Both sides can change both at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Its number, 0 for the shared one.
    pub(crate) number: usize,
    /// Of its area for requests, from the start of the memory. The other one is behind it.
    start: u64,
    /// Bytes of each, a multiple of 8.
    size: u64,
}

impl Lane {
    /// Bytes of either area.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

/// The memory with its lanes.
pub(crate) struct Areas {
    memory: Spare,
    lanes: [Lane; LANES],
    /// The lanes' words.
    words: [SpareWord; LANES],
}

impl Areas {
    /// # Errors
    /// If the memory is too small.
    pub(crate) fn new(memory: Spare) -> Result<Self, Error> {
        let half = memory.size().saturating_sub(LANES as u64 * PROGRESS) / 32 * 16;
        let side = half / (LANES as u64 - 1) / 16 * 16;
        let lanes = std::array::from_fn(|number| match number {
            0 => Lane {
                number,
                start: 0,
                size: half / 2,
            },
            number => Lane {
                number,
                start: half + (number as u64 - 1) * side,
                size: side / 2,
            },
        });
        let words = (0..LANES as u64).map(|number| memory.word(2 * half + number * PROGRESS));
        let words = words.collect::<Result<Vec<_>, _>>()?.try_into();
        Ok(Areas {
            memory,
            lanes,
            words: words.map_err(|_| Error::Misuse("a word for each lane"))?,
        })
    }

    /// The lane of this number, if there is one.
    #[inline]
    pub(crate) fn lane(&self, number: usize) -> Option<&Lane> {
        self.lanes.get(number)
    }

    /// The lane of this number of a call's own.
    #[inline]
    pub(crate) fn own(&self, number: usize) -> &Lane {
        &self.lanes[number]
    }

    /// The lane that all threads share.
    #[inline]
    pub(crate) fn shared(&self) -> &Lane {
        &self.lanes[0]
    }

    /// The guest driver's file, if there is one.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.memory.file()
    }

    /// What is behind them.
    pub(crate) fn data(&self) -> &DataArea {
        self.memory.data()
    }

    /// Where this side counts how requests went.
    pub(crate) fn counts(&self) -> &Counts {
        self.memory.counts()
    }

    /// Where they and the data are mapped.
    pub(crate) fn addresses(&self) -> std::ops::Range<usize> {
        self.memory.addresses()
    }

    /// Writes at the start of a lane's area of requests.
    #[inline]
    pub(crate) fn write_request(&self, lane: &Lane, bytes: &[u8]) -> Result<(), Error> {
        within(lane, bytes.len() as u64)?;
        self.memory
            .write(lane.start, &[IoSlice::new(bytes)])
            .map(|_| ())
    }

    /// Appends what is at the start of a lane's area of requests to `bytes`.
    #[inline]
    pub(crate) fn read_request(
        &self,
        lane: &Lane,
        len: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Error> {
        within(lane, len)?;
        self.memory.read(lane.start, len, bytes)
    }

    /// Whether the server has carried out what stands before the call that a lane's batch ends with.
    #[inline]
    pub(crate) fn carried_out(&self, lane: &Lane) -> bool {
        self.words[lane.number].load() != 0
    }

    #[inline]
    pub(crate) fn set_carried_out(&self, lane: &Lane, done: bool) {
        self.words[lane.number].store(done.into());
    }

    /// Writes at the start of a lane's area of replies.
    #[inline]
    pub(crate) fn write_reply(&self, lane: &Lane, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        within(lane, bytes_in(parts))?;
        let at = lane.start + lane.size;
        self.memory.write(at, parts).map(|_| ())
    }

    /// Appends what is at the start of a lane's area of replies to `bytes`.
    #[inline]
    pub(crate) fn read_reply(
        &self,
        lane: &Lane,
        len: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Error> {
        within(lane, len)?;
        self.memory.read(lane.start + lane.size, len, bytes)
    }
}

/// Fails unless a lane's areas have `len` bytes.
#[inline]
fn within(lane: &Lane, len: u64) -> Result<(), Error> {
    match len <= lane.size {
        true => Ok(()),
        false => Err(Error::Misuse("an access beyond its lane")),
    }
}
