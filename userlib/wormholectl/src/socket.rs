// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Listening sockets in the run directory.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{lchown, DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    bind, connect, getsockopt, listen, socket, sockopt, AddressFamily, Backlog, SockFlag, SockType,
    UnixAddr, UnixCredentials,
};
use nix::unistd::Gid;
use wormhole_window::{Name, Role};

use crate::error::Error;

/// Rest after accept(2) failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const CONTROL_SUFFIX: &str = ".control.sock";

/// The sockets of one pairing.
#[derive(Clone, Debug)]
pub struct Paths {
    run_dir: PathBuf,
    name: Name,
}

impl Paths {
    /// The sockets of pairing `name`, which is not empty nor hidden.
    pub fn new(run_dir: &Path, name: Name) -> Result<Paths, Error> {
        if name.as_str().is_empty() || name.as_str().starts_with('.') {
            return Err(Error::usage(format!(
                "'{name}' is no name for a pairing: it must not be empty or begin with a dot"
            )));
        }
        Ok(Paths {
            run_dir: run_dir.into(),
            name,
        })
    }

    /// Where that role's QEMU connects.
    pub fn vm(&self, role: Role) -> PathBuf {
        self.run_dir.join(format!("{}.{role}.sock", self.name))
    }

    /// Where `wormholectl` connects.
    pub fn control(&self) -> PathBuf {
        self.run_dir.join(format!("{}{CONTROL_SUFFIX}", self.name))
    }

    /// The name of every pairing with a control socket, sorted. A run
    /// directory that is not there has none.
    pub fn names(run_dir: &Path) -> Result<Vec<Name>, Error> {
        let entries = match fs::read_dir(run_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(run_dir.display(), &error)),
        };
        let mut names: Vec<Name> = entries
            .flatten()
            .filter_map(|entry| {
                let file = entry.file_name();
                Name::new(file.to_str()?.strip_suffix(CONTROL_SUFFIX)?).ok()
            })
            .filter(|name| Paths::new(run_dir, *name).is_ok())
            .collect();
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(names)
    }
}

/// The run directory, locked: nobody else claims a name in it meanwhile.
pub struct RunDir {
    _lock: Flock<File>,
}

impl RunDir {
    /// Makes the directory if it is not there, and locks it.
    pub fn lock(path: &Path) -> Result<RunDir, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .and_then(|()| File::open(path))
            .map_err(|error| Error::io(path.display(), &error))
            .and_then(|file| {
                Flock::lock(file, FlockArg::LockExclusive)
                    .map_err(|(_, errno)| Error::os(path.display(), errno))
            })
            .map(|lock| RunDir { _lock: lock })
    }

    /// Fails if a living process listens at one of the paths, and removes the
    /// sockets that a killed one left there.
    pub fn claim(&self, paths: &[PathBuf]) -> Result<(), Error> {
        let mut stale = Vec::new();
        for path in paths {
            match fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io(path.display(), &error)),
                Ok(metadata) if !metadata.file_type().is_socket() => {
                    return Err(Error::refused(format!(
                        "{} is in the way: it is no socket",
                        path.display()
                    )));
                }
                Ok(_) => {}
            }
            match occupant(path)? {
                Some(pid) => {
                    return Err(Error::refused(format!(
                        "already served by pid {pid} ({})",
                        path.display()
                    )));
                }
                None => stale.push(path),
            }
        }
        for path in stale {
            log::info!(
                "{}: left over from a killed process, replaced",
                path.display()
            );
            fs::remove_file(path).map_err(|error| Error::io(path.display(), &error))?;
        }
        Ok(())
    }

    /// Listens at a path that was claimed. With a group, its members may
    /// connect too.
    pub fn listen(&self, path: &Path, group: Option<Gid>) -> Result<Socket, Error> {
        self.try_listen(path, group)
            .map_err(|error| Error::io(path.display(), &error))
    }

    fn try_listen(&self, path: &Path, group: Option<Gid>) -> io::Result<Socket> {
        let fd = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        let metadata = fs::symlink_metadata(path)?;
        let mut made = Socket {
            listener: None,
            path: path.into(),
            inode: (metadata.dev(), metadata.ino()),
            paused_until: None,
        };
        // Nobody can connect before listen().
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        if let Some(group) = group {
            lchown(path, None, Some(group.as_raw()))?;
            fs::set_permissions(path, Permissions::from_mode(0o660))?;
        }
        listen(&fd, Backlog::new(16)?)?;
        made.listener = Some(UnixListener::from(fd));
        Ok(made)
    }
}

/// A socket that we listen at; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    /// `None` only while it is being made.
    listener: Option<UnixListener>,
    path: PathBuf,
    inode: (u64, u64),
    paused_until: Option<Instant>,
}

impl Socket {
    /// The next connection, non-blocking, and who made it (pid 0: somebody in
    /// another pid namespace); `None` if nobody waits.
    pub fn accept(&mut self, now: Instant) -> Option<(UnixStream, UnixCredentials)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        match self.try_accept() {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
                if !matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted) {
                    // Out of files or memory. Whoever waits goes on waiting,
                    // and poll(2) would report it at once again.
                    log::error!("{}: accept: {error}", self.path.display());
                    self.paused_until = Some(now + ACCEPT_PAUSE);
                }
                None
            }
        }
    }

    fn try_accept(&self) -> io::Result<(UnixStream, UnixCredentials)> {
        let listener = self.listener.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        let credentials = getsockopt(&stream, sockopt::PeerCredentials)?;
        Ok((stream, credentials))
    }

    /// The listening file, for poll(2), unless accepting is paused.
    pub fn interest(&self) -> Option<&UnixListener> {
        self.listener
            .as_ref()
            .filter(|_| self.paused_until.is_none())
    }

    /// When accepting goes on.
    pub fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Not what somebody else has put there meanwhile.
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if ours {
            if let Err(error) = fs::remove_file(&self.path) {
                log::warn!("{}: {error}", self.path.display());
            }
        }
    }
}

/// Connects without ever waiting: `ECONNREFUSED` if nobody listens (any more),
/// `EAGAIN` if the listener's queue is full. The stream is non-blocking.
pub fn connect_now(path: &Path) -> Result<UnixStream, Errno> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

/// The pid that listens at a socket; `None` if it was left over.
fn occupant(path: &Path) -> Result<Option<i32>, Error> {
    let fail = |errno| Error::os(path.display(), errno);
    match connect_now(path) {
        Ok(stream) => getsockopt(&stream, sockopt::PeerCredentials)
            .map(|credentials| Some(credentials.pid()))
            .map_err(fail),
        Err(Errno::ECONNREFUSED) => Ok(None),
        Err(Errno::EAGAIN) => Err(Error::refused(format!(
            "{} is served already, by a process that does not answer",
            path.display()
        ))),
        Err(errno) => Err(fail(errno)),
    }
}
