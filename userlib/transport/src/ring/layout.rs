// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things lie in a channel. Follows from its size alone.

use wormhole_uapi::{
    WORMHOLE_CHANNEL_DRIVER_SIZE, WORMHOLE_CHANNEL_MIN_SIZE, WORMHOLE_ROLE_CLIENT,
    WORMHOLE_ROLE_SERVER, WORMHOLE_WINDOW_MAX_SIZE,
};
use wormhole_window::{COUNTS_OFFSET, COUNTS_SIZE};

use crate::Error;

const PAGE: u64 = 4096;
/// Longest message ring of one direction. A ring is walked from end to end, so
/// a longer one takes more cache, and more page faults at first.
const RING_MAX: u64 = 64 << 10;
/// Longest message that stands in the ring itself.
const INLINE_MAX: u64 = 4096;
/// A piece in a bulk area starts on a cache line.
pub(super) const BULK_ALIGN: u64 = 64;

/// Offsets of a side's words from the start of its block.
pub(super) const HELLO: u64 = 0;
pub(super) const ECHO: u64 = 8;
pub(super) const VERSION: u64 = 16;
pub(super) const SIZE: u64 = 24;
pub(super) const PRODUCER: u64 = 64;
pub(super) const CONSUMER: u64 = 128;
pub(super) const BULK_CONSUMER: u64 = 136;
pub(super) const DATA_SLEEP: u64 = 192;
pub(super) const SPACE_SLEEP: u64 = 200;
const BLOCK_SIZE: u64 = 256;

const _: () = assert!(
    WORMHOLE_CHANNEL_DRIVER_SIZE as u64 + 2 * BLOCK_SIZE <= PAGE,
    "the control words fit into the first page"
);

/// Where the rings begin: behind the page of words and the counts.
const RINGS: u64 = PAGE + COUNTS_SIZE as u64;

const _: () = assert!(COUNTS_OFFSET == PAGE && RINGS % PAGE == 0);

/// A side of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

impl Role {
    pub(super) fn other(self) -> Self {
        match self {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        }
    }

    /// Offset of this side's words in the channel.
    pub(super) fn block(self) -> u64 {
        let index = match self {
            Role::Server => WORMHOLE_ROLE_SERVER,
            Role::Client => WORMHOLE_ROLE_CLIENT,
        };
        u64::from(WORMHOLE_CHANNEL_DRIVER_SIZE) + u64::from(index) * BLOCK_SIZE
    }
}

/// Where one direction's data lies; offsets in the channel, all in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub(super) ring: u64,
    pub(super) ring_capacity: u64,
    pub(super) bulk: u64,
    pub(super) bulk_capacity: u64,
}

impl Direction {
    /// Longest message that stands in the ring itself.
    pub(super) fn inline_max(&self) -> u64 {
        (self.ring_capacity / 8).min(INLINE_MAX)
    }

    /// Longest piece in the bulk area. A quarter, so that one piece can be
    /// filled while another is taken, also where one was skipped at the end.
    pub(super) fn piece_max(&self) -> u64 {
        self.bulk_capacity / 4 / BULK_ALIGN * BULK_ALIGN
    }
}

/// The division of a channel: a page of words, the counts, two message rings, two bulk areas,
/// and what is spare: half for data, and a quarter less the counts for the calls of other
/// transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    size: u64,
    calls: u64,
    data: u64,
    ring_capacity: u64,
    bulk_capacity: u64,
}

impl Layout {
    /// The layout of a channel of `size` bytes.
    pub(super) fn new(size: u64) -> Result<Self, Error> {
        if !(u64::from(WORMHOLE_CHANNEL_MIN_SIZE)..=WORMHOLE_WINDOW_MAX_SIZE).contains(&size) {
            return Err(Error::Protocol("a channel of impossible size"));
        }
        let ring_capacity = (size / 16).min(RING_MAX);
        let ring_capacity = 1 << ring_capacity.ilog2();
        let calls = size / 4 / PAGE * PAGE - COUNTS_SIZE as u64;
        let data = size / 2 / PAGE * PAGE;
        let bulk_capacity = (size - calls - data - RINGS - 2 * ring_capacity) / 2 / PAGE * PAGE;
        Ok(Layout {
            size,
            calls,
            data,
            ring_capacity,
            bulk_capacity,
        })
    }

    /// Size of the channel in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The part for data, at the channel's end: its offset and its length, multiples of
    /// the page size.
    pub(super) fn data(&self) -> (u64, u64) {
        (self.size / PAGE * PAGE - self.data, self.data)
    }

    /// The part for other transports' calls, which ends where that for data begins.
    pub(super) fn calls(&self) -> (u64, u64) {
        (self.data().0 - self.calls, self.calls)
    }

    /// Where what `sender` sends lies.
    pub(super) fn direction(&self, sender: Role) -> Direction {
        let index = match sender {
            Role::Client => 0,
            Role::Server => 1,
        };
        Direction {
            ring: RINGS + index * self.ring_capacity,
            ring_capacity: self.ring_capacity,
            bulk: RINGS + 2 * self.ring_capacity + index * self.bulk_capacity,
            bulk_capacity: self.bulk_capacity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_and_do_not_overlap() {
        for shift in 18..=36 {
            for size in [1u64 << shift, (1 << shift) + 12_288] {
                let Ok(layout) = Layout::new(size) else {
                    assert!(size > WORMHOLE_WINDOW_MAX_SIZE);
                    continue;
                };
                let request = layout.direction(Role::Client);
                let reply = layout.direction(Role::Server);
                let mut end = RINGS;
                for (start, len) in [
                    (request.ring, request.ring_capacity),
                    (reply.ring, reply.ring_capacity),
                    (request.bulk, request.bulk_capacity),
                    (reply.bulk, reply.bulk_capacity),
                ] {
                    assert_eq!(start, end);
                    assert!(len > 0 && len % BULK_ALIGN == 0);
                    end = start + len;
                }
                let (calls, len) = layout.calls();
                assert!(end <= calls && calls - end < 4 * PAGE, "{size} {end}");
                assert!(calls % PAGE == 0 && len + RINGS >= size / 4);
                let (data, data_len) = layout.data();
                assert_eq!(calls + len, data);
                assert!(data_len >= size / 2 - PAGE && data + data_len <= size);
                assert!(request.inline_max() + 16 <= request.ring_capacity / 4);
                assert!(request.piece_max() > request.inline_max());
            }
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for size in [0, 4096, (1 << 18) - 1, (1 << 36) + 1, u64::MAX] {
            assert!(Layout::new(size).is_err(), "{size}");
        }
    }

    #[test]
    fn blocks_of_the_sides_are_apart() {
        assert_eq!(Role::Server.block(), 512);
        assert_eq!(Role::Client.block(), 768);
        assert_eq!(Role::Server.other(), Role::Client);
    }
}
