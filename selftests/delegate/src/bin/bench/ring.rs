// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A call by messages: six words there, the result back. As little around the transport as can be.

use std::io::IoSlice;

use wormhole_transport::{Client, Config, Endpoint, Kind, Limits, Server};

use crate::{entry, Result};

/// Ends that sleep at once when there is nothing to do.
pub fn asleep(endpoint: Endpoint) -> Config {
    Config {
        limits: Limits {
            spins: 0,
            ..Limits::default()
        },
        ..Config::new(endpoint)
    }
}

pub fn request(words: [u64; 6]) -> [u8; 48] {
    let mut bytes = [0; 48];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Does what a request asks for.
pub fn answer(request: &[u8]) -> Result<[u8; 8]> {
    let mut words = [0; 6];
    if request.len() != 8 * words.len() {
        return Err("a request of another length".into());
    }
    for (word, bytes) in words.iter_mut().zip(request.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into()?);
    }
    let [a, b, c, d, e, f] = words;
    Ok(entry(a, b, c, d, e, f).to_le_bytes())
}

pub fn result(reply: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(reply.try_into()?))
}

/// `reply` is kept from call to call for its memory.
pub fn call(client: &mut dyn Client, words: [u64; 6], reply: &mut Vec<u8>) -> Result<u64> {
    client.call(&[IoSlice::new(&request(words))], reply)?;
    result(reply)
}

/// Until the client leaves.
pub fn serve(server: &mut dyn Server) -> Result<()> {
    let mut request = Vec::new();
    while let Some(kind) = server.receive(&mut request)? {
        if kind != Kind::Call {
            return Err("a request that is no call".into());
        }
        server.reply(&[IoSlice::new(&answer(&request)?)])?;
    }
    Ok(())
}
