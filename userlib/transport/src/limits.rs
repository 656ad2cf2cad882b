// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bounds that each end sets for itself.

use std::io::IoSlice;
use std::time::Duration;

use crate::Error;

const SHORTEST: Duration = Duration::from_micros(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What one end of a connection accepts and how long it waits. Times are taken
/// as at least a microsecond and at most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes that this end accepts or sends. The peer is
    /// told when the connection is made, and the smaller of both values holds.
    pub max_message: u32,
    /// How long connecting and the handshake may take.
    pub connect_timeout: Duration,
    /// Longest wait for the peer to go on: with a reply, with the rest of a
    /// message, or with taking what was sent. `None`: as long as it lives.
    /// The wait for the next request is bounded by
    /// [`Server::set_deadline`](crate::Server::set_deadline) alone.
    pub timeout: Option<Duration>,
    /// How often `ring` looks again before it sleeps. On a machine with one
    /// CPU the peer cannot move while this end spins.
    pub spins: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message: 256 << 20,
            connect_timeout: Duration::from_secs(10),
            timeout: None,
            spins: 64,
        }
    }
}

impl Limits {
    /// With times that can be added to a clock and given to a socket.
    pub(crate) fn bounded(&self) -> Self {
        Limits {
            connect_timeout: self.connect_timeout.clamp(SHORTEST, LONGEST),
            timeout: self.timeout.map(|time| time.clamp(SHORTEST, LONGEST)),
            ..*self
        }
    }
}

/// Length of a message given in parts, if `max` allows it.
pub(crate) fn message_len(parts: &[IoSlice<'_>], max: u32) -> Result<u32, Error> {
    let len = parts
        .iter()
        .fold(0u64, |sum, part| sum.saturating_add(part.len() as u64));
    match u32::try_from(len) {
        Ok(fits) if fits <= max => Ok(fits),
        _ => Err(Error::TooLarge {
            len,
            max: max.into(),
        }),
    }
}

/// Checks a length that the peer announced.
pub(crate) fn check_len(len: u32, max: u32) -> Result<u32, Error> {
    if len <= max {
        Ok(len)
    } else {
        Err(Error::TooLarge {
            len: len.into(),
            max: max.into(),
        })
    }
}
