// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The transport `vmfunc`: requests that the client's own vCPU carries out in the
//! server's memory.
//!
//! A connection begins as a `ring`. The client's first message may ask for exitless
//! calls ([`greeting`]); if both sides can, requests then go by way of the channel's
//! spare memory, which is divided into lanes ([`areas`]). In the lane that all the
//! client's threads share
//!
//! - a posted request is added to a batch ([`batch`]), which is delivered when it is full or
//!   old ([`age`]);
//! - a call is added, too, and then *one* delegated call has the server carry out the
//!   whole batch ([`desk`]), and brings the length of the reply.
//!
//! A call that may take long has a lane of its own, to which it takes the batch with it, so
//! that no other thread waits for more than the batch; a word in the memory tells when the server
//! is done with that. If there is no lane or no carrier left for the call, it
//! goes by ring, where many calls can be under way, too. What is longer than its area goes, or is fetched,
//! in pieces, by further delegated calls.
//!
//! The ring stays, for calls of functions that always hop home ([`home`]), and for
//! everything once exitless calls are refused. The server carries out what comes by
//! message in several threads ([`workers`]) where it may take long. A thread's requests are carried out in
//! the order in which it gave them, and after those that other threads had given
//! before.
//!
//! Neither side trusts the other: what is in shared memory is copied before it is
//! looked at, and compared with what is possible.

mod age;
mod areas;
mod batch;
mod client;
mod connect;
mod desk;
mod free;
#[cfg(fuzzing)]
pub mod fuzzing;
mod greeting;
mod home;
mod serve;
#[cfg(test)]
mod tests;
mod workers;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use connect::{connect, Connected, Connection};
pub use serve::{serve, Handler, Reply, ServeError};
pub use wormhole_transport::Counts;
pub use wormhole_window::{Count, FunctionCounts};

/// Most exitless calls that a client can have under way at once.
pub const MAX_CARRIERS: u32 = areas::LANES as u32;

const _: () = assert!(MAX_CARRIERS <= wormhole_uapi::WORMHOLE_MAX_CARRIERS);

/// Exitless calls that can be under way at once before the client asks for more.
const FIRST_CARRIERS: u32 = 2;

/// What a delegated call is for, and the number of its lane: its first argument. The
/// second is a length or an offset.
mod operation {
    use crate::areas::Lane;

    const BITS: u32 = 8;

    /// The first argument.
    pub(crate) fn join(operation: u64, lane: &Lane) -> u64 {
        operation | ((lane.number as u64) << BITS)
    }

    /// What it is made of.
    pub(crate) fn split(word: u64) -> (u64, usize) {
        let number = usize::try_from(word >> BITS).unwrap_or(usize::MAX);
        (word & ((1 << BITS) - 1), number)
    }

    /// Carry out the batch of so many bytes; gives the length of the reply.
    pub(crate) const DELIVER: u64 = 1;
    /// Put what follows this offset of the last reply into the area; gives how much.
    pub(crate) const FETCH: u64 = 2;
    /// Take so many bytes of the area as the next piece of a request; gives 0.
    pub(crate) const PUT: u64 = 3;
}

/// Result of a delegated call when the session is over. Lengths are smaller.
const OVER: u64 = 1 << 32;

/// The function that a request is for, by its first two bytes.
#[inline]
fn function_of(parts: &[std::io::IoSlice<'_>]) -> u16 {
    if let Some(head) = parts.first().and_then(|part| part.first_chunk()) {
        return u16::from_le_bytes(*head);
    }
    let mut bytes = parts.iter().flat_map(|part| part.iter().copied());
    u16::from_le_bytes([bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)])
}

/// Takes a lock. Nothing panics half-way through a change of what these guard. Locks that every
/// call takes are `parking_lot`'s, which ask for no panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of a message given in parts.
#[inline]
fn bytes_in(parts: &[std::io::IoSlice<'_>]) -> u64 {
    // Most messages have one.
    if let [part] = parts {
        return part.len() as u64;
    }
    let lengths = parts.iter().map(|part| part.len() as u64);
    lengths.fold(0, u64::saturating_add)
}

/// Length of a message given in parts, if `max` allows it.
#[inline]
fn length_of(parts: &[std::io::IoSlice<'_>], max: u32) -> Result<u32, wormhole_transport::Error> {
    let len = bytes_in(parts);
    match u32::try_from(len) {
        Ok(fits) if fits <= max => Ok(fits),
        _ => Err(wormhole_transport::Error::TooLarge {
            len,
            max: max.into(),
        }),
    }
}
