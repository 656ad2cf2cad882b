// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl pair`

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use wormhole_window::{Name, Role};

use super::order;
use crate::cli::{Cli, Pair};
use crate::control::{Control, Op, Response};
use crate::error::{Error, Kind};
use crate::host::{Device, Host};
use crate::pairing_file::{has_hung_up, statistics};
use crate::process::{ProcFs, Process, Processes};
use crate::socket::{Paths, RunDir};
use crate::status::{Holder, PairingState, PairingStatus, Status, VmState, VmStatus};
use crate::stop;

pub fn run(cli: &Cli, args: &Pair) -> Result<(), Error> {
    match (args.name, args.client, args.server) {
        (Some(name), ..) => order(cli, name, Op::Pair),
        (None, Some(client), Some(server)) => hold(cli, client, server, args.label),
        _ => Err(Error::usage("a name, or --client and --server")),
    }
}

/// A pairing of two processes' VMs, held by this process.
struct Held {
    name: Name,
    client: i32,
    server: i32,
    started: Instant,
    pairing: OwnedFd,
    control: Control,
}

fn hold(cli: &Cli, client: i32, server: i32, label: Option<Name>) -> Result<(), Error> {
    if client == server {
        return Err(Error::usage("--client and --server name the same process"));
    }
    let name = match label {
        Some(name) => name,
        None => Name::new(&format!("pair-{server}-{client}"))
            .map_err(|error| Error::usage(error.to_string()))?,
    };
    let paths = Paths::new(&cli.run_dir, name)?;
    let stop = stop::signals()?;
    let device = Device::new(&cli.device)?;

    let run_dir = RunDir::lock(&cli.run_dir)?;
    run_dir.claim(&[paths.control()])?;
    let pairing = pair(&device, client, server, &name)?;
    let control = Control::new(run_dir.listen(&paths.control(), None)?);
    drop(run_dir);
    log::info!("{name}: paired");

    let mut held = Held {
        name,
        client,
        server,
        started: Instant::now(),
        pairing,
        control,
    };
    held.run(stop.as_fd())
}

/// The key of a window of `serve --no-pair`.
const KEY: u32 = 0;

/// Pairs the VMs of two processes; the VMs themselves are not kept.
fn pair(host: &impl Host, client: i32, server: i32, name: &Name) -> Result<OwnedFd, Error> {
    let client_vm = vm(client)?;
    let server_vm = vm(server)?;
    host.pair(client_vm.as_fd(), server_vm.as_fd(), name, KEY, None)
        .map_err(|error| Error::new(Kind::of_errno(error.errno()), error.to_string()))
}

fn vm(pid: i32) -> Result<OwnedFd, Error> {
    let fail = |errno| match errno {
        Errno::ESRCH | Errno::EINVAL => Error::not_there(format!("no process has pid {pid}")),
        errno => Error::os(format!("cannot look into pid {pid}"), errno),
    };
    ProcFs
        .open(pid)
        .and_then(|process| process.vm())
        .map_err(fail)?
        .ok_or_else(|| Error::not_there(format!("pid {pid} has no KVM VM")))
}

impl Held {
    fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), Error> {
        loop {
            if self.wait(stop)? {
                log::info!("{}: unpaired", self.name);
                return Ok(());
            }
            if has_hung_up(&self.pairing) {
                let text = format!("{}: a VM has gone, unpaired", self.name);
                return Err(Error::new(Kind::NotThere, text));
            }
            let mut ended = false;
            for (id, op) in self.control.receive(Instant::now()) {
                let response = match op {
                    Op::Stat => Response::Status(Box::new(self.status())),
                    Op::Pair => Response::Done(format!("{} is paired", self.name)),
                    Op::Unpair => {
                        ended = true;
                        Response::Done(format!("{} is unpaired", self.name))
                    }
                };
                self.control.respond(id, &response);
            }
            self.control.flush();
            if ended {
                log::info!("{}: unpaired on request", self.name);
                return Ok(());
            }
        }
    }

    /// Waits until something happens; true if that is to stop.
    fn wait(&self, stop: BorrowedFd<'_>) -> Result<bool, Error> {
        let (listener, connections) = self.control.interest();
        let mut fds = vec![
            PollFd::new(stop, PollFlags::POLLIN),
            PollFd::new(self.pairing.as_fd(), PollFlags::empty()),
        ];
        fds.extend(listener.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        fds.extend(connections.map(|(stream, flags)| PollFd::new(stream.as_fd(), flags)));
        let timeout = self.control.deadline().map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(fds[0].any().unwrap_or(false)),
            Err(errno) => Err(Error::os("poll", errno)),
        }
    }

    fn status(&self) -> Status {
        let uptime_s = self.started.elapsed().as_secs();
        let vm = |role: Role, pid| VmStatus {
            role: role.to_string(),
            state: VmState::Connected,
            pid: Some(pid),
            connected_s: Some(uptime_s),
            link: None,
            kvm: None,
        };
        Status {
            name: self.name.to_string(),
            holder: Holder::Pair,
            pid: std::process::id(),
            uptime_s,
            pairing: PairingStatus {
                state: PairingState::Paired,
                reason: None,
                statistics: statistics(&self.pairing),
            },
            vms: vec![vm(Role::Server, self.server), vm(Role::Client, self.client)],
            window: None,
        }
    }
}
