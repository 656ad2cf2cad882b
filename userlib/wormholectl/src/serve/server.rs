// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The service of one pairing: one thread, which waits in poll(2) alone.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use wormhole_window::{Header, Link, Name, Role};

use super::eventfd::Vectors;
use super::ivshmem::Message;
use super::pairing::{Action, Failure, Pairing};
use super::peer::{refuse, Peer, Phase, Speech};
use super::window_memory::WindowMemory;
use super::Config;
use crate::control::{Control, Op, Response};
use crate::error::Error;
use crate::host::Host;
use crate::pairing_file::{has_hung_up, statistics};
use crate::process::{Process, Processes};
use crate::socket::{Paths, RunDir, Socket};
use crate::status::{
    FunctionStatus, Holder, PairingState, PairingStatus, Status, VmState, VmStatus, WindowStatus,
};

/// How long a connected process may take to make its KVM VM.
pub const SEEK_LIMIT: Duration = Duration::from_secs(15);
/// Time between two looks for it.
const SEEK_INTERVAL: Duration = Duration::from_millis(50);

/// The server of one pairing.
///
/// # Invariants
/// `links[role]` is up exactly while `peers[role]` is served, and is what the
/// window's `link[role]` was last set to. `pairing_fd` is there exactly while
/// `pairing` is paired.
pub struct Server<H, P: Processes> {
    name: Name,
    pair: bool,
    started: Instant,
    window: WindowMemory,
    links: [Link; 2],
    sockets: [Socket; 2],
    /// Each role's, the same ones for every VM that ever has it: a VM that
    /// stays cannot be given new ones of the other (see [`super::ivshmem`]).
    vectors: [Vectors; 2],
    peers: [Option<Peer<P::Process>>; 2],
    control: Control,
    pairing: Pairing,
    pairing_fd: Option<OwnedFd>,
    host: H,
    processes: P,
}

impl<H: Host, P: Processes> Server<H, P> {
    /// Makes the window and its sockets; the control socket comes last.
    pub fn new(config: &Config, host: H, processes: P) -> Result<Server<H, P>, Error> {
        let paths = Paths::new(&config.run_dir, config.name)?;
        let run_dir = RunDir::lock(&config.run_dir)?;
        // The control socket first: a visitor there disturbs nobody.
        run_dir.claim(&[
            paths.control(),
            paths.vm(Role::Server),
            paths.vm(Role::Client),
        ])?;
        // That of a window whose VMs somebody else pairs must be known.
        let key = if config.pair { random_key()? } else { 0 };
        let window = WindowMemory::new(Header {
            layout: config.layout,
            name: config.name,
            key,
        })?;
        let sockets = [
            run_dir.listen(&paths.vm(Role::Server), config.group)?,
            run_dir.listen(&paths.vm(Role::Client), config.group)?,
        ];
        let vectors = || Vectors::new().map_err(|errno| Error::os("eventfd", errno));
        let vectors = [vectors()?, vectors()?];
        let control = Control::new(run_dir.listen(&paths.control(), None)?);
        Ok(Server {
            name: config.name,
            pair: config.pair,
            started: Instant::now(),
            window,
            links: [Link::default(); 2],
            sockets,
            vectors,
            peers: [None, None],
            control,
            pairing: Pairing::new(config.pair),
            pairing_fd: None,
            host,
            processes,
        })
    }

    /// Serves until `stop` is readable.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), Error> {
        loop {
            if self.wait(stop)? {
                return Ok(());
            }
            self.progress(Instant::now());
        }
    }

    /// Does all that can be done now, without waiting.
    pub fn progress(&mut self, now: Instant) {
        for role in Role::ALL {
            self.hear(role, now);
            self.admit(role, now);
            self.seek(role, now);
        }
        if self.pairing_fd.as_ref().is_some_and(has_hung_up) {
            log::info!("{}: the kernel ended the pairing: a VM has gone", self.name);
            let action = self.pairing.hung_up(now);
            self.act(action, now);
        }
        let action = self.pairing.elapsed(now);
        self.act(action, now);
        for (id, op) in self.control.receive(now) {
            let response = self.answer(op, now);
            self.control.respond(id, &response);
        }
        self.control.flush();
        for role in Role::ALL {
            self.flush(role, now);
        }
    }

    /// Waits until something can be done; true if that is to stop.
    fn wait(&self, stop: BorrowedFd<'_>) -> Result<bool, Error> {
        let (control, controlled) = self.control.interest();
        let mut fds = vec![PollFd::new(stop, PollFlags::POLLIN)];
        let listeners = self.sockets.iter().filter_map(Socket::interest);
        fds.extend(
            listeners
                .chain(control)
                .map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)),
        );
        let streams = self.peers.iter().flatten().map(Peer::interest);
        fds.extend(
            streams
                .chain(controlled)
                .map(|(stream, flags)| PollFd::new(stream.as_fd(), flags)),
        );
        // Hanging up is always reported.
        let pairing = self.pairing_fd.as_ref();
        fds.extend(pairing.map(|fd| PollFd::new(fd.as_fd(), PollFlags::empty())));

        let timeout = match self.deadline() {
            None => PollTimeout::NONE,
            Some(at) => {
                // Rounded up, so as not to wake before it.
                let left = at.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(fds[0].any().unwrap_or(false)),
            Err(errno) => Err(Error::os("poll", errno)),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let seeking = self
            .peers
            .iter()
            .flatten()
            .any(|peer| matches!(peer.phase, Phase::Seeking { .. }));
        seeking
            .then(|| Instant::now() + SEEK_INTERVAL)
            .into_iter()
            .chain(self.pairing.deadline())
            .chain(self.control.deadline())
            .chain(self.sockets.iter().filter_map(Socket::deadline))
            .min()
    }

    /// Notices that a VM's QEMU has gone.
    fn hear(&mut self, role: Role, now: Instant) {
        let Some(peer) = &self.peers[role.index()] else {
            return;
        };
        match peer.listen() {
            Speech::Quiet => {}
            Speech::Closed => self.leave(role, "its connection closed", now),
            Speech::Spoke => self.leave(role, "it is no ivshmem client: it sends data", now),
        }
    }

    /// Lets in who connects to a role's socket, one at a time.
    fn admit(&mut self, role: Role, now: Instant) {
        while let Some((stream, credentials)) = self.sockets[role.index()].accept(now) {
            let pid = credentials.pid();
            // A QEMU that was restarted at once may be here before we have
            // heard of the end of the former one.
            self.hear(role, now);
            match &self.peers[role.index()] {
                Some(holder) => {
                    log::warn!(
                        "{}: {role} VM of pid {pid} refused: pid {} is connected",
                        self.name,
                        holder.pid
                    );
                    refuse(&stream, Errno::EBUSY);
                }
                None => self.enter(role, stream, pid, now),
            }
        }
    }

    fn enter(&mut self, role: Role, stream: UnixStream, pid: i32, now: Instant) {
        let name = self.name;
        if !self.pair {
            log::debug!("{name}: {role} VM: pid {pid} connected");
            self.serve(role, stream, pid, None, now);
            return;
        }
        match self.processes.open(pid) {
            Ok(process) => {
                log::debug!("{name}: {role} VM: pid {pid} connected, looking for its KVM VM");
                let until = now + SEEK_LIMIT;
                let peer = Peer::seeking(stream, pid, now, process, until);
                self.peers[role.index()] = Some(peer);
            }
            Err(errno) => {
                let why = match pid {
                    0 => "its process is in another pid namespace",
                    _ => errno.desc(),
                };
                log::error!("{name}: {role} VM of pid {pid} refused: {why}");
                refuse(&stream, errno);
            }
        }
    }

    /// Looks whether a connected process has its VM by now.
    fn seek(&mut self, role: Role, now: Instant) {
        let peer = self.peers[role.index()].take_if(|p| matches!(p.phase, Phase::Seeking { .. }));
        let Some(peer) = peer else {
            return;
        };
        let Phase::Seeking { process, until } = &peer.phase else {
            return;
        };
        let refusal = match process.vm() {
            Ok(Some(_)) => None,
            Ok(None) if now < *until => {
                self.peers[role.index()] = Some(peer);
                return;
            }
            Ok(None) => Some((
                Errno::ENXIO,
                "it made no KVM VM in time (QEMU without -accel kvm? see --no-pair)",
            )),
            Err(errno) => Some((errno, errno.desc())),
        };
        if let Some((errno, why)) = refusal {
            log::error!(
                "{}: {role} VM of pid {} refused: {why}",
                self.name,
                peer.pid
            );
            peer.refuse(errno);
            return;
        }
        let pid = peer.pid;
        let (stream, phase) = peer.into_parts();
        if let Phase::Seeking { process, .. } = phase {
            self.serve(role, stream, pid, Some(process), now);
        }
    }

    /// Gives a VM the window and both VMs' vectors, and interrupts the other.
    fn serve(
        &mut self,
        role: Role,
        stream: UnixStream,
        pid: i32,
        process: Option<P::Process>,
        now: Instant,
    ) {
        self.window.write_header();
        // Rung while this role had no VM, or by the former one's.
        self.vectors[role.index()].drain();
        let vectors = |role: Role| {
            self.vectors[role.index()]
                .iter()
                .map(move |fd| Message::vector(role.peer_id(), Arc::clone(fd)))
        };
        let handshake = [
            Message::version(),
            Message::own_id(role.peer_id()),
            Message::shared_memory(Arc::clone(self.window.fd())),
        ];
        let handshake = handshake
            .into_iter()
            .chain(vectors(role.peer()))
            .chain(vectors(role));
        let peer = Peer::served(stream, pid, now, process, handshake);
        self.peers[role.index()] = Some(peer);
        self.set_link(role, self.links[role.index()].connected());
        log::info!("{}: {role} VM connected (pid {pid})", self.name);
        self.flush(role, now);
        // That may have lost it again.
        if self.peers[role.index()].is_some() {
            let action = self.pairing.attached(role);
            self.act(action, now);
        }
    }

    /// Ends a connection, and with it all that its VM had open.
    fn leave(&mut self, role: Role, why: &str, now: Instant) {
        let Some(peer) = self.peers[role.index()].take() else {
            return;
        };
        if !peer.is_served() {
            log::warn!(
                "{}: {role} VM of pid {} has gone before it was up: {why}",
                self.name,
                peer.pid
            );
            return;
        }
        let action = self.pairing.detached(role);
        self.act(action, now);
        self.window.close_channels(role);
        self.set_link(role, self.links[role.index()].disconnected());
        log::info!(
            "{}: {role} VM disconnected (pid {}): {why}",
            self.name,
            peer.pid
        );
        if self.peers.iter().flatten().all(|peer| !peer.is_served()) {
            // Nobody is left to see it: the next VMs get a window of zeros.
            if let Err(errno) = self.window.clear_channels() {
                log::error!("{}: cannot clear the window: {}", self.name, errno.desc());
            }
        }
    }

    fn flush(&mut self, role: Role, now: Instant) {
        let flushed = self.peers[role.index()].as_mut().map(Peer::flush);
        if let Some(Err(errno)) = flushed {
            self.leave(role, errno.desc(), now);
        }
    }

    /// Writes a link word and interrupts the other VM.
    fn set_link(&mut self, role: Role, link: Link) {
        self.links[role.index()] = link;
        self.window.write_link(role, link);
        self.vectors[role.peer().index()].signal_link();
    }

    fn act(&mut self, action: Option<Action>, now: Instant) {
        match action {
            None => {}
            Some(Action::Release) => {
                self.pairing_fd = None;
                log::info!("{}: unpaired", self.name);
            }
            Some(Action::Attempt) => {
                let before = self.pairing.failure();
                let result = self.attempt();
                let (outcome, fd) = match result {
                    Ok(fd) => (Ok(()), Some(fd)),
                    Err(failure) => (Err(failure), None),
                };
                self.pairing_fd = fd;
                self.pairing.attempted(outcome, now);
                match outcome {
                    Ok(()) => log::info!("{}: paired", self.name),
                    // Said once, however often it is tried.
                    Err(failure) if before == Some(failure) => {
                        log::debug!("{}: not paired: {failure}", self.name);
                    }
                    Err(failure) => log::error!("{}: not paired: {failure}", self.name),
                }
            }
        }
    }

    /// Takes both VMs, pairs them and lets go of them: holding one would keep
    /// it alive.
    fn attempt(&self) -> Result<OwnedFd, Failure> {
        let client = self.take_vm(Role::Client)?;
        let server = self.take_vm(Role::Server)?;
        let event = self.vectors[Role::Server.index()].channel();
        self.host
            .pair(
                client.as_fd(),
                server.as_fd(),
                &self.name,
                self.window.key(),
                Some(event),
            )
            .map_err(Failure::Host)
    }

    fn take_vm(&self, role: Role) -> Result<OwnedFd, Failure> {
        let gone = Failure::Vm(role, Errno::ESRCH);
        match self.peers[role.index()].as_ref().map(|peer| &peer.phase) {
            Some(Phase::Served {
                process: Some(process),
            }) => process
                .vm()
                .map_err(|errno| Failure::Vm(role, errno))?
                .ok_or(gone),
            _ => Err(gone),
        }
    }

    fn answer(&mut self, op: Op, now: Instant) -> Response {
        let name = self.name;
        match op {
            Op::Stat => Response::Status(Box::new(self.status(now))),
            Op::Unpair if !self.pair => {
                Response::Error(Error::refused(format!("{name} is served with --no-pair")))
            }
            Op::Unpair => {
                let action = self.pairing.hold();
                self.act(action, now);
                Response::Done(format!(
                    "{name} is unpaired and stays so until `wormholectl pair {name}`"
                ))
            }
            Op::Pair if !self.pair => {
                Response::Error(Error::refused(format!("{name} is served with --no-pair")))
            }
            Op::Pair => {
                let action = self.pairing.release_hold();
                self.act(action, now);
                match (self.pairing.state(), self.pairing.failure()) {
                    (PairingState::Paired, _) => Response::Done(format!("{name} is paired")),
                    (_, Some(failure)) => Response::Error(Error::failure(failure.to_string())),
                    _ => Response::Done(format!("{name} pairs when both VMs are there")),
                }
            }
        }
    }

    fn status(&self, now: Instant) -> Status {
        let since = |start: Instant| now.saturating_duration_since(start).as_secs();
        let vms = Role::ALL.map(|role| {
            let peer = self.peers[role.index()].as_ref();
            VmStatus {
                role: role.to_string(),
                state: match peer.map(|peer| &peer.phase) {
                    None => VmState::Absent,
                    Some(Phase::Seeking { .. }) => VmState::Starting,
                    Some(Phase::Served { .. }) => VmState::Connected,
                },
                pid: peer.map(|peer| peer.pid),
                connected_s: peer.map(|peer| since(peer.since)),
                link: Some(self.links[role.index()].0),
                kvm: None,
            }
        });
        let layout = self.window.layout();
        let functions = self.window.function_counts().unwrap_or_else(|errno| {
            log::error!("{}: cannot read the window: {}", self.name, errno.desc());
            Vec::new()
        });
        Status {
            name: self.name.to_string(),
            holder: Holder::Serve,
            pid: std::process::id(),
            uptime_s: since(self.started),
            pairing: PairingStatus {
                state: self.pairing.state(),
                reason: self.pairing.failure().map(|failure| failure.to_string()),
                statistics: self.pairing_fd.as_ref().map(statistics).unwrap_or_default(),
            },
            vms: vms.into(),
            window: Some(WindowStatus {
                size: layout.size(),
                channel_size: layout.channel_size(),
                channels: layout.channels(),
                open: self.window.open_channels(),
                functions: FunctionStatus::used(&functions),
            }),
        }
    }
}

/// A number that no VM can know before.
fn random_key() -> Result<u32, Error> {
    const SOURCE: &str = "/dev/urandom";
    let mut key = [0; size_of::<u32>()];
    File::open(SOURCE)
        .and_then(|mut file| file.read_exact(&mut key))
        .map_err(|error| Error::io(SOURCE, &error))?;
    Ok(u32::from_ne_bytes(key))
}

impl<H, P: Processes> Drop for Server<H, P> {
    /// Nobody keeps the links any more: both are down.
    fn drop(&mut self) {
        for role in Role::ALL {
            self.window.close_channels(role);
            self.window
                .write_link(role, self.links[role.index()].disconnected());
        }
        self.vectors.iter().for_each(Vectors::signal_link);
        for peer in self.peers.iter().flatten() {
            if !peer.is_served() {
                peer.refuse(Errno::ESHUTDOWN);
            }
        }
    }
}
