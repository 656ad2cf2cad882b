// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parent process: listens, forks, reaps.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::prctl;
use nix::sys::signal::{kill, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, getpid, getppid, ForkResult, Pid};
use tempfile::TempDir;
use wormhole_transport::{Config, Connection, Error, Listener, DEFAULT_DEVICE};

use crate::client;
use crate::options::Options;

/// How long clients' processes may take to end when the server does.
const GRACE: Duration = Duration::from_secs(2);

/// A client's process.
struct Child {
    name: String,
    /// The number of the listener that took the client in.
    listener: usize,
}

/// Where program binaries are kept.
enum Store {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Store {
    fn open(options: &Options) -> anyhow::Result<Self> {
        let Some(path) = &options.binaries else {
            let directory = tempfile::Builder::new()
                .prefix("wormhole-server-")
                .tempdir()
                .context("no temporary directory for programs")?;
            return Ok(Store::Temporary(directory));
        };
        let open = || {
            fs::create_dir_all(path)?;
            // Who could write here could have the server run what they like.
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        };
        open().with_context(|| format!("cannot keep programs in {}", path.display()))?;
        Ok(Store::Kept(path.clone()))
    }

    fn path(&self) -> &Path {
        match self {
            Store::Kept(path) => path,
            Store::Temporary(directory) => directory.path(),
        }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start, or the kernel refuses what it needs to go on.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect();
    signals.thread_block()?;
    let signal_fd = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    probe(options)?;
    let store = Store::open(options)?;
    let mut listeners = listen(options)?;
    let mut children = HashMap::new();
    let parent = getpid();
    loop {
        let ready = wait(&signal_fd, &listeners)?;
        while let Some(signal) = signal_fd.read_signal()? {
            match Signal::try_from(signal.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => reap(&mut children)?,
                Ok(signal) => {
                    log::info!("{signal}: ending");
                    return end(children, &signal_fd);
                }
                Err(_) => {}
            }
        }
        for number in ready {
            let several = listeners.len() > 1;
            let (config, listener) = &mut listeners[number];
            let connection = match accept(listener) {
                Ok(Some(connection)) => connection,
                Ok(None) => continue,
                Err(error) => {
                    log::warn!("cannot take in a client: {error}");
                    continue;
                }
            };
            let name = match several {
                true => format!("{listener}, {connection}"),
                false => connection.to_string(),
            };
            let served = children.values().filter(|child| child.listener == number);
            let served = served.count();
            if served >= options.max_clients {
                log::warn!("{name}: turned away, {served} clients are served");
                continue;
            }
            // SAFETY: this process has one thread.
            match unsafe { fork() } {
                Ok(ForkResult::Parent { child }) => {
                    log::info!("{name}: served by process {child}");
                    let listener = number;
                    children.insert(child, Child { name, listener });
                }
                Ok(ForkResult::Child) => {
                    let config = config.clone();
                    drop(listeners);
                    drop(signal_fd);
                    // The parent removes it.
                    let store = std::mem::ManuallyDrop::new(store);
                    become_child(parent, &signals, || {
                        serve(options, store.path(), &config, connection, &name)
                    })
                }
                Err(error) => log::warn!("{name}: cannot fork: {error}"),
            }
        }
    }
}

/// Takes a client in, if there is one: one that went again must not keep the others waiting.
fn accept(listener: &mut Listener) -> anyhow::Result<Option<Connection>> {
    // Each time: it may have another file descriptor than before.
    fcntl(listener.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    match listener.accept() {
        Ok(connection) => Ok(Some(connection)),
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn listen(options: &Options) -> anyhow::Result<Vec<(Config, Listener)>> {
    let mut configs: Vec<_> = options.tcp.iter().map(Config::tcp).collect();
    configs.extend(options.vsock.iter().copied().map(Config::vsock));
    configs.extend(options.ring.iter().map(Config::ring));
    configs.extend(options.memfd.iter().map(Config::memfd));
    if configs.is_empty() {
        configs.extend(
            wormhole_transport::server_devices()
                .iter()
                .map(Config::ring),
        );
    }
    if configs.is_empty() {
        // Says why it cannot be served.
        configs.push(Config::ring(DEFAULT_DEVICE));
    }
    let mut listeners = Vec::with_capacity(configs.len());
    for mut config in configs {
        config.limits.max_message = options.max_message;
        let listener = wormhole_transport::listen(&config)?;
        log::info!("listening on {listener}");
        listeners.push((config, listener));
    }
    Ok(listeners)
}

/// Numbers of the listeners that have a client, when there is one or a signal.
fn wait(signal_fd: &SignalFd, listeners: &[(Config, Listener)]) -> anyhow::Result<Vec<usize>> {
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(signal_fd.as_fd())
        .chain(listeners.iter().map(|(_, listener)| listener.as_fd()))
        .collect();
    let mut polled: Vec<_> = fds.into_iter().map(readable).collect();
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("poll"),
    }
    let ready = polled[1..].iter().enumerate();
    Ok(ready
        .filter(|(_, fd)| fd.any().unwrap_or(false))
        .map(|(number, _)| number)
        .collect())
}

/// Runs `work` as the rest of this process, which is a child.
fn become_child(parent: Pid, signals: &SigSet, work: impl FnOnce() -> bool) -> ! {
    let set_up = || {
        signals.thread_unblock()?;
        prctl::set_pdeathsig(Signal::SIGKILL)
    };
    // A parent that died before the line above sends no signal.
    let good = set_up().is_ok() && getppid() == parent && work();
    // SAFETY: _exit only ends the process. Not exit: vendors' libraries may
    // hang in their handlers, and the kernel releases everything anyway.
    unsafe { nix::libc::_exit(if good { 0 } else { 1 }) }
}

fn serve(
    options: &Options,
    binaries: &Path,
    config: &Config,
    connection: Connection,
    name: &str,
) -> bool {
    match client::serve(options, binaries, config, connection) {
        Ok(()) => {
            log::info!("{name}: gone");
            true
        }
        Err(error) => {
            log::warn!("{name}: {error:#}");
            false
        }
    }
}

/// Looks, in a child, whether there is an OpenCL to serve.
fn probe(options: &Options) -> anyhow::Result<()> {
    let parent = getpid();
    // SAFETY: this process has one thread.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Child => {
            become_child(parent, &SigSet::all(), || match client::probe(options) {
                Ok(()) => true,
                Err(error) => {
                    log::error!("{error:#}");
                    false
                }
            })
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Signaled(_, signal, _) => {
                bail!("the OpenCL library crashed when asked for its platforms ({signal})")
            }
            _ => bail!("there is no OpenCL to serve"),
        },
    }
}

fn reap(children: &mut HashMap<Pid, Child>) -> anyhow::Result<()> {
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => continue,
            status => status.context("waitpid")?,
        };
        let child = status.pid().and_then(|pid| children.remove(&pid));
        let name = child.as_ref().map_or("?", |child| &child.name);
        match status {
            WaitStatus::Signaled(pid, signal, _) => {
                log::error!("{name}: process {pid} was killed by {signal}; the client is lost");
            }
            WaitStatus::Exited(pid, code) => log::debug!("{name}: process {pid} ended ({code})"),
            _ => {}
        }
    }
}

/// Ends the clients' processes, and takes them along.
fn end(mut children: HashMap<Pid, Child>, signal_fd: &SignalFd) -> anyhow::Result<()> {
    let deadline = Instant::now() + GRACE;
    let mut signal = Signal::SIGTERM;
    while !children.is_empty() {
        for child in children.keys() {
            // One that is gone needs no signal.
            let _ = kill(*child, signal);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(signal_fd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if let Ok(0) = poll(&mut polled, timeout) {
            signal = Signal::SIGKILL;
        }
        while signal_fd.read_signal()?.is_some() {}
        // A child that was told to end is no loss.
        let gone: Vec<_> = children
            .keys()
            .copied()
            .filter(|child| {
                !matches!(
                    waitpid(*child, Some(WaitPidFlag::WNOHANG)),
                    Ok(WaitStatus::StillAlive)
                )
            })
            .collect();
        for child in gone {
            children.remove(&child);
        }
    }
    Ok(())
}
