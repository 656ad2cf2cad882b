// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Channels of the guest driver, `/dev/wormhole_guestN`.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{ioctl, NoArg, Opcode, Updater};
use wormhole_uapi::{
    wormhole_guest_bind, wormhole_guest_info, wormhole_guest_wait, WORMHOLE_GUEST_ABI_VERSION,
    WORMHOLE_GUEST_IOC_ACCEPT, WORMHOLE_GUEST_IOC_CONNECT, WORMHOLE_GUEST_IOC_INFO,
    WORMHOLE_GUEST_IOC_NOTIFY, WORMHOLE_GUEST_IOC_WAIT, WORMHOLE_GUEST_WAIT_LINK_DOWN,
    WORMHOLE_GUEST_WAIT_PEER_CLOSED, WORMHOLE_ROLE_CLIENT, WORMHOLE_ROLE_SERVER,
};

use super::channel::{Channel, RingClient, RingServer};
use super::doorbell::{Doorbell, Wake};
use super::layout::Layout;
use super::shared::Region;
use super::spare::Spare;
use crate::{Error, Limits};

const INFO: Opcode = WORMHOLE_GUEST_IOC_INFO as Opcode;
const CONNECT: Opcode = WORMHOLE_GUEST_IOC_CONNECT as Opcode;
const ACCEPT: Opcode = WORMHOLE_GUEST_IOC_ACCEPT as Opcode;
const NOTIFY: Opcode = WORMHOLE_GUEST_IOC_NOTIFY as Opcode;
const WAIT: Opcode = WORMHOLE_GUEST_IOC_WAIT as Opcode;

/// A file of the device, bound to a channel or not.
struct File(OwnedFd);

impl File {
    fn open(path: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(File)
    }

    fn info(&self) -> rustix::io::Result<wormhole_guest_info> {
        let mut info = wormhole_guest_info {
            size: size_of::<wormhole_guest_info>() as u32,
            ..Default::default()
        };
        // SAFETY: the request reads and writes this structure, whose size it
        // is told, and nothing else.
        unsafe { ioctl(&self.0, Updater::<INFO, _>::new(&mut info)) }?;
        Ok(info)
    }

    /// The server of this VM's window, or its client, binds this file. Returns
    /// the index of the channel.
    fn connect(&self, timeout: Duration) -> rustix::io::Result<u32> {
        let mut bind = bind_request(Some(timeout));
        // SAFETY: as in `info`.
        unsafe { ioctl(&self.0, Updater::<CONNECT, _>::new(&mut bind)) }?;
        Ok(bind.channel)
    }

    fn accept(&self) -> rustix::io::Result<u32> {
        let mut bind = bind_request(None);
        // SAFETY: as in `info`.
        unsafe { ioctl(&self.0, Updater::<ACCEPT, _>::new(&mut bind)) }?;
        Ok(bind.channel)
    }

    /// Maps the channel that this file is bound to.
    fn into_channel(self, role: u32) -> Result<Channel, Error> {
        let info = self.info()?;
        if info.role != role {
            return Err(Error::Misuse("a channel of the other role"));
        }
        let layout = Layout::new(info.channel_size)?;
        Ok(Channel {
            memory: Region::map(&self.0, layout.size())?,
            layout,
            doorbell: Arc::new(self),
        })
    }
}

impl Doorbell for File {
    fn notify(&self) -> io::Result<()> {
        // SAFETY: the request takes no argument.
        unsafe { ioctl(&self.0, NoArg::<NOTIFY>::new()) }?;
        Ok(())
    }

    fn wait(&self, seen: u32, timeout: Option<Duration>) -> io::Result<Wake> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut wait = wormhole_guest_wait {
                size: size_of::<wormhole_guest_wait>() as u32,
                seen,
                timeout_ns: nanoseconds(left),
                ..Default::default()
            };
            // SAFETY: as in `info`.
            match unsafe { ioctl(&self.0, Updater::<WAIT, _>::new(&mut wait)) } {
                Ok(()) => {
                    let gone = WORMHOLE_GUEST_WAIT_PEER_CLOSED | WORMHOLE_GUEST_WAIT_LINK_DOWN;
                    return Ok(Wake {
                        event: wait.event,
                        closed: wait.status & gone != 0,
                    });
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Takes a channel to the server VM.
pub(crate) fn connect(path: &Path, limits: &Limits) -> Result<(RingClient, Spare), Error> {
    let deadline = Instant::now() + limits.connect_timeout;
    let what = || format!("cannot connect through {}", path.display());
    let file = open(path, WORMHOLE_ROLE_CLIENT)?;
    file.connect(limits.connect_timeout)
        .map_err(|errno| match errno {
            Errno::TIMEDOUT => Error::setup(
                what(),
                io::Error::new(io::ErrorKind::TimedOut, "no server accepted in time"),
            ),
            Errno::NOTCONN => Error::setup(
                what(),
                io::Error::new(io::ErrorKind::NotConnected, "the server VM is not there"),
            ),
            Errno::NOSPC => Error::setup(
                what(),
                io::Error::new(io::ErrorKind::QuotaExceeded, "all channels are taken"),
            ),
            _ => Error::setup(what(), errno),
        })?;
    let rest = Limits {
        connect_timeout: deadline.saturating_duration_since(Instant::now()),
        ..*limits
    };
    let kept = file.0.try_clone()?;
    let channel = file.into_channel(WORMHOLE_ROLE_CLIENT)?;
    let spare = Spare::new(&channel, Some(kept));
    Ok((channel.connect("ring", &rest)?, spare))
}

/// The devices of this VM that are the server's side of their windows.
pub(crate) fn servers() -> Vec<PathBuf> {
    let mut devices = devices_in(Path::new("/dev"));
    devices.retain(|path| open(path, WORMHOLE_ROLE_SERVER).is_ok());
    devices
}

/// The driver's devices there, in the order of their numbers.
fn devices_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let number = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("wormhole_guest")?.parse::<u32>().ok()
    };
    let mut devices: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((number(&entry.path())?, entry.path())))
        .collect();
    devices.sort();
    devices.into_iter().map(|(_, path)| path).collect()
}

/// Takes in the clients of this VM's window.
pub(crate) struct Listener {
    path: PathBuf,
    /// Not bound; becomes the next client's.
    next: File,
}

impl Listener {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Listener {
            path: path.to_owned(),
            next: open(path, WORMHOLE_ROLE_SERVER)?,
        })
    }

    pub(crate) fn accept(&mut self) -> Result<Connection, Error> {
        // First, so that no client is taken in and then lost.
        let fresh = open(&self.path, WORMHOLE_ROLE_SERVER)?;
        let channel = self.next.accept()?;
        let bound = std::mem::replace(&mut self.next, fresh);
        Ok(Connection { bound, channel })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.next.0.as_fd()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// A bound file of the server VM.
pub(crate) struct Connection {
    bound: File,
    channel: u32,
}

impl Connection {
    /// A file that ACCEPT has bound.
    pub(crate) fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        let bound = File(fd);
        let channel = bound.info()?.channel;
        Ok(Connection { bound, channel })
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.bound.0
    }

    pub(crate) fn serve(self, limits: &Limits) -> Result<(RingServer, Spare), Error> {
        let kept = self.bound.0.try_clone()?;
        let channel = self.bound.into_channel(WORMHOLE_ROLE_SERVER)?;
        let spare = Spare::new(&channel, Some(kept));
        Ok((channel.serve(limits)?, spare))
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", self.channel)
    }
}

/// Opens the device and checks that this VM has the `role`.
fn open(path: &Path, role: u32) -> Result<File, Error> {
    let what = || format!("cannot open {}", path.display());
    let refuse = |why: String| Err(Error::setup(what(), io::Error::other(why)));
    let file = File::open(path).map_err(|errno| Error::setup(what(), errno))?;
    let info = file.info().map_err(|errno| Error::setup(what(), errno))?;
    if info.abi_version != WORMHOLE_GUEST_ABI_VERSION {
        return refuse(format!(
            "the driver's ABI version is {}, this library's {WORMHOLE_GUEST_ABI_VERSION}",
            info.abi_version
        ));
    }
    if info.role != role {
        return refuse(match role {
            WORMHOLE_ROLE_SERVER => "this is not the server VM of its window".into(),
            _ => "this is not the client VM of its window".into(),
        });
    }
    Ok(file)
}

fn bind_request(timeout: Option<Duration>) -> wormhole_guest_bind {
    wormhole_guest_bind {
        size: size_of::<wormhole_guest_bind>() as u32,
        timeout_ns: nanoseconds(timeout),
        ..Default::default()
    }
}

/// As the driver wants it: -1 is no limit.
fn nanoseconds(timeout: Option<Duration>) -> i64 {
    timeout.map_or(-1, |timeout| {
        i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_in_order() {
        let directory = tempfile::tempdir().unwrap();
        assert!(devices_in(directory.path()).is_empty());
        for name in ["10", "2", "0", "x", "", "-1"] {
            std::fs::write(directory.path().join(format!("wormhole_guest{name}")), []).unwrap();
        }
        std::fs::write(directory.path().join("wormhole"), []).unwrap();
        let found: Vec<_> = devices_in(directory.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            found,
            ["wormhole_guest0", "wormhole_guest2", "wormhole_guest10"]
        );
        assert!(devices_in(&directory.path().join("none")).is_empty());
    }
}
