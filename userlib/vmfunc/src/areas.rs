// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The division of a channel's spare memory: lanes, each for one delegated call at a
//! time, with an area for requests and one for replies. Behind them is what is for data.
//!
//! Half of their memory is the first lane's, which all threads share; the other half is
//! divided among the lanes of calls that may take long.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use wormhole_transport::{DataArea, Error, Spare};

use crate::batch::HEADER;
use crate::bytes_in;

/// Number of lanes. More of them would have smaller areas, and long messages more pieces.
pub(crate) const LANES: usize = 16;

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
}

impl Areas {
    pub(crate) fn new(memory: Spare) -> Self {
        Areas { memory }
    }

    /// The lane of this number, if there is one.
    pub(crate) fn lane(&self, number: usize) -> Option<Lane> {
        let half = self.half();
        let side = half / (LANES as u64 - 1) / 16 * 16;
        match number {
            0 => Some(self.shared()),
            number if number < LANES => Some(Lane {
                number,
                start: half + (number as u64 - 1) * side,
                size: side / 2,
            }),
            _ => None,
        }
    }

    fn half(&self) -> u64 {
        self.memory.size() / 32 * 16
    }

    /// The lane that all threads share.
    pub(crate) fn shared(&self) -> Lane {
        Lane {
            number: 0,
            start: 0,
            size: self.half() / 2,
        }
    }

    /// The guest driver's file, if there is one.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.memory.file()
    }

    /// What is behind them.
    pub(crate) fn data(&self) -> &DataArea {
        self.memory.data()
    }

    /// Where they and the data are mapped.
    pub(crate) fn addresses(&self) -> std::ops::Range<usize> {
        self.memory.addresses()
    }

    /// Writes at `offset` of a lane's requests; gives the offset of what follows.
    pub(crate) fn write_request(
        &self,
        lane: Lane,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<u64, Error> {
        let at = within(lane, offset, bytes_in(parts))?;
        let end = self.memory.write(lane.start + at, parts)?;
        Ok(end - lane.start)
    }

    /// Appends what is at `offset` of a lane's requests to `bytes`.
    pub(crate) fn read_request(
        &self,
        lane: Lane,
        offset: u64,
        len: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let at = within(lane, offset, len)?;
        self.memory.read(lane.start + at, len, bytes)
    }

    /// The header of a record at `offset` of a lane's requests.
    pub(crate) fn read_header(
        &self,
        lane: Lane,
        offset: u64,
    ) -> Result<[u8; HEADER as usize], Error> {
        let mut header = [0; HEADER as usize];
        let at = within(lane, offset, HEADER)?;
        self.memory.read_exact(lane.start + at, &mut header)?;
        Ok(header)
    }

    /// Writes at the start of a lane's area of replies.
    pub(crate) fn write_reply(&self, lane: Lane, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        within(lane, 0, bytes_in(parts))?;
        let at = lane.start + lane.size;
        self.memory.write(at, parts).map(|_| ())
    }

    /// Appends what is at the start of a lane's area of replies to `bytes`.
    pub(crate) fn read_reply(
        &self,
        lane: Lane,
        len: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Error> {
        within(lane, 0, len)?;
        self.memory.read(lane.start + lane.size, len, bytes)
    }
}

/// Gives `offset` if `len` bytes there are a lane's.
fn within(lane: Lane, offset: u64, len: u64) -> Result<u64, Error> {
    match offset.checked_add(len).is_some_and(|end| end <= lane.size) {
        true => Ok(offset),
        false => Err(Error::Misuse("an access beyond its lane")),
    }
}
