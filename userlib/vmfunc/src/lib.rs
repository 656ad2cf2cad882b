// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The transport `vmfunc`: requests that the client's own vCPU carries out in the
//! server's memory.
//!
//! A connection begins as a `ring`. The client's first message may ask for exitless
//! calls ([`greeting`]); if both sides can, requests then go by way of the channel's
//! spare memory, half of which is for requests, half for replies ([`areas`]):
//!
//! - a posted request is added to a batch there ([`batch`]);
//! - a call is added, too, and then *one* delegated call has the server carry out the
//!   whole batch ([`desk`]), and brings the length of the reply;
//! - a reply that is longer than its area is fetched in pieces, by further calls.
//!
//! The ring stays, and is used for what is longer than the area of requests, for
//! functions that always hop home ([`home`]), and for everything once exitless calls
//! are refused. Requests are carried out in the order in which they were given: after
//! something was posted by ring everything goes by ring until a call has been answered.
//!
//! Neither side trusts the other: what is in shared memory is copied before it is
//! looked at, and compared with what is possible.

mod areas;
mod batch;
mod client;
mod connect;
mod counts;
mod desk;
mod greeting;
mod home;
mod serve;
#[cfg(test)]
mod tests;

pub use connect::{connect, Connected};
pub use counts::{Counts, FunctionCounts};
pub use serve::{serve, Handler, Reply, ServeError};

/// Most exitless calls that a client can have under way at once.
pub const MAX_CARRIERS: u32 = wormhole_uapi::WORMHOLE_MAX_CARRIERS;

/// What a delegated call is for: its first argument. The second is a length or an offset.
mod operation {
    /// Carry out the batch of so many bytes; gives the length of the reply.
    pub(crate) const DELIVER: u64 = 1;
    /// Put what follows this offset of the last reply into the area; gives how much.
    pub(crate) const FETCH: u64 = 2;
}

/// Result of a delegated call when the session is over. Lengths are smaller.
const OVER: u64 = 1 << 32;

/// The function that a request is for, by its first two bytes.
fn function_of(parts: &[std::io::IoSlice<'_>]) -> u16 {
    let mut bytes = parts.iter().flat_map(|part| part.iter().copied());
    u16::from_le_bytes([bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)])
}

/// Length of a message given in parts, if `max` allows it.
fn length_of(parts: &[std::io::IoSlice<'_>], max: u32) -> Result<u32, wormhole_transport::Error> {
    let lengths = parts.iter().map(|part| part.len() as u64);
    let len = lengths.fold(0, u64::saturating_add);
    match u32::try_from(len) {
        Ok(fits) if fits <= max => Ok(fits),
        _ => Err(wormhole_transport::Error::TooLarge {
            len,
            max: max.into(),
        }),
    }
}
