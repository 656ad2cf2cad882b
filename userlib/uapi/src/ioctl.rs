// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ioctl request numbers, computed as `<asm-generic/ioctl.h>` does.

use core::ffi::c_ulong;
use core::mem::size_of;

use crate::bindings::{
    wormhole_guest_await, wormhole_guest_bind, wormhole_guest_carrier, wormhole_guest_info,
    wormhole_guest_register, wormhole_guest_retire, wormhole_guest_return, wormhole_guest_serve,
    wormhole_guest_wait, wormhole_info, wormhole_pair, WORMHOLE_GUEST_IOC_MAGIC,
    WORMHOLE_IOC_MAGIC,
};

const NONE: u32 = 0;
/// User space writes, the kernel reads.
const WRITE: u32 = 1;
/// The kernel writes, user space reads.
const READ: u32 = 2;

const TYPE_SHIFT: u32 = 8;
const SIZE_SHIFT: u32 = 16;
const DIRECTION_SHIFT: u32 = 30;
const SIZE_BITS: u32 = 14;

/// `_IOC(direction, magic, nr, size)`; a build error if a field does not fit.
const fn request(direction: u32, magic: u32, nr: u32, size: usize) -> c_ulong {
    assert!(magic < 1 << 8 && nr < 1 << 8 && size < 1 << SIZE_BITS);
    ((direction << DIRECTION_SHIFT) | ((size as u32) << SIZE_SHIFT) | (magic << TYPE_SHIFT) | nr)
        as c_ulong
}

/// Read-write: fills a [`wormhole_info`].
pub const WORMHOLE_IOC_INFO: c_ulong = request(
    READ | WRITE,
    WORMHOLE_IOC_MAGIC,
    0x00,
    size_of::<wormhole_info>(),
);

/// Write: takes a [`wormhole_pair`], returns the pairing's file descriptor.
pub const WORMHOLE_IOC_PAIR: c_ulong =
    request(WRITE, WORMHOLE_IOC_MAGIC, 0x01, size_of::<wormhole_pair>());

/// Read-write: fills a [`wormhole_guest_info`].
pub const WORMHOLE_GUEST_IOC_INFO: c_ulong = request(
    READ | WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x40,
    size_of::<wormhole_guest_info>(),
);

/// Read-write: takes and fills a [`wormhole_guest_bind`].
pub const WORMHOLE_GUEST_IOC_CONNECT: c_ulong = request(
    READ | WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x41,
    size_of::<wormhole_guest_bind>(),
);

/// Read-write: takes and fills a [`wormhole_guest_bind`].
pub const WORMHOLE_GUEST_IOC_ACCEPT: c_ulong = request(
    READ | WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x42,
    size_of::<wormhole_guest_bind>(),
);

/// No argument.
pub const WORMHOLE_GUEST_IOC_NOTIFY: c_ulong = request(NONE, WORMHOLE_GUEST_IOC_MAGIC, 0x43, 0);

/// Read-write: takes and fills a [`wormhole_guest_wait`].
pub const WORMHOLE_GUEST_IOC_WAIT: c_ulong = request(
    READ | WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x44,
    size_of::<wormhole_guest_wait>(),
);

/// Write: takes a [`wormhole_guest_serve`].
pub const WORMHOLE_GUEST_IOC_SERVE: c_ulong = request(
    WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x45,
    size_of::<wormhole_guest_serve>(),
);

/// Read-write: takes and fills a [`wormhole_guest_register`].
pub const WORMHOLE_GUEST_IOC_REGISTER: c_ulong = request(
    READ | WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x46,
    size_of::<wormhole_guest_register>(),
);

/// Write: takes a [`wormhole_guest_carrier`].
pub const WORMHOLE_GUEST_IOC_CARRIER: c_ulong = request(
    WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x47,
    size_of::<wormhole_guest_carrier>(),
);

/// Write: takes a [`wormhole_guest_return`].
pub const WORMHOLE_GUEST_IOC_RETURN: c_ulong = request(
    WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x48,
    size_of::<wormhole_guest_return>(),
);

/// No argument.
pub const WORMHOLE_GUEST_IOC_BIND: c_ulong = request(NONE, WORMHOLE_GUEST_IOC_MAGIC, 0x49, 0);

/// Read-write: takes and fills a [`wormhole_guest_await`].
pub const WORMHOLE_GUEST_IOC_AWAIT: c_ulong = request(
    READ | WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x4a,
    size_of::<wormhole_guest_await>(),
);

/// No argument.
pub const WORMHOLE_GUEST_IOC_END: c_ulong = request(NONE, WORMHOLE_GUEST_IOC_MAGIC, 0x4b, 0);

/// Write: takes a [`wormhole_guest_retire`].
pub const WORMHOLE_GUEST_IOC_RETIRE: c_ulong = request(
    WRITE,
    WORMHOLE_GUEST_IOC_MAGIC,
    0x4c,
    size_of::<wormhole_guest_retire>(),
);
