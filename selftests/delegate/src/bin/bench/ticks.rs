// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time-stamp counter.

use std::arch::x86_64::{_mm_lfence, _rdtsc};
use std::hint::black_box;

/// The counter now, after all that comes before.
pub fn now() -> u64 {
    // SAFETY: LFENCE and RDTSC are there on every x86-64 CPU, and Linux lets processes use RDTSC.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Ticks that this many turns of an empty loop take, and looking at the counter.
pub fn empty_loop(turns: u64) -> u64 {
    let start = now();
    for turn in 0..turns {
        black_box(turn);
    }
    now() - start
}

/// Does nothing for this long.
pub fn spin(ticks: u64) {
    let start = now();
    while now() - start < ticks {
        std::hint::spin_loop();
    }
}
