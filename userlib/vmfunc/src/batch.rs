// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests in the shared memory, one behind the other. Pure.
//!
//! A record is a header of 8 bytes (length of the request and what it is, `u32` each,
//! little-endian), the request, and what is missing to a multiple of 8 bytes. A call is
//! the last record of its batch. So is a request that was sent in pieces before, and of
//! which only the header is here.

use std::io::IoSlice;

use wormhole_transport::Kind;

/// Bytes of a record's header.
pub(crate) const HEADER: u64 = 8;
/// Most records of a batch: more would keep the client's vCPU in the server for long.
pub(crate) const RECORDS: usize = 64;

const POSTED: u32 = 0;
const CALL: u32 = 1;
/// Added if the request was sent in pieces.
const PIECES: u32 = 2;

/// Where the bytes of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the header.
    Here,
    /// They were sent in pieces.
    Pieces,
}

/// Bytes of the record of a request of `len` bytes that is behind its header.
#[inline]
pub(crate) fn record_size(len: u32) -> u64 {
    HEADER + (u64::from(len) + 7) / 8 * 8
}

/// The header of a record.
#[inline]
pub(crate) fn header(len: u32, kind: Kind, place: Place) -> [u8; HEADER as usize] {
    let kind = match kind {
        Kind::Posted => POSTED,
        Kind::Call => CALL,
    };
    let kind = match place {
        Place::Here => kind,
        Place::Pieces => kind | PIECES,
    };
    (u64::from(len) | (u64::from(kind) << 32)).to_le_bytes()
}

/// Requests on this side that are to go together, as records.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Room for them. They are the first `len` bytes.
    room: Vec<u8>,
    len: usize,
    records: usize,
}

/// Bytes of room that are kept.
const KEPT: usize = 64 << 10;

impl Batch {
    pub(crate) const fn new() -> Self {
        Batch {
            room: Vec::new(),
            len: 0,
            records: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether a request of `len` bytes can go with them, in an area of `size` bytes.
    #[inline]
    pub(crate) fn has_room(&self, size: u64, len: u32) -> bool {
        self.records < RECORDS && self.len as u64 + record_size(len) <= size
    }

    /// Adds a request of `len` bytes.
    #[inline(always)]
    pub(crate) fn push(&mut self, kind: Kind, len: u32, request: &[IoSlice<'_>]) {
        let record = self.add(record_size(len) as usize);
        // What is missing at its end; the rest is written over.
        if let Some(last) = record.last_chunk_mut() {
            *last = [0; 8];
        }
        let (head, mut rest) = record.split_at_mut(HEADER as usize);
        head.copy_from_slice(&header(len, kind, Place::Here));
        for part in request {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        }
    }

    /// Adds a request of `len` bytes that was sent in pieces.
    pub(crate) fn push_sent(&mut self, kind: Kind, len: u32) {
        self.add(HEADER as usize)
            .copy_from_slice(&header(len, kind, Place::Pieces));
    }

    /// Adds a record of so many bytes, which are anything yet.
    #[inline]
    fn add(&mut self, size: usize) -> &mut [u8] {
        let start = self.len;
        self.len += size;
        self.records += 1;
        if self.len > self.room.len() {
            self.grow();
        }
        &mut self.room[start..self.len]
    }

    #[cold]
    fn grow(&mut self) {
        let room = self.len.next_power_of_two().max(4096);
        self.room.resize(room, 0);
    }

    /// The records.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.room.len() > KEPT {
            self.room = Vec::new();
        }
        self.len = 0;
        self.records = 0;
    }
}

/// The requests among the records that are not answered.
pub(crate) fn posted(records: &[u8]) -> impl Iterator<Item = &[u8]> {
    let len = records.len() as u64;
    let mut walk = Walk::new(len, len).ok();
    let all = std::iter::from_fn(move || walk.as_mut()?.next(records).ok()?);
    let posted = all.filter(|record| record.kind == Kind::Posted);
    posted.map(|record| record.of(records))
}

/// A record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    /// Of the request, from the start of the batch.
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Record {
    /// Whether it is the first one of its batch.
    pub(crate) fn is_first(&self) -> bool {
        self.offset == HEADER
    }

    /// Bytes of the request that are in the batch, behind its header.
    #[inline]
    pub(crate) fn of<'a>(&self, batch: &'a [u8]) -> &'a [u8] {
        let len = match self.place {
            Place::Here => self.len as usize,
            Place::Pieces => 0,
        };
        let rest = batch.get(self.offset as usize..).unwrap_or_default();
        rest.get(..len).unwrap_or_default()
    }
}

/// Goes through a batch of which nothing is believed but its length.
#[derive(Debug)]
pub(crate) struct Walk {
    at: u64,
    end: u64,
    records: usize,
}

impl Walk {
    /// A batch of `len` bytes in an area of `size`.
    pub(crate) fn new(len: u64, size: u64) -> Result<Self, &'static str> {
        match len <= size && len % 8 == 0 {
            true => Ok(Walk {
                at: 0,
                end: len,
                records: 0,
            }),
            false => Err("a batch of impossible length"),
        }
    }

    /// The next record, if there is another one. `batch` is a copy.
    #[inline]
    pub(crate) fn next(&mut self, batch: &[u8]) -> Result<Option<Record>, &'static str> {
        if self.at == self.end {
            return Ok(None);
        }
        if self.records == RECORDS {
            return Err("a batch of too many records");
        }
        let rest = batch.get(self.at as usize..).unwrap_or_default();
        let header = rest.first_chunk().ok_or("a record beyond its batch")?;
        let word = u64::from_le_bytes(*header);
        let (len, kind) = (word as u32, (word >> 32) as u32);
        let place = match kind & PIECES {
            0 => Place::Here,
            _ => Place::Pieces,
        };
        let kind = match kind & !PIECES {
            POSTED => Kind::Posted,
            CALL => Kind::Call,
            _ => return Err("a record of an unknown kind"),
        };
        let offset = self.at + HEADER;
        let next = match place {
            Place::Here => self.at + record_size(len),
            Place::Pieces => offset,
        };
        if next > self.end {
            return Err("a record beyond its batch");
        }
        if next < self.end && (kind == Kind::Call || place == Place::Pieces) {
            return Err("a record behind the last one");
        }
        self.at = next;
        self.records += 1;
        Ok(Some(Record {
            kind,
            place,
            offset,
            len,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn walk(batch: &[u8], size: u64) -> Result<Vec<Record>, &'static str> {
        let mut walk = Walk::new(batch.len() as u64, size)?;
        let mut records = Vec::new();
        while let Some(record) = walk.next(batch)? {
            records.push(record);
        }
        Ok(records)
    }

    fn batch(requests: &[(usize, Kind)]) -> Vec<u8> {
        let mut batch = Batch::new();
        for (len, kind) in requests {
            let request = vec![7; *len];
            batch.push(*kind, *len as u32, &[IoSlice::new(&request)]);
        }
        batch.bytes().to_vec()
    }

    /// Its memory is used again, and grows.
    #[test]
    fn one_that_was_cleared_is_as_a_new_one() {
        let mut again = Batch::new();
        for len in [9usize, 13, 200, 70_000, 0, 3, 4090] {
            let mut new = Batch::new();
            for _ in 0..3 {
                let request = vec![7; len];
                let parts = request.split_at(len / 2);
                for batch in [&mut again, &mut new] {
                    let parts = [IoSlice::new(parts.0), IoSlice::new(parts.1)];
                    batch.push(Kind::Posted, len as u32, &parts);
                }
            }
            assert_eq!(again.bytes(), new.bytes());
            assert_eq!(posted(again.bytes()).count(), 3);
            assert!(posted(again.bytes()).all(|request| request == vec![7; len]));
            again.clear();
            assert!(again.is_empty() && again.bytes().is_empty());
        }
    }

    #[test]
    fn there_and_back() {
        let requests = [(0, Kind::Posted), (9, Kind::Posted), (8, Kind::Call)];
        let records = walk(&batch(&requests), 4096).unwrap();
        let found: Vec<_> = records.iter().map(|r| (r.len as usize, r.kind)).collect();
        assert_eq!(found, requests);
        assert_eq!(records[2].offset, 8 + 8 + 16 + 8);
        assert_eq!(walk(&[], 4096), Ok(vec![]));
        for kind in [Kind::Posted, Kind::Call] {
            let records = walk(&header(u32::MAX, kind, Place::Pieces), 4096).unwrap();
            let offset = HEADER;
            let (len, place) = (u32::MAX, Place::Pieces);
            assert_eq!(
                records,
                [Record {
                    kind,
                    place,
                    offset,
                    len
                }]
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let posted = (8, Kind::Posted);
        let refused = |bytes: &[u8], size| walk(bytes, size).unwrap_err();
        assert!(refused(&batch(&[posted]), 8).contains("length"));
        assert!(refused(&[0; 7], 4096).contains("length"));
        assert!(refused(&batch(&[(8, Kind::Call), posted]), 4096).contains("behind"));
        let mut pieces = header(9, Kind::Posted, Place::Pieces).to_vec();
        pieces.extend(batch(&[posted]));
        assert!(refused(&pieces, 4096).contains("behind"));
        assert!(refused(&batch(&[posted; RECORDS + 1]), 1 << 20).contains("many"));
        assert!(walk(&batch(&[posted; RECORDS]), 1 << 20).is_ok());
        let mut long = batch(&[posted]);
        long[0] = 9;
        assert!(refused(&long, 4096).contains("beyond"));
        long[..8].copy_from_slice(&[255, 255, 255, 255, 0, 0, 0, 0]);
        assert!(refused(&long, 4096).contains("beyond"));
        long[4] = 4;
        assert!(refused(&long, 4096).contains("unknown"));
    }

    proptest! {
        #[test]
        fn records_of_any_batch_lie_within_it(
            bytes in vec(prop_oneof![Just(0u8), Just(1), Just(8), any::<u8>()], 0..400),
        ) {
            let length = bytes.len() as u64;
            for record in walk(&bytes, 4096).unwrap_or_default() {
                let here = record.of(&bytes).len() as u64;
                prop_assert!(record.offset + here <= length);
                prop_assert!(record.place == Place::Pieces || here == u64::from(record.len));
            }
        }
    }
}
