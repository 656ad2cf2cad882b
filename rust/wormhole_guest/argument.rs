// SPDX-License-Identifier: GPL-2.0

//! Structures that ioctls take and give, which carry their own size (see
//! `include/uapi/linux/wormhole.h`).

use crate::uapi;
use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// Structures larger than this are refused whatever is in them, as by `openat2(2)`.
const SIZE_MAX: usize = kernel::page::PAGE_SIZE;

/// A structure of the guest UAPI, at a user's address.
pub(crate) trait Structure: FromBytes + AsBytes {}

macro_rules! structure {
    ($($name:ident),*) => {$(
        // SAFETY: Integers alone, any bytes are valid.
        unsafe impl FromBytes for uapi::$name {}
        // SAFETY: Integers alone, and without padding: the sum of its fields' sizes is its size,
        // asserted below.
        unsafe impl AsBytes for uapi::$name {}
        impl Structure for uapi::$name {}
    )*};
}
structure!(
    wormhole_guest_info,
    wormhole_guest_bind,
    wormhole_guest_wait,
    wormhole_guest_serve,
    wormhole_guest_register,
    wormhole_guest_carrier,
    wormhole_guest_return,
    wormhole_guest_await,
    wormhole_guest_retire
);
const _: () = assert!(size_of::<uapi::wormhole_guest_info>() == 4 * 4 + 8 + 2 * 4);
const _: () = assert!(size_of::<uapi::wormhole_guest_bind>() == 2 * 4 + 8 + 2 * 4);
const _: () = assert!(size_of::<uapi::wormhole_guest_wait>() == 2 * 4 + 8 + 2 * 4);
const _: () = assert!(size_of::<uapi::wormhole_guest_serve>() == 2 * 4 + 8);
const _: () = assert!(size_of::<uapi::wormhole_guest_register>() == 2 * 4 + 3 * 8);
const _: () = assert!(size_of::<uapi::wormhole_guest_carrier>() == 2 * 4 + 8);
const _: () = assert!(size_of::<uapi::wormhole_guest_return>() == 2 * 4 + 8);
const _: () = assert!(size_of::<uapi::wormhole_guest_await>() == 2 * 4 + 8 + 2 * 4);
const _: () = assert!(size_of::<uapi::wormhole_guest_retire>() == 2 * 4);

/// Copies a structure in. A caller that knows more than we do may, as long as it asks for none
/// of it.
pub(crate) fn copy_in<T: Structure>(address: usize) -> Result<T> {
    let user = UserPtr::from_addr(address);
    let size = UserSlice::new(user, size_of::<u32>())
        .reader()
        .read::<u32>()? as usize;
    if size < size_of::<T>() {
        return Err(EINVAL);
    }
    if size > SIZE_MAX {
        return Err(E2BIG);
    }
    let mut reader = UserSlice::new(user, size).reader();
    let value = reader.read::<T>()?;
    while !reader.is_empty() {
        let mut rest = [0u8; 64];
        let length = rest.len().min(reader.len());
        let rest = rest.get_mut(..length).ok_or(EINVAL)?;
        reader.read_slice(rest)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

/// Copies a structure out; a larger one keeps its zeroes.
pub(crate) fn copy_out<T: Structure>(address: usize, value: &T) -> Result {
    UserSlice::new(UserPtr::from_addr(address), size_of::<T>())
        .writer()
        .write(value)
}
