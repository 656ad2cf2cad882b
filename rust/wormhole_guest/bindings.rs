// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of `bindings.h`.

#![allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub
)]

use kernel::bindings::{
    notifier_block,
    pt_regs, //
};

include!(concat!(
    env!("WORMHOLE_GENERATED"),
    "/wormhole_guest/bindings_generated.rs"
));
