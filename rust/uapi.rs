// SPDX-License-Identifier: GPL-2.0

//! Wormhole's UAPI (`include/uapi/linux/wormhole*.h`) as bindgen reads it. `mod uapi;` in the
//! crate root of either module finds this file.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

include!(concat!(env!("WORMHOLE_GENERATED"), "/uapi_generated.rs"));
