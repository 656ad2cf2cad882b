// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads what C pointers point to.

use std::ffi::{c_char, CStr};

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_int, cl_properties, cl_uint};

use crate::registry;

/// An array that must be there.
///
/// # Errors
/// `mismatch` if the pointer is null or the length zero.
///
/// # Safety
/// `pointer` is null or valid for reading `len` elements while the result lives.
pub(crate) unsafe fn array<'a, T>(
    pointer: *const T,
    len: usize,
    mismatch: cl_int,
) -> Result<&'a [T], cl_int> {
    if pointer.is_null() || len == 0 {
        return Err(mismatch);
    }
    // SAFETY: the caller promises it, and it is not null.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// The three numbers of an origin or a region.
///
/// # Errors
/// `CL_INVALID_VALUE` if the pointer is null.
///
/// # Safety
/// `pointer` is null or valid for reading three numbers.
pub(crate) unsafe fn triple(pointer: *const usize) -> Result<[usize; 3], cl_int> {
    use wormhole_opencl_protocol::constants::CL_INVALID_VALUE as INVALID;
    // SAFETY: the caller promises it.
    match unsafe { array(pointer, 3, INVALID) }? {
        [x, y, z] => Ok([*x, *y, *z]),
        _ => Err(INVALID),
    }
}

/// An array that may be absent.
///
/// # Errors
/// `mismatch` if there is a pointer and the length is zero.
///
/// # Safety
/// As for [`array`].
pub(crate) unsafe fn optional_array<'a, T>(
    pointer: *const T,
    len: usize,
    mismatch: cl_int,
) -> Result<Option<&'a [T]>, cl_int> {
    match pointer.is_null() {
        true => Ok(None),
        // SAFETY: the caller promises it.
        false => unsafe { array(pointer, len, mismatch) }.map(Some),
    }
}

/// An array that is absent exactly when its length is zero.
///
/// # Errors
/// `mismatch` if pointer and length contradict each other.
///
/// # Safety
/// As for [`array`].
pub(crate) unsafe fn paired_array<'a, T>(
    pointer: *const T,
    len: usize,
    mismatch: cl_int,
) -> Result<Option<&'a [T]>, cl_int> {
    match pointer.is_null() && len == 0 {
        true => Ok(None),
        // SAFETY: the caller promises it.
        false => unsafe { array(pointer, len, mismatch) }.map(Some),
    }
}

/// The wait list of a command: pointer and length must agree.
///
/// # Errors
/// `CL_INVALID_EVENT_WAIT_LIST`.
///
/// # Safety
/// As for [`array`].
pub(crate) unsafe fn wait_list(
    len: u32,
    list: *const wormhole_opencl_protocol::types::cl_event,
) -> Result<Vec<Handle>, cl_int> {
    use wormhole_opencl_protocol::constants::CL_INVALID_EVENT_WAIT_LIST as INVALID;
    if len == 0 && list.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the caller promises it.
    let list = unsafe { array(list, len as usize, INVALID) }?;
    handles(Kind::Event, list, INVALID)
}

/// Names of the objects in an array of handles.
///
/// # Errors
/// `invalid` if one is not a live object of this kind.
pub(crate) fn handles<T>(
    kind: Kind,
    list: &[*mut T],
    invalid: cl_int,
) -> Result<Vec<Handle>, cl_int> {
    list.iter()
        .map(|object| registry::name(kind, *object as usize).map_err(|_| invalid))
        .collect()
}

/// A list of properties, terminator included; empty if there is none.
///
/// # Safety
/// `list` is null or valid for reading names, each with its value, up to a name that is 0, while
/// the result lives.
pub(crate) unsafe fn properties<'a>(list: *const cl_properties) -> &'a [cl_properties] {
    if list.is_null() {
        return &[];
    }
    let mut pairs = 0;
    // SAFETY: no terminator was met before.
    while unsafe { list.add(2 * pairs).read() } != 0 {
        pairs += 1;
    }
    // SAFETY: all of them were read, but for values, which the caller promises.
    unsafe { std::slice::from_raw_parts(list, 2 * pairs + 1) }
}

/// Names and values of a list of properties. A name that is longer than one becomes 0, which is
/// none.
pub(crate) fn pairs(
    list: &[cl_properties],
) -> impl Iterator<Item = (cl_uint, cl_properties)> + use<'_> {
    list.chunks_exact(2)
        .map(|pair| (cl_uint::try_from(pair[0]).unwrap_or(0), pair[1]))
}

/// Bytes that must be there.
///
/// # Errors
/// `mismatch` if the pointer is null.
///
/// # Safety
/// `pointer` is null or valid for reading `len` bytes while the result lives.
pub(crate) unsafe fn bytes<'a>(
    pointer: *const u8,
    len: usize,
    mismatch: cl_int,
) -> Result<&'a [u8], cl_int> {
    if pointer.is_null() {
        return Err(mismatch);
    }
    // SAFETY: the caller promises it, and it is not null.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// A string that must be there, without its terminator.
///
/// # Errors
/// `mismatch` if the pointer is null.
///
/// # Safety
/// `pointer` is null or a null-terminated string that lives as long as the result.
pub(crate) unsafe fn string<'a>(
    pointer: *const c_char,
    mismatch: cl_int,
) -> Result<&'a [u8], cl_int> {
    if pointer.is_null() {
        return Err(mismatch);
    }
    // SAFETY: the caller promises it, and it is not null.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// A string that may be absent, without its terminator.
///
/// # Safety
/// As for [`string`].
pub(crate) unsafe fn optional_string<'a>(pointer: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller promises it.
    unsafe { string(pointer, 0) }.ok()
}

/// An array of strings, each without its terminator; absent exactly when its length is zero.
///
/// # Errors
/// `mismatch` if pointer and length contradict each other, or a string's pointer is null.
///
/// # Safety
/// `pointer` is null or valid for reading `len` pointers, each null or a null-terminated
/// string that lives as long as the result.
pub(crate) unsafe fn strings<'a>(
    pointer: *const *const c_char,
    len: usize,
    mismatch: cl_int,
) -> Result<Vec<&'a [u8]>, cl_int> {
    // SAFETY: the caller promises it.
    let list = unsafe { paired_array(pointer, len, mismatch) }?.unwrap_or_default();
    list.iter()
        // SAFETY: the caller promises it.
        .map(|text| unsafe { string(*text, mismatch) })
        .collect()
}
