// SPDX-License-Identifier: GPL-2.0

//! Structures of ioctls that start with their own size, and may grow: see
//! `include/uapi/linux/wormhole.h`.

use crate::uapi::{wormhole_info, wormhole_pair};
use kernel::{
    ioctl::{_IOC_DIR, _IOC_NR, _IOC_TYPE},
    page::PAGE_SIZE,
    prelude::*,
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
};

// SAFETY: Integers and arrays of integers: any bit pattern is a value.
unsafe impl FromBytes for wormhole_info {}
// SAFETY: No padding: bindgen checks offsets and size, and the fields fill it.
unsafe impl AsBytes for wormhole_info {}
// SAFETY: Integers and arrays of integers: any bit pattern is a value.
unsafe impl FromBytes for wormhole_pair {}

/// Whether `cmd` is `known`, whatever size of structure the caller was compiled with: the size is
/// part of the number, but what counts is the structure's first field.
pub(crate) fn is(cmd: u32, known: u32) -> bool {
    (_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd))
        == (_IOC_DIR(known), _IOC_TYPE(known), _IOC_NR(known))
}

/// Copies a structure in. `T` must be as it was first published, and its first field the `u32`
/// size.
///
/// EFAULT; EINVAL if the caller's is shorter; E2BIG if it is longer than `T` and what is beyond
/// is not zero, or longer than a page.
pub(crate) fn read<T: FromBytes>(arg: UserPtr) -> Result<T> {
    let size: u32 = UserSlice::new(arg, size_of::<u32>()).reader().read()?;
    let size = usize::try_from(size)?;
    if size < size_of::<T>() {
        return Err(EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(E2BIG);
    }

    let mut reader = UserSlice::new(arg, size).reader();
    let value = reader.read()?;
    while !reader.is_empty() {
        let mut chunk = [0; 64];
        let len = chunk.len().min(reader.len());
        let chunk = chunk.get_mut(..len).ok_or(EINVAL)?;
        reader.read_slice(chunk)?;
        if chunk.iter().any(|&byte| byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

/// Copies a structure out. EFAULT.
pub(crate) fn write<T: AsBytes>(arg: UserPtr, value: &T) -> Result {
    UserSlice::new(arg, size_of::<T>()).writer().write(value)
}
