// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host module's device, `/dev/wormhole`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use wormhole_uapi::{
    wormhole_info, wormhole_pair, WORMHOLE_IOC_INFO, WORMHOLE_IOC_PAIR, WORMHOLE_PAIR_SERVER_EVENT,
};
use wormhole_window::Name;

use crate::error::Error;

/// Where the host module makes its device.
pub const DEVICE: &str = "/dev/wormhole";

/// Why two VMs were not paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairError {
    /// The device could not be opened.
    Device(Errno),
    /// The host module refused.
    Pair(Errno),
}

impl PairError {
    /// The error number.
    pub const fn errno(self) -> Errno {
        match self {
            PairError::Device(errno) | PairError::Pair(errno) => errno,
        }
    }
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PairError::Device(errno) => {
                write!(f, "cannot open the host module's device: {}", errno.desc())
            }
            // As wormhole.h has them.
            PairError::Pair(errno) => f.write_str(match errno {
                Errno::EPERM => "pairing needs CAP_SYS_ADMIN",
                Errno::EMEDIUMTYPE => "one of the two files is no KVM VM",
                Errno::ELOOP => "both are the same VM",
                Errno::ESRCH => "the process of one of the two VMs has gone",
                Errno::EBUSY => "one of the two VMs has this part in another pairing",
                errno => return write!(f, "the host module refused: {}", errno.desc()),
            }),
        }
    }
}

/// What pairs VMs.
pub trait Host {
    /// Pairs two KVM VMs, given by their VM file descriptors. They stay
    /// paired until the returned file is closed. `key`: their window's. `event`:
    /// the eventfd of the server VM's interrupt for calls that hop home.
    fn pair(
        &self,
        client: BorrowedFd<'_>,
        server: BorrowedFd<'_>,
        name: &Name,
        key: u32,
        event: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, PairError>;
}

/// The device, opened anew for each use: an open device would keep the host
/// module from being replaced while nothing is paired.
pub struct Device {
    path: PathBuf,
}

impl Device {
    /// The device at `path`; one clear error if it is not usable now.
    pub fn new(path: &Path) -> Result<Device, Error> {
        let device = Device { path: path.into() };
        match device.open() {
            Ok(_) => Ok(device),
            Err(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => Err(Error::not_there(format!(
                "{} is not there: load the host module (insmod wormhole.ko)",
                path.display()
            ))),
            Err(Errno::EACCES | Errno::EPERM) => Err(Error::refused(format!(
                "{} may not be opened: run wormholectl as root",
                path.display()
            ))),
            Err(errno) => Err(Error::os(path.display(), errno)),
        }
    }

    fn open(&self) -> Result<File, Errno> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// What the CPUs and the kernel offer.
    pub fn info(&self) -> Result<wormhole_info, Errno> {
        let file = self.open()?;
        let mut info = wormhole_info {
            size: size_of::<wormhole_info>() as u32,
            ..Default::default()
        };
        // SAFETY: the request takes a pointer to a wormhole_info whose `size`
        // is set, and writes no more than `size` bytes to it.
        Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), WORMHOLE_IOC_INFO, &mut info) })?;
        Ok(info)
    }
}

impl Host for Device {
    fn pair(
        &self,
        client: BorrowedFd<'_>,
        server: BorrowedFd<'_>,
        name: &Name,
        key: u32,
        event: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, PairError> {
        let file = self.open().map_err(PairError::Device)?;
        let mut pair = wormhole_pair {
            size: size_of::<wormhole_pair>() as u32,
            client_vm_fd: client.as_raw_fd(),
            server_vm_fd: server.as_raw_fd(),
            key,
            ..Default::default()
        };
        if let Some(event) = event {
            pair.flags = WORMHOLE_PAIR_SERVER_EVENT;
            pair.server_event_fd = event.as_raw_fd();
        }
        for (to, from) in pair.name.iter_mut().zip(name.as_field()) {
            *to = *from as core::ffi::c_char;
        }
        // SAFETY: the request takes a pointer to a wormhole_pair whose `size`
        // is set, and only reads it.
        let fd = Errno::result(unsafe {
            libc::ioctl(file.as_fd().as_raw_fd(), WORMHOLE_IOC_PAIR, &pair)
        })
        .map_err(PairError::Pair)?;
        // SAFETY: a successful request returns a new file descriptor, which
        // nobody else knows.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
