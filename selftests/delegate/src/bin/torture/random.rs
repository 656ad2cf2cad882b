// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers and moments that look random, and are the same in each run.

use std::time::Duration;

/// A linear congruential generator.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Random(1)
    }

    /// Less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) % end
    }

    /// Sleeps until some moment of the next 20 ms, which is several time slices.
    pub fn moment(&mut self) {
        std::thread::sleep(Duration::from_micros(self.below(20_000)));
    }
}
