// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queries: giving a value to the program, and remembering those that never change.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, PoisonError};

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{CL_INVALID_VALUE, CL_OUT_OF_RESOURCES};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_int, cl_properties, cl_uint};

/// Function, object, parameter.
type Key = (u16, Handle, u32);

static CACHE: LazyLock<Mutex<HashMap<Key, Vec<u8>>>> = LazyLock::new(Mutex::default);

/// A value that was asked for before.
pub(crate) fn cached(slot: u16, object: Handle, name: u32) -> Option<Vec<u8>> {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.get(&(slot, object, name)).cloned()
}

/// Remembers a value.
pub(crate) fn store(slot: u16, object: Handle, name: u32, value: &[u8]) {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.insert((slot, object, name), value.to_vec());
}

/// Forgets the values of an object that is no more. Of devices alone, and platforms, values
/// are remembered.
pub(crate) fn forget(kind: Kind, object: Handle) {
    if kind == Kind::Device {
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|(_, of, _), _| *of != object);
    }
}

/// Gives a query's value to the program.
///
/// # Errors
/// `CL_INVALID_VALUE` if there is a pointer and too little room behind it.
///
/// # Safety
/// `pointer` is null or valid for writing `size` bytes, `filled` null or valid
/// for writing.
pub(crate) unsafe fn give(
    value: &[u8],
    size: usize,
    pointer: *mut c_void,
    filled: *mut usize,
) -> Result<(), cl_int> {
    if !pointer.is_null() {
        if size < value.len() {
            return Err(CL_INVALID_VALUE);
        }
        // SAFETY: the caller promises it.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), pointer.cast(), value.len()) };
    }
    if !filled.is_null() {
        // SAFETY: the caller promises it.
        unsafe { filled.write(value.len()) };
    }
    Ok(())
}

/// The whole value of a query of this library's own. `ask` gets room, pointer, and where the
/// length goes.
///
/// # Errors
/// Those of `ask`.
pub(crate) fn value(
    mut ask: impl FnMut(usize, *mut c_void, *mut usize) -> Result<(), cl_int>,
) -> Result<Vec<u8>, cl_int> {
    let mut len = 0;
    ask(0, std::ptr::null_mut(), &mut len)?;
    let mut value = vec![0; len];
    ask(len, value.as_mut_ptr().cast(), &mut len)?;
    value.truncate(len);
    Ok(value)
}

/// Properties that an object was made with, as a query's value: none if there was no list.
pub(crate) fn properties(list: &[cl_properties]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Checks the arguments of a function that returns a list.
///
/// # Errors
/// `CL_INVALID_VALUE` if nothing is asked for, or room of no elements given.
pub(crate) fn check_list(max: cl_uint, no_list: bool, no_count: bool) -> Result<(), cl_int> {
    match (max == 0 && !no_list) || (no_list && no_count) {
        true => Err(CL_INVALID_VALUE),
        false => Ok(()),
    }
}

/// Gives a list to the program: as many elements as it has room for.
///
/// # Errors
/// `CL_OUT_OF_RESOURCES` if a count cannot express the length.
///
/// # Safety
/// `pointer` is null or valid for writing `max` elements, `count` null or
/// valid for writing.
pub(crate) unsafe fn give_list<T: Copy>(
    list: &[T],
    max: cl_uint,
    pointer: *mut T,
    count: *mut cl_uint,
) -> Result<(), cl_int> {
    let len = cl_uint::try_from(list.len()).map_err(|_| CL_OUT_OF_RESOURCES)?;
    if !pointer.is_null() {
        let room = list.len().min(max as usize);
        // SAFETY: the caller promises it.
        unsafe { std::ptr::copy_nonoverlapping(list.as_ptr(), pointer, room) };
    }
    if !count.is_null() {
        // SAFETY: the caller promises it.
        unsafe { count.write(len) };
    }
    Ok(())
}

/// As [`give_list`], for structures of numbers that came as bytes.
///
/// # Errors
/// `CL_OUT_OF_RESOURCES` if the bytes are not a sequence of structures.
///
/// # Safety
/// As for [`give_list`], and every pattern of bytes is a valid `T`.
pub(crate) unsafe fn give_plain<T: Copy>(
    bytes: &[u8],
    max: cl_uint,
    pointer: *mut T,
    count: *mut cl_uint,
) -> Result<(), cl_int> {
    let chunks = bytes.chunks_exact(size_of::<T>());
    if !chunks.remainder().is_empty() {
        return Err(CL_OUT_OF_RESOURCES);
    }
    let list: Vec<T> = chunks
        // SAFETY: the chunk has the size of T, and any bytes are a T.
        .map(|chunk| unsafe { chunk.as_ptr().cast::<T>().read_unaligned() })
        .collect();
    // SAFETY: the caller promises it.
    unsafe { give_list(&list, max, pointer, count) }
}
