// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A vendor's library that is played.
//!
//! What its functions do with their parameters is generated; [`by_hand`] has those of which the
//! description does not say enough. All are of one thread, whose [`Played`] they use.

mod by_hand;
mod played;

pub use played::Played;
use wormhole_opencl_server::api::Vendor;

/// Generated: a function for each of the vendor's.
// Lints of style are for people who write.
#[allow(
    dead_code,
    unused_variables,
    unused_unsafe,
    non_snake_case,
    clippy::missing_safety_doc,
    clippy::style,
    clippy::complexity,
    clippy::undocumented_unsafe_blocks
)]
mod generated {
    use std::ffi::{c_char, c_uchar, c_void};

    use wormhole_opencl_protocol::api::*;
    use wormhole_opencl_protocol::constants::*;
    use wormhole_opencl_protocol::types::*;
    use wormhole_opencl_server::api::Vendor;

    use super::Played;

    include!(concat!(env!("OUT_DIR"), "/played.rs"));
}

/// The library's functions.
pub fn table() -> Vendor {
    by_hand::replace(generated::table())
}
