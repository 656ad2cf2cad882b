// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The readers of every message, the server's and the client's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wormhole_opencl_fuzz::allocator::{fenced, Fence};
use wormhole_opencl_fuzz::readers;

#[global_allocator]
static FENCE: Fence = Fence;

fuzz_target!(|bytes: &[u8]| {
    // No more memory than so many times the bytes that came.
    fenced(64 * bytes.len() + 4096, || readers::read(bytes));
});
