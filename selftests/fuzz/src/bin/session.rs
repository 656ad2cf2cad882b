// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A session of the server that carries out whatever requests come, with a vendor that is played.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wormhole_opencl_fuzz::allocator::{fenced, Fence};
use wormhole_opencl_fuzz::server;

#[global_allocator]
static FENCE: Fence = Fence;

/// Bytes that a case may have at once.
const MOST: usize = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    fenced(MOST, || server::serve(bytes));
});
