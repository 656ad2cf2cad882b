// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A channel of the guest driver: its file and its memory.
//!
//! The ioctls here make no use of thread-local variables: carriers park in them while their
//! thread-local variables are a client's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{ioctl, NoArg, Opcode, Setter, Updater};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use wormhole_uapi as uapi;

use crate::range::PAGE;
use crate::server::Rights;
use crate::Error;

/// The channel's first page is the drivers' and this library's.
const RESERVED: usize = 4096;
/// Word of that page with which a client says which one it is.
const COOKIE: usize = 1024;
const _: () = assert!(uapi::WORMHOLE_CHANNEL_DRIVER_SIZE as usize <= COOKIE);

/// The side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// What a wait has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) event: u32,
    /// The peer is gone for good.
    pub(crate) closed: bool,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Bytes from its start.
    pub(crate) done: usize,
    pub(crate) result: Result<(), Errno>,
}

/// Why a carrier was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    /// Its call has hopped home.
    Home,
    /// The client is gone for good.
    ClientGone,
}

/// What carriers ask of the driver.
pub(crate) trait Door: Send + Sync {
    /// Sleeps until the call of carrier `index` hops home or there will be none any more. EPIPE the
    /// session has ended; ETIMEDOUT, EINTR.
    fn await_hop(&self, index: u32, timeout: Duration) -> Result<Hop, Errno>;
    /// Ends the session: when this returns, the last calls have hopped home. EPIPE it had ended.
    fn end(&self) -> Result<(), Errno>;
    /// Carrier `index` has finished a call that had hopped.
    fn finish(&self, index: u32, result: u64) -> Result<(), Errno>;
    fn register(&self, address: usize, length: usize, rights: Rights) -> Registered;
    /// Takes carrier `index` back: afterwards no call uses its memory. EBUSY: a call does, or one
    /// has since this was asked last.
    fn retire(&self, index: u32) -> Result<(), Errno>;
}

/// A bound and mapped channel.
///
/// # Invariants
/// `length` bytes at `base` are this object's shared mapping, which nothing unmaps before it is
/// dropped.
pub struct Channel {
    file: OwnedFd,
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this object touches it with
// atomics only.
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

impl Channel {
    /// Takes a free channel of the device at `path`, and waits for a server.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, Error> {
        Self::open(path, Role::Client, timeout)
    }

    /// Waits for a client at the device at `path`.
    pub fn accept(path: &Path, timeout: Duration) -> Result<Self, Error> {
        Self::open(path, Role::Server, timeout)
    }

    fn open(path: &Path, role: Role, timeout: Duration) -> Result<Self, Error> {
        const CONNECT: Opcode = uapi::WORMHOLE_GUEST_IOC_CONNECT as Opcode;
        const ACCEPT: Opcode = uapi::WORMHOLE_GUEST_IOC_ACCEPT as Opcode;
        let what = |errno| Error::system(path.display().to_string(), errno);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(what)?;
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut bind = uapi::wormhole_guest_bind {
                size: size_of::<uapi::wormhole_guest_bind>() as u32,
                timeout_ns: nanoseconds(left),
                ..Default::default()
            };
            let bound = match role {
                // SAFETY: the request reads and writes this structure, whose size it is told.
                Role::Client => unsafe { ioctl(&file, Updater::<CONNECT, _>::new(&mut bind)) },
                // SAFETY: as above.
                Role::Server => unsafe { ioctl(&file, Updater::<ACCEPT, _>::new(&mut bind)) },
            };
            match bound {
                Ok(()) => return Self::from_fd(file),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(what(errno)),
            }
        }
    }

    /// A file that is bound already.
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        const INFO: Opcode = uapi::WORMHOLE_GUEST_IOC_INFO as Opcode;
        let what = |errno| Error::system("cannot map the channel", errno);
        let mut info = uapi::wormhole_guest_info {
            size: size_of::<uapi::wormhole_guest_info>() as u32,
            ..Default::default()
        };
        // SAFETY: the request reads and writes this structure, whose size it is told.
        unsafe { ioctl(&file, Updater::<INFO, _>::new(&mut info)) }.map_err(what)?;
        let length = usize::try_from(info.channel_size).map_err(|_| what(Errno::OVERFLOW))?;
        if length <= RESERVED {
            return Err(Error::Protocol("a channel of impossible size"));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .map_err(what)?;
        let base = NonNull::new(base.cast()).ok_or(what(Errno::NOMEM))?;
        // INVARIANT: it was just mapped.
        Ok(Channel { file, base, length })
    }

    /// The channel's memory that programs may use as they like: where it is mapped, and its bytes.
    /// Both sides can change it at any time.
    pub fn memory(&self) -> (NonNull<u8>, usize) {
        // SAFETY: `from_fd` has it that the mapping is longer than that.
        let start = unsafe { self.base.add(RESERVED) };
        (start, self.length - RESERVED)
    }

    /// The word of the first page by which the two sides of a connection find each other.
    pub(crate) fn cookie(&self) -> u64 {
        u64::from_le(self.cookie_word().load(Ordering::Acquire))
    }

    pub(crate) fn set_cookie(&self, cookie: u64) {
        self.cookie_word().store(cookie.to_le(), Ordering::Release);
    }

    fn cookie_word(&self) -> &AtomicU64 {
        // SAFETY: within the mapping by the invariants and aligned, since a mapping is. An atomic
        // may change behind a shared reference.
        unsafe { self.base.add(COOKIE).cast().as_ref() }
    }

    /// Wakes the other side.
    pub(crate) fn notify(&self) -> Result<(), Errno> {
        const NOTIFY: Opcode = uapi::WORMHOLE_GUEST_IOC_NOTIFY as Opcode;
        // SAFETY: the request takes no argument.
        unsafe { ioctl(&self.file, NoArg::<NOTIFY>::new()) }
    }

    /// Sleeps until the event word differs from `seen`, or the peer is gone. ETIMEDOUT, EINTR.
    pub(crate) fn wait(&self, seen: u32, timeout: Duration) -> Result<Wake, Errno> {
        const WAIT: Opcode = uapi::WORMHOLE_GUEST_IOC_WAIT as Opcode;
        let mut wait = uapi::wormhole_guest_wait {
            size: size_of::<uapi::wormhole_guest_wait>() as u32,
            seen,
            timeout_ns: nanoseconds(timeout),
            ..Default::default()
        };
        // SAFETY: the request reads and writes this structure, whose size it is told.
        unsafe { ioctl(&self.file, Updater::<WAIT, _>::new(&mut wait)) }?;
        let gone = uapi::WORMHOLE_GUEST_WAIT_PEER_CLOSED | uapi::WORMHOLE_GUEST_WAIT_LINK_DOWN;
        Ok(Wake {
            event: wait.event,
            closed: wait.status & gone != 0,
        })
    }

    /// The event word now, and whether the peer is gone.
    pub(crate) fn look(&self) -> Result<Wake, Errno> {
        self.wait(0, Duration::ZERO)
    }

    pub(crate) fn serve(&self, entry: crate::Entry) -> Result<(), Errno> {
        const SERVE: Opcode = uapi::WORMHOLE_GUEST_IOC_SERVE as Opcode;
        let serve = uapi::wormhole_guest_serve {
            size: size_of::<uapi::wormhole_guest_serve>() as u32,
            flags: 0,
            entry: entry as usize as u64,
        };
        // SAFETY: the request reads this structure. What the host does with `entry` is the
        // client's doing, and `Server::new` has told its caller so.
        unsafe { ioctl(&self.file, Setter::<SERVE, _>::new(serve)) }
    }

    /// # Safety
    /// `context` must be a page with a `wormhole_carrier`, which the host writes until the session
    /// ends.
    pub(crate) unsafe fn give_carrier(&self, index: u32, context: usize) -> Result<(), Errno> {
        const CARRIER: Opcode = uapi::WORMHOLE_GUEST_IOC_CARRIER as Opcode;
        let carrier = uapi::wormhole_guest_carrier {
            size: size_of::<uapi::wormhole_guest_carrier>() as u32,
            index,
            context: context as u64,
        };
        // SAFETY: the request reads this structure; the caller vouches for the page.
        unsafe { ioctl(&self.file, Setter::<CARRIER, _>::new(carrier)) }
    }

    /// Binds the session to this process.
    pub(crate) fn bind(&self) -> Result<(), Errno> {
        const BIND: Opcode = uapi::WORMHOLE_GUEST_IOC_BIND as Opcode;
        // SAFETY: the request takes no argument. It changes nothing in this process but what
        // happens at a VMFUNC.
        unsafe { ioctl(&self.file, NoArg::<BIND>::new()) }
    }
}

impl Door for Channel {
    fn await_hop(&self, index: u32, timeout: Duration) -> Result<Hop, Errno> {
        const AWAIT: Opcode = uapi::WORMHOLE_GUEST_IOC_AWAIT as Opcode;
        let mut request = uapi::wormhole_guest_await {
            size: size_of::<uapi::wormhole_guest_await>() as u32,
            index,
            timeout_ns: nanoseconds(timeout),
            ..Default::default()
        };
        // SAFETY: the request reads and writes this structure, whose size it is told.
        unsafe { ioctl(&self.file, Updater::<AWAIT, _>::new(&mut request)) }?;
        Ok(match request.status {
            0 => Hop::Home,
            _ => Hop::ClientGone,
        })
    }

    fn end(&self) -> Result<(), Errno> {
        const END: Opcode = uapi::WORMHOLE_GUEST_IOC_END as Opcode;
        // SAFETY: the request takes no argument. It takes away what the client can reach.
        unsafe { ioctl(&self.file, NoArg::<END>::new()) }
    }

    fn finish(&self, index: u32, result: u64) -> Result<(), Errno> {
        const RETURN: Opcode = uapi::WORMHOLE_GUEST_IOC_RETURN as Opcode;
        let finished = uapi::wormhole_guest_return {
            size: size_of::<uapi::wormhole_guest_return>() as u32,
            index,
            result,
        };
        // SAFETY: the request reads this structure.
        unsafe { ioctl(&self.file, Setter::<RETURN, _>::new(finished)) }
    }

    fn retire(&self, index: u32) -> Result<(), Errno> {
        const RETIRE: Opcode = uapi::WORMHOLE_GUEST_IOC_RETIRE as Opcode;
        let retire = uapi::wormhole_guest_retire {
            size: size_of::<uapi::wormhole_guest_retire>() as u32,
            index,
        };
        // SAFETY: the request reads this structure. It takes away what the client can reach.
        unsafe { ioctl(&self.file, Setter::<RETIRE, _>::new(retire)) }
    }

    fn register(&self, address: usize, length: usize, rights: Rights) -> Registered {
        const REGISTER: Opcode = uapi::WORMHOLE_GUEST_IOC_REGISTER as Opcode;
        let mut register = uapi::wormhole_guest_register {
            size: size_of::<uapi::wormhole_guest_register>() as u32,
            rights: rights.bits(),
            address: address as u64,
            length: length as u64,
            done: 0,
        };
        // SAFETY: the request reads and writes this structure, whose size it is told. Who
        // registers memory has been told what that means (`Server::register`).
        let result = unsafe { ioctl(&self.file, Updater::<REGISTER, _>::new(&mut register)) };
        Registered {
            // The driver's word, but no more than was asked for, in whole pages.
            done: usize::try_from(register.done)
                .unwrap_or(usize::MAX)
                .min(length)
                / PAGE
                * PAGE,
            result,
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: by the invariants it is this object's, and nobody uses it any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}

fn nanoseconds(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX)
}
