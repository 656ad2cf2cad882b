// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a client gets instead of a program binary.
//!
//! A vendor's binary may be native code, so that a server that loaded one from
//! a client would run the client's code. A client gets a token, which means
//! something only to the server that made it.

/// Length of a token in bytes.
pub const LEN: usize = 48;

const MAGIC: [u8; 16] = *b"WORMHOLE-PROGRAM";

/// A token for the binary of this identity, which is lower-case hexadecimal.
pub fn encode(identity: [u8; 32]) -> [u8; LEN] {
    let mut token = [0; LEN];
    token[..16].copy_from_slice(&MAGIC);
    token[16..].copy_from_slice(&identity);
    token
}

/// The identity in a token, or `None` if the bytes are not a token.
pub fn decode(bytes: &[u8]) -> Option<[u8; 32]> {
    let token: &[u8; LEN] = bytes.try_into().ok()?;
    let (magic, identity) = token.split_at(16);
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if magic != MAGIC || !identity.iter().all(hex) {
        return None;
    }
    identity.try_into().ok()
}
