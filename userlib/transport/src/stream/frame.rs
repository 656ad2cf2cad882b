// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The header that precedes every message on a stream.
//!
//! 16 bytes, little-endian:
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 4 | magic, "WHFR" |
//! | 4 | 1 | kind: 1 posted, 2 call, 3 reply |
//! | 5 | 3 | zero |
//! | 8 | 4 | sequence: counts the requests of a connection from 0, wrapping; a reply repeats its call's |
//! | 12 | 4 | length of the message in bytes, which follows |

use std::io::{self, Read};

use crate::limits::check_len;
use crate::message::{Message, MessageKind};
use crate::Error;

pub(super) const HEADER_LEN: usize = 16;
const MAGIC: [u8; 4] = *b"WHFR";

/// The header of a message.
pub(super) fn encode(message: Message) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4] = message.kind as u8;
    bytes[8..12].copy_from_slice(&message.sequence.to_le_bytes());
    bytes[12..16].copy_from_slice(&message.len.to_le_bytes());
    bytes
}

fn decode(bytes: [u8; HEADER_LEN]) -> Result<Message, Error> {
    let [m0, m1, m2, m3, kind, r0, r1, r2, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(Error::Protocol("a frame without the frame magic"));
    }
    let kind = match kind {
        1 => MessageKind::Posted,
        2 => MessageKind::Call,
        3 => MessageKind::Reply,
        _ => return Err(Error::Protocol("a frame of unknown kind")),
    };
    if [r0, r1, r2] != [0; 3] {
        return Err(Error::Protocol("a frame with reserved bits set"));
    }
    Ok(Message {
        kind,
        sequence: u32::from_le_bytes([s0, s1, s2, s3]),
        len: u32::from_le_bytes([l0, l1, l2, l3]),
    })
}

/// Reads a header; `None` if the stream ends where a frame would begin.
pub(super) fn read_header(stream: &mut impl Read, max: u32) -> Result<Option<Message>, Error> {
    let mut bytes = [0; HEADER_LEN];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Error::PeerGone),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let message = decode(bytes)?;
    check_len(message.len, max)?;
    Ok(Some(message))
}

/// Reads the message that a header announced. Memory grows with the bytes that
/// arrive, not with the length that was announced.
pub(super) fn read_message(
    stream: &mut impl Read,
    message: Message,
    bytes: &mut Vec<u8>,
) -> Result<(), Error> {
    bytes.clear();
    let got = stream
        .take(message.len.into())
        .read_to_end(bytes)
        .map_err(Error::from)?;
    if got as u64 == u64::from(message.len) {
        Ok(())
    } else {
        Err(Error::PeerGone)
    }
}
