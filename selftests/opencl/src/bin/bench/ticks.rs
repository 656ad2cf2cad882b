// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time-stamp counter.

use std::arch::x86_64::{_mm_lfence, _rdtsc};

/// The counter now, after all that comes before.
pub fn now() -> u64 {
    // SAFETY: LFENCE and RDTSC are there on every x86-64 CPU, and Linux lets processes use RDTSC.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}
