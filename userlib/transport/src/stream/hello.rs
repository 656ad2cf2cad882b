// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first 16 bytes that each end sends, little-endian: magic "WORMHOLE",
//! protocol version (4), longest message accepted (4). Magic and version keep
//! their places in every future version.

use std::io::{self, IoSlice, Read};

use super::socket::Socket;
use crate::{Error, Limits};

const MAGIC: [u8; 8] = *b"WORMHOLE";
pub(super) const VERSION: u32 = 1;

/// Sends this end's hello.
pub(super) fn send(socket: &Socket, limits: &Limits) -> Result<(), Error> {
    let mut hello = [0; 16];
    hello[0..8].copy_from_slice(&MAGIC);
    hello[8..12].copy_from_slice(&VERSION.to_le_bytes());
    hello[12..16].copy_from_slice(&limits.max_message.to_le_bytes());
    socket.send_all(&mut [IoSlice::new(&hello)])
}

/// Receives the peer's hello; returns the longest message it accepts.
pub(super) fn receive(mut socket: &Socket) -> Result<u32, Error> {
    let mut hello = [0; 16];
    socket
        .read_exact(&mut hello)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::PeerGone,
            _ => error.into(),
        })?;
    let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, l0, l1, l2, l3] = hello;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
        return Err(Error::Protocol("not a Wormhole peer"));
    }
    let theirs = u32::from_le_bytes([v0, v1, v2, v3]);
    if theirs != VERSION {
        return Err(Error::Version {
            ours: VERSION,
            theirs,
        });
    }
    Ok(u32::from_le_bytes([l0, l1, l2, l3]))
}
