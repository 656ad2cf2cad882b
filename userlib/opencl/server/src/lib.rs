// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Serves one OpenCL client.
//!
//! A [`Session`] carries requests out with the functions of a vendor's OpenCL
//! library, and replies. [`api`] is generated
//! from `opencl/spec/opencl.spec.rs`.
//!
//! Nothing that a client sends is believed: handles are looked up by kind,
//! index and generation, lengths compared with their arrays, and a kernel
//! argument that is a memory object can only be set to one. What the vendor's
//! library does with arguments that are well-formed but wrong is its own
//! affair; it runs in a process of this client's own.
//!
//! The contents of buffers alone are used where the client can change them meanwhile
//! ([`memory`]): nothing depends on what they are.

mod account;
mod binaries;
mod buffer;
mod callback;
mod check;
mod context;
mod device;
mod image;
mod kernel;
mod library;
mod live;
mod memory;
mod objects;
mod pending;
mod platform;
mod printed;
mod program;
mod query;
mod queue;
pub mod references;
mod session;
mod transfer;
mod used;
mod volume;

pub use binaries::Binaries;
pub use library::{Library, LibraryError};
pub use live::Live;
pub use platform::platform_names;
pub use printed::capture as capture_printed;
pub use session::{Limits, ServeError, Session};

/// Generated: the vendor's functions and the dispatcher.
// Lints of style are for people who write.
#[allow(
    missing_docs,
    non_snake_case,
    unused_variables,
    clippy::complexity,
    clippy::missing_transmute_annotations,
    clippy::style,
    clippy::undocumented_unsafe_blocks
)]
pub mod api {
    use std::ffi::c_void;

    use wormhole_opencl_protocol::api::*;
    use wormhole_opencl_protocol::constants::*;
    use wormhole_opencl_protocol::types::*;
    use wormhole_opencl_protocol::wire::{Few, Malformed, Reader, Wire};

    use crate::check::{
        c_string, check, check_len, check_made, encode, native_size, refusal, Aligned, Refusal,
    };
    use crate::query;
    use crate::session::{Locked, State};
    use crate::used::Used;

    include!(concat!(env!("OUT_DIR"), "/server.rs"));
}
