// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory of a channel for counts.

use std::sync::atomic::Ordering;

use wormhole_window::{Count, FunctionCounts, COUNTED_FUNCTIONS, COUNTS_OFFSET, COUNTS_SIZE};

use super::channel::Channel;
use super::shared::Region;

/// Where both ends count how requests went, by function, for the host to read. Either end can
/// change all of it at any time: nothing depends on what it says.
#[derive(Clone)]
pub struct Counts(Region);

impl Counts {
    pub(super) fn new(channel: &Channel) -> Self {
        let region = channel.memory.part(COUNTS_OFFSET, COUNTS_SIZE as u64);
        Counts(region)
    }

    /// Adds 1. Of the threads of this process only one may do so for a count at a time: that of
    /// another one's would be lost.
    #[inline]
    pub fn add(&self, function: u16, count: Count) {
        let word = self.0.atomic(count.offset(function) as u64);
        let value = u64::from_le(word.load(Ordering::Relaxed)).wrapping_add(1);
        word.store(value.to_le(), Ordering::Relaxed);
    }

    /// Adds 1, while other threads may do so, too.
    #[inline]
    pub fn add_shared(&self, function: u16, count: Count) {
        let word = self.0.atomic(count.offset(function) as u64);
        if cfg!(target_endian = "little") {
            word.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let add = |word: u64| Some(u64::from_le(word).wrapping_add(1).to_le());
        // It never says no.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Those of one function.
    pub fn of(&self, function: u16) -> FunctionCounts {
        FunctionCounts::read(|count| {
            let word = self.0.atomic(count.offset(function) as u64);
            u64::from_le(word.load(Ordering::Relaxed))
        })
    }

    /// All together.
    pub fn total(&self) -> FunctionCounts {
        (0..=COUNTED_FUNCTIONS as u16)
            .map(|function| self.of(function))
            .fold(FunctionCounts::default(), FunctionCounts::saturating_add)
    }
}
