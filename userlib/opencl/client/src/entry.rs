// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The border between C and Rust: counts the call, keeps panics from crossing,
//! and turns a `Result` into what C expects.

use std::panic::{catch_unwind, AssertUnwindSafe};

use wormhole_opencl_protocol::api::FUNCTION_NAMES;
use wormhole_opencl_protocol::constants::{CL_OUT_OF_HOST_MEMORY, CL_SUCCESS};
use wormhole_opencl_protocol::types::cl_int;

use crate::log::{self, Level};
use crate::stats;

fn run<T>(slot: u16, work: impl FnOnce() -> Result<T, cl_int>) -> Result<T, cl_int> {
    stats::count_call(slot);
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(status)) => Err(failed(slot, Some(status))),
        Err(_) => Err(failed(slot, None)),
    }
}

/// A function fails with this status, or by a panic.
#[cold]
fn failed(slot: u16, status: Option<cl_int>) -> cl_int {
    let name = FUNCTION_NAMES.get(usize::from(slot)).unwrap_or(&"?");
    match status {
        Some(status) => {
            log::line(Level::Debug, format_args!("{name}: status {status}"));
            status
        }
        None => {
            log::line(Level::Error, format_args!("{name}: internal error (panic)"));
            // The only status that every function may return for reasons of ours.
            CL_OUT_OF_HOST_MEMORY
        }
    }
}

/// A function that returns a status.
pub(crate) fn status(slot: u16, work: impl FnOnce() -> Result<(), cl_int>) -> cl_int {
    match run(slot, work) {
        Ok(()) => CL_SUCCESS,
        Err(status) => status,
    }
}

/// A function that returns a status, and has nothing to do.
#[inline]
pub(crate) fn idle(slot: u16) -> cl_int {
    stats::count_call(slot);
    CL_SUCCESS
}

/// A function that returns a pointer, and the status through another.
///
/// # Safety
/// `errcode_ret` is null or valid for writing.
pub(crate) unsafe fn pointer<T>(
    slot: u16,
    errcode_ret: *mut cl_int,
    work: impl FnOnce() -> Result<*mut T, cl_int>,
) -> *mut T {
    let (pointer, status) = match run(slot, work) {
        Ok(pointer) => (pointer, CL_SUCCESS),
        Err(status) => (std::ptr::null_mut(), status),
    };
    if !errcode_ret.is_null() {
        // SAFETY: the caller promises it.
        unsafe { errcode_ret.write(status) };
    }
    pointer
}

/// A function that returns nothing and does nothing.
pub(crate) fn nothing(slot: u16) {
    stats::count_call(slot);
}
