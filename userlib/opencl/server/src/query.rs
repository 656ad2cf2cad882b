// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks the vendor for a value or list of a length that it knows.

use std::ffi::c_void;

use wormhole_opencl_protocol::constants::CL_OUT_OF_RESOURCES;
use wormhole_opencl_protocol::types::{cl_int, cl_uint};

use crate::check::{check, Refusal};

/// Longest answer that is fetched, in bytes. Sources are the longest.
const MAX: usize = 64 << 20;

/// The whole value of a query. `ask` gets room, pointer, and where the length goes.
pub(crate) fn info(
    mut ask: impl FnMut(usize, *mut c_void, *mut usize) -> cl_int,
) -> Result<Vec<u8>, Refusal> {
    let mut len = 0;
    check(ask(0, std::ptr::null_mut(), &mut len))?;
    if len > MAX {
        return Err(CL_OUT_OF_RESOURCES.into());
    }
    // Aligned as any value may need.
    let mut value = vec![0u128; len.div_ceil(size_of::<u128>())];
    if len > 0 {
        check(ask(len, value.as_mut_ptr().cast(), &mut len))?;
    }
    let mut bytes: Vec<u8> = value.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.truncate(len);
    Ok(bytes)
}

/// A whole list of numbers. `ask` gets room, pointer, and where the count goes.
fn list<T: Copy + Default, P>(
    mut ask: impl FnMut(cl_uint, *mut P, *mut cl_uint) -> cl_int,
) -> Result<Vec<T>, Refusal> {
    let mut count = 0;
    check(ask(0, std::ptr::null_mut(), &mut count))?;
    if count as usize > MAX / size_of::<T>() {
        return Err(CL_OUT_OF_RESOURCES.into());
    }
    let mut list = vec![T::default(); count as usize];
    if count > 0 {
        check(ask(count, list.as_mut_ptr().cast(), &mut count))?;
    }
    list.truncate(count as usize);
    Ok(list)
}

/// A list of objects.
pub(crate) fn objects<P>(
    ask: impl FnMut(cl_uint, *mut *mut P, *mut cl_uint) -> cl_int,
) -> Result<Vec<usize>, Refusal> {
    list(ask)
}

/// A list of structures, as bytes.
pub(crate) fn plain<T>(
    ask: impl FnMut(cl_uint, *mut T, *mut cl_uint) -> cl_int,
) -> Result<Vec<u8>, Refusal> {
    const { assert!(size_of::<T>() == size_of::<u64>()) };
    let list: Vec<u64> = list(ask)?;
    Ok(list
        .iter()
        .flat_map(|element| element.to_ne_bytes())
        .collect())
}
