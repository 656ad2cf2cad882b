// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an ICD loader looks for (cl_khr_icd). Nothing else is exported: a name
//! that the loader has too would bind to the loader's.

use std::ffi::{c_char, c_void, CStr};

use wormhole_opencl_protocol::constants::CL_INVALID_VALUE;
use wormhole_opencl_protocol::types::{cl_int, cl_platform_id, cl_uint};

use crate::api;

/// `clIcdGetPlatformIDsKHR`: the platforms of the server; none if it cannot be reached.
///
/// # Safety
/// As the specification says.
#[no_mangle]
#[allow(non_snake_case)]
pub unsafe extern "C" fn clIcdGetPlatformIDsKHR(
    num_entries: cl_uint,
    platforms: *mut cl_platform_id,
    num_platforms: *mut cl_uint,
) -> cl_int {
    // SAFETY: the caller's promises are the same.
    unsafe { api::clGetPlatformIDs(num_entries, platforms, num_platforms) }
}

/// `clGetExtensionFunctionAddress`.
///
/// # Safety
/// As the specification says.
#[no_mangle]
#[allow(non_snake_case)]
pub unsafe extern "C" fn clGetExtensionFunctionAddress(func_name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promises are the same.
    unsafe { api::clGetExtensionFunctionAddress(func_name) }
}

/// # Safety
/// `func_name` is null or a null-terminated string.
pub(crate) unsafe fn extension_function(func_name: *const c_char) -> Result<*mut c_void, cl_int> {
    if func_name.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises it.
    match unsafe { CStr::from_ptr(func_name) }.to_bytes() {
        b"clIcdGetPlatformIDsKHR" => Ok(clIcdGetPlatformIDsKHR as *mut c_void),
        b"clGetPlatformInfo" => Ok(api::clGetPlatformInfo as *mut c_void),
        _ => Err(CL_INVALID_VALUE),
    }
}

/// # Safety
/// As for [`extension_function`].
pub(crate) unsafe fn extension_function_for_platform(
    _platform: cl_platform_id,
    func_name: *const c_char,
) -> Result<*mut c_void, cl_int> {
    // SAFETY: the caller promises it.
    unsafe { extension_function(func_name) }
}
