// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The records of a message ring: 16 bytes, little-endian, on a multiple of 16.
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 4 | length of the whole message in bytes |
//! | 4 | 4 | length of this piece |
//! | 8 | 4 | sequence: counts requests from 0, wrapping; a reply repeats its call's |
//! | 12 | 1 | kind: 1 posted, 2 call, 3 reply |
//! | 13 | 1 | place of the piece: 1 behind this record, padded to 16; 2 bulk area |
//! | 14 | 2 | zero |

use crate::message::{Message, MessageKind};
use crate::Error;

pub(super) const RECORD_LEN: usize = 16;
/// [`RECORD_LEN`] as a count of ring bytes, and the alignment of records.
pub(super) const RECORD_SIZE: u64 = RECORD_LEN as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Inline = 1,
    Bulk = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// What all records of one message say alike.
    pub(super) message: Message,
    pub(super) piece: u32,
    pub(super) place: Place,
}

impl Record {
    pub(super) fn encode(self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        bytes[0..4].copy_from_slice(&self.message.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.piece.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.message.sequence.to_le_bytes());
        bytes[12] = self.message.kind as u8;
        bytes[13] = self.place as u8;
        bytes
    }

    pub(super) fn decode(bytes: [u8; RECORD_LEN]) -> Result<Self, Error> {
        let [l0, l1, l2, l3, p0, p1, p2, p3, s0, s1, s2, s3, kind, place, z0, z1] = bytes;
        let kind = match kind {
            1 => MessageKind::Posted,
            2 => MessageKind::Call,
            3 => MessageKind::Reply,
            _ => return Err(Error::Protocol("a record of unknown kind")),
        };
        let place = match place {
            1 => Place::Inline,
            2 => Place::Bulk,
            _ => return Err(Error::Protocol("a record with its bytes at no known place")),
        };
        if [z0, z1] != [0, 0] {
            return Err(Error::Protocol("a record with reserved bits set"));
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let piece = u32::from_le_bytes([p0, p1, p2, p3]);
        if piece > len || (piece == 0 && len != 0) {
            return Err(Error::Protocol("a piece that does not fit its message"));
        }
        Ok(Record {
            message: Message {
                kind,
                sequence: u32::from_le_bytes([s0, s1, s2, s3]),
                len,
            },
            piece,
            place,
        })
    }
}

/// Bytes that `len` bytes take in a message ring.
pub(super) fn padded(len: u32) -> u64 {
    u64::from(len).next_multiple_of(RECORD_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_decodes_encodes_to_the_same(
            bytes: [u8; RECORD_LEN],
            kind in 0u8..5,
            place in 0u8..4,
            zero: bool,
        ) {
            let mut bytes = bytes;
            bytes[12] = kind;
            bytes[13] = place;
            if zero {
                bytes[14..16].fill(0);
            }
            if let Ok(record) = Record::decode(bytes) {
                prop_assert!(record.piece <= record.message.len);
                prop_assert_eq!(record.encode(), bytes);
            }
        }

        #[test]
        fn records_survive(len: u32, cut: u32, sequence: u32) {
            let piece = if len == 0 { 0 } else { cut % len + 1 };
            for kind in [MessageKind::Posted, MessageKind::Call, MessageKind::Reply] {
                for place in [Place::Inline, Place::Bulk] {
                    let record = Record { message: Message { kind, sequence, len }, piece, place };
                    prop_assert_eq!(Record::decode(record.encode()).unwrap(), record);
                }
            }
        }
    }
}
