// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What Wormhole's OpenCL client and server share.
//!
//! [`api`] is generated from `opencl/spec/opencl.spec.rs`; the rest is the
//! ground it stands on: the C types of OpenCL, the wire codec, the frame
//! around a message.

pub mod argument;
pub mod constants;
pub mod data;
pub mod frame;
pub mod handle;
pub mod image;
pub mod ndrange;
pub mod pitched;
pub mod token;
pub mod types;
pub mod wire;

/// Generated: function types, dispatch table, kinds of handles, messages.
// Lints of style are for people who write.
#[allow(
    non_camel_case_types,
    non_snake_case,
    clippy::complexity,
    clippy::style
)]
pub mod api {
    use std::ffi::{c_char, c_uchar, c_void};

    use crate::argument::{ArgKind, KernelArg};
    use crate::constants::*;
    use crate::data::Data;
    use crate::frame::Request;
    use crate::handle::Handle;
    use crate::ndrange::NdRange;
    use crate::types::*;
    use crate::wire::{Few, Malformed, Reader, Wire, Writer};

    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}
