// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `libOpenCL.so.1` itself: every core function of OpenCL under its own name,
//! for programs that are to find Wormhole's devices and no others. Where there
//! is an ICD loader, use `libwormhole_opencl.so` with it instead.
#![allow(
    non_snake_case,
    clippy::missing_safety_doc,
    clippy::too_many_arguments,
    clippy::type_complexity
)]
// Generated code: each function hands its arguments on.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::ffi::{c_char, c_uchar, c_void};

use wormhole_opencl::api::DISPATCH;
// Exported too, under their own names.
pub use wormhole_opencl::{clGetExtensionFunctionAddress, clIcdGetPlatformIDsKHR};
use wormhole_opencl_protocol::types::*;

include!(concat!(env!("OUT_DIR"), "/exports.rs"));
