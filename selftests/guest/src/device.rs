// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /dev/wormhole_guest0: its ioctls, mappings and poll.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::AtomicU32;

use wormhole_uapi::{
    wormhole_guest_await, wormhole_guest_bind, wormhole_guest_carrier, wormhole_guest_info,
    wormhole_guest_retire, wormhole_guest_return, wormhole_guest_serve, wormhole_guest_wait,
    WORMHOLE_GUEST_IOC_ACCEPT, WORMHOLE_GUEST_IOC_AWAIT, WORMHOLE_GUEST_IOC_CARRIER,
    WORMHOLE_GUEST_IOC_CONNECT, WORMHOLE_GUEST_IOC_END, WORMHOLE_GUEST_IOC_INFO,
    WORMHOLE_GUEST_IOC_NOTIFY, WORMHOLE_GUEST_IOC_RETIRE, WORMHOLE_GUEST_IOC_RETURN,
    WORMHOLE_GUEST_IOC_SERVE, WORMHOLE_GUEST_IOC_WAIT,
};

pub const PATH: &str = "/dev/wormhole_guest0";

/// An error number, `libc::E*`.
pub type Errno = i32;
pub type Result<T> = std::result::Result<T, Errno>;

pub const MILLISECOND: i64 = 1_000_000;
/// A timeout, in nanoseconds, after which something is wrong; long, as an emulated host may be busy.
pub const LONG: i64 = 60_000 * MILLISECOND;
pub const FOREVER: i64 = -1;

fn errno() -> Errno {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// An open file of the device.
pub struct Device(File);

impl Device {
    pub fn open() -> Self {
        Self::try_open(0).unwrap_or_else(|error| panic!("cannot open {PATH}: {error}"))
    }

    pub fn open_nonblocking() -> Self {
        Self::try_open(libc::O_NONBLOCK)
            .unwrap_or_else(|error| panic!("cannot open {PATH}: {error}"))
    }

    pub fn try_open(flags: i32) -> io::Result<Self> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(PATH)
            .map(Self)
    }

    pub fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// An ioctl on any bytes; `None`: on an address that nobody mapped.
    pub fn raw_ioctl(&self, request: libc::c_ulong, argument: Option<&mut [u8]>) -> Result<()> {
        let address = argument.map_or(
            std::ptr::without_provenance_mut::<u8>(8),
            <[u8]>::as_mut_ptr,
        );
        // SAFETY: The kernel checks the address; callers pass at least what the structure's size field says.
        self.answer(unsafe { libc::ioctl(self.fd(), request as _, address) })
    }

    fn ioctl<T>(&self, request: libc::c_ulong, argument: &mut T) -> Result<()> {
        // SAFETY: `argument` is the structure of the request.
        self.answer(unsafe { libc::ioctl(self.fd(), request as _, std::ptr::from_mut(argument)) })
    }

    fn answer(&self, value: i32) -> Result<()> {
        match value {
            0 => Ok(()),
            _ => Err(errno()),
        }
    }

    pub fn info(&self) -> Result<wormhole_guest_info> {
        let mut info = wormhole_guest_info {
            size: size_of::<wormhole_guest_info>() as u32,
            ..Default::default()
        };
        self.ioctl(WORMHOLE_GUEST_IOC_INFO, &mut info)
            .map(|()| info)
    }

    pub fn connect(&self, timeout_ns: i64) -> Result<wormhole_guest_bind> {
        self.bind(WORMHOLE_GUEST_IOC_CONNECT, 0, timeout_ns)
    }

    pub fn accept(&self, timeout_ns: i64) -> Result<wormhole_guest_bind> {
        self.bind(WORMHOLE_GUEST_IOC_ACCEPT, 0, timeout_ns)
    }

    pub fn bind(
        &self,
        request: libc::c_ulong,
        flags: u32,
        timeout_ns: i64,
    ) -> Result<wormhole_guest_bind> {
        let mut bind = wormhole_guest_bind {
            size: size_of::<wormhole_guest_bind>() as u32,
            flags,
            timeout_ns,
            ..Default::default()
        };
        self.ioctl(request, &mut bind).map(|()| bind)
    }

    pub fn notify(&self) -> Result<()> {
        // SAFETY: No argument.
        self.answer(unsafe { libc::ioctl(self.fd(), WORMHOLE_GUEST_IOC_NOTIFY as _) })
    }

    pub fn wait(&self, seen: u32, timeout_ns: i64) -> Result<wormhole_guest_wait> {
        let mut wait = wormhole_guest_wait {
            size: size_of::<wormhole_guest_wait>() as u32,
            seen,
            timeout_ns,
            ..Default::default()
        };
        self.ioctl(WORMHOLE_GUEST_IOC_WAIT, &mut wait)
            .map(|()| wait)
    }

    pub fn serve(&self, entry: u64) -> Result<()> {
        let mut serve = wormhole_guest_serve {
            size: size_of::<wormhole_guest_serve>() as u32,
            entry,
            ..Default::default()
        };
        self.ioctl(WORMHOLE_GUEST_IOC_SERVE, &mut serve)
    }

    pub fn carrier(&self, index: u32, context: u64) -> Result<()> {
        let mut carrier = wormhole_guest_carrier {
            size: size_of::<wormhole_guest_carrier>() as u32,
            index,
            context,
        };
        self.ioctl(WORMHOLE_GUEST_IOC_CARRIER, &mut carrier)
    }

    pub fn finish(&self, index: u32, result: u64) -> Result<()> {
        let mut finish = wormhole_guest_return {
            size: size_of::<wormhole_guest_return>() as u32,
            index,
            result,
        };
        self.ioctl(WORMHOLE_GUEST_IOC_RETURN, &mut finish)
    }

    /// AWAIT; gives the status.
    pub fn await_hop(&self, index: u32, timeout_ns: i64) -> Result<u32> {
        let mut request = wormhole_guest_await {
            index,
            timeout_ns,
            ..Default::default()
        };
        self.await_with(&mut request).map(|()| request.status)
    }

    pub fn await_with(&self, request: &mut wormhole_guest_await) -> Result<()> {
        request.size = size_of::<wormhole_guest_await>() as u32;
        self.ioctl(WORMHOLE_GUEST_IOC_AWAIT, request)
    }

    pub fn retire(&self, index: u32) -> Result<()> {
        let mut retire = wormhole_guest_retire {
            size: size_of::<wormhole_guest_retire>() as u32,
            index,
        };
        self.ioctl(WORMHOLE_GUEST_IOC_RETIRE, &mut retire)
    }

    pub fn end(&self) -> Result<()> {
        // SAFETY: No argument.
        self.answer(unsafe { libc::ioctl(self.fd(), WORMHOLE_GUEST_IOC_END as _) })
    }

    /// The event word now.
    pub fn event(&self) -> u32 {
        self.wait(0, 0).expect("WAIT that only looks").event
    }

    /// Polls for everything; 0 after the timeout.
    pub fn poll(&self, timeout_ms: i32) -> i16 {
        let mut poll = libc::pollfd {
            fd: self.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: One pollfd, which lives during the call.
        let count = unsafe { libc::poll(&mut poll, 1, timeout_ms) };
        assert!(count >= 0, "poll: {}", io::Error::last_os_error());
        poll.revents
    }

    /// Maps the channel, to read and write, shared.
    pub fn map(&self) -> Mapping {
        let size = self.info().expect("INFO").channel_size as usize;
        self.try_map(
            0,
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
        )
        .expect("mmap of a bound channel")
    }

    pub fn try_map(
        &self,
        offset: i64,
        length: usize,
        protection: i32,
        flags: i32,
    ) -> Result<Mapping> {
        // SAFETY: A new mapping, at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                flags,
                self.fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(errno());
        }
        Ok(Mapping { base, length })
    }
}

/// A mapping of a channel.
pub struct Mapping {
    base: *mut c_void,
    length: usize,
}

// SAFETY: A mapping is the process's.
unsafe impl Send for Mapping {}
// SAFETY: It is read and written atomically alone.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub fn length(&self) -> usize {
        self.length
    }

    /// A word of the channel.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset % 4 == 0 && offset + 4 <= self.length);
        // SAFETY: Aligned and in bounds; the other side's accesses are atomic too.
        unsafe { AtomicU32::from_ptr(self.base.cast::<u8>().add(offset).cast()) }
    }

    pub fn protect(&self, protection: i32) -> Result<()> {
        // SAFETY: The whole of a mapping of ours, used through `word` alone, which a test that takes rights away does
        // not call.
        match unsafe { libc::mprotect(self.base, self.length, protection) } {
            0 => Ok(()),
            _ => Err(errno()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: Ours; `word` borrows it.
        unsafe { libc::munmap(self.base, self.length) };
    }
}

/// An epoll instance that watches one file.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Watches `device` for input, by level.
    pub fn watch(device: &Device) -> Self {
        // SAFETY: No pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "epoll_create1: {}", io::Error::last_os_error());
        // SAFETY: A new descriptor, of nobody else.
        let epoll = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        // SAFETY: `event` lives during the call.
        let added = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, device.fd(), &mut event) };
        assert_eq!(added, 0, "epoll_ctl: {}", io::Error::last_os_error());
        epoll
    }

    /// The events that are there within the timeout; 0: none.
    pub fn wait(&self, timeout_ms: i32) -> u32 {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: Room for one event.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, timeout_ms) };
        assert!(count >= 0, "epoll_wait: {}", io::Error::last_os_error());
        event.events
    }
}
