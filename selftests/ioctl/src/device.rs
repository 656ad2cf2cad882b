// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /dev/wormhole's ioctls, raw: no argument is checked here.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::ioctl::{ioctl, Ioctl, IoctlOutput, Opcode};
use wormhole_uapi::{wormhole_info, wormhole_pair, WORMHOLE_IOC_INFO, WORMHOLE_IOC_PAIR};

pub const PATH: &str = "/dev/wormhole";

/// An ioctl as the system call has it: a number and an address.
struct Raw {
    number: Opcode,
    argument: *mut c_void,
}

// SAFETY: Which ioctl it is, and with what argument, is `raw()`'s caller's business.
unsafe impl Ioctl for Raw {
    type Output = i32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.number
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}

/// ioctl(2). The kernel looks at the low 32 bits of `number`.
///
/// # Safety
///
/// The ioctl must not write memory of this process that it may not write.
pub unsafe fn raw(fd: impl AsFd, number: u64, argument: *mut c_void) -> Result<i32, Errno> {
    // SAFETY: The caller's promise.
    unsafe {
        ioctl(
            fd,
            Raw {
                number: number as Opcode,
                argument,
            },
        )
    }
}

/// `number` with an argument of bytes, which the kernel may write. What it writes is discarded unless it is
/// longer than `bytes`, so there is some room.
pub fn with_bytes(fd: impl AsFd, number: u64, bytes: &[u8]) -> Result<i32, Errno> {
    let mut buffer = bytes.to_vec();
    buffer.resize(bytes.len() + 4096, 0);
    // SAFETY: /dev/wormhole writes at most the structures of its ABI, which are below 4096 bytes.
    unsafe { raw(fd, number, buffer.as_mut_ptr().cast()) }
}

/// An opened /dev/wormhole.
pub struct Device(File);

impl Device {
    pub fn open() -> std::io::Result<Self> {
        File::options().read(true).write(true).open(PATH).map(Self)
    }

    pub fn info(&self) -> Result<wormhole_info, Errno> {
        let mut info = wormhole_info {
            size: size_of::<wormhole_info>() as u32,
            ..Default::default()
        };
        // SAFETY: The kernel writes `info.size` bytes.
        unsafe { raw(&self.0, WORMHOLE_IOC_INFO, (&raw mut info).cast()) }?;
        Ok(info)
    }

    /// Pairs; the file descriptor returned is owned by the result.
    pub fn pair_raw(&self, args: &wormhole_pair) -> Result<OwnedFd, Errno> {
        // SAFETY: The kernel reads `args.size` bytes at most and writes nothing; a read beyond the
        // structure is still a read.
        let fd = unsafe {
            raw(
                &self.0,
                WORMHOLE_IOC_PAIR,
                core::ptr::from_ref(args).cast_mut().cast(),
            )
        }?;
        // SAFETY: WORMHOLE_IOC_PAIR returned a new file descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub fn pair(&self, client: impl AsFd, server: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
        self.pair_by(0, client, server, name)
    }

    /// With that key.
    pub fn pair_by(
        &self,
        key: u32,
        client: impl AsFd,
        server: impl AsFd,
        name: &str,
    ) -> Result<OwnedFd, Errno> {
        let (client, server) = (client.as_fd().as_raw_fd(), server.as_fd().as_raw_fd());
        self.pair_raw(&wormhole_pair {
            key,
            ..pair_args(client, server, name)
        })
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A well-formed argument, if the file descriptors and the name are.
pub fn pair_args(client: RawFd, server: RawFd, name: &str) -> wormhole_pair {
    let mut args = wormhole_pair {
        size: size_of::<wormhole_pair>() as u32,
        flags: 0,
        client_vm_fd: client,
        server_vm_fd: server,
        ..Default::default()
    };
    for (to, from) in args.name.iter_mut().zip(name.bytes()) {
        *to = from as core::ffi::c_char;
    }
    args
}

/// The bytes of a structure that is all integers.
pub fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
    // SAFETY: The ABI's structures have no padding.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
        .to_vec()
}
