// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Wormhole's OpenCL client: an ICD whose platforms, devices and everything
//! made from them live in a server that [`wormhole_transport`] reaches.
//!
//! [`api`] is generated from `opencl/spec/opencl.spec.rs`: the functions with
//! their C signatures and the dispatch table. It leans on
//!
//! - [`registry`]: the objects the program holds, and whether a handle is one;
//! - [`connection`]: posting and calling, and landing the data of reads;
//! - [`area`]: the memory that the server has, too, for the contents of buffers;
//! - one module per subject for the functions that are written by hand.
//!
//! A program finds the library through `OCL_ICD_VENDORS` or
//! `/etc/OpenCL/vendors`. It exports `clGetExtensionFunctionAddress` and
//! `clIcdGetPlatformIDsKHR` alone.

mod area;
mod arguments;
mod callback;
mod connection;
mod context;
mod device;
mod entry;
mod event;
mod head;
mod icd;
mod image;
mod input;
mod kernel;
mod last;
mod log;
mod map;
mod memory;
mod object;
mod platform;
mod program;
mod query;
mod queue;
mod rect;
mod registry;
mod sampler;
mod stats;
mod threads;
mod transfer;
mod unload;
mod version;
mod volume;

pub use icd::{clGetExtensionFunctionAddress, clIcdGetPlatformIDsKHR};

/// Generated: the functions of OpenCL and the dispatch table.
// Lints of style are for people who write.
#[allow(
    non_snake_case,
    unused_unsafe,
    unused_variables,
    clippy::complexity,
    clippy::missing_safety_doc,
    clippy::style,
    clippy::undocumented_unsafe_blocks
)]
pub mod api {
    use std::ffi::{c_char, c_uchar, c_void};

    use wormhole_opencl_protocol::api::*;
    use wormhole_opencl_protocol::constants::*;
    use wormhole_opencl_protocol::frame::Request;
    use wormhole_opencl_protocol::handle::Handle;
    use wormhole_opencl_protocol::types::*;
    use wormhole_opencl_protocol::wire::Writer;

    use crate::registry::New;
    use crate::{connection, entry, input, query, registry};

    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}
