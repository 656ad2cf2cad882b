// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A heap that seldom asks the kernel for memory: each time takes an exitless call home.

use libc::{c_int, mallopt, M_ARENA_MAX, M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD};

/// Most that the C library lets be taken from the heap at once.
const LARGEST: c_int = 32 << 20;
/// Asked for at once.
const PAD: c_int = 16 << 20;

/// For the rest of this process, before it has threads.
pub fn settle() {
    for (parameter, value) in [
        // One, which all carriers know, grows by brk() and stays where it is.
        (M_ARENA_MAX, 1),
        (M_MMAP_THRESHOLD, LARGEST),
        (M_TOP_PAD, PAD),
        (M_TRIM_THRESHOLD, c_int::MAX),
    ] {
        // SAFETY: it only sets the C library's parameters.
        if unsafe { mallopt(parameter, value) } == 0 {
            log::warn!("the C library refuses mallopt({parameter}, {value})");
        }
    }
}
