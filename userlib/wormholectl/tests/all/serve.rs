// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server, driven step by step: what it does for QEMUs that behave, and
//! for those that do not.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag, SealFlag};
use tempfile::TempDir;
use wormhole_window::{Layout, Link, Name, Role};
use wormholectl::error::Kind;
use wormholectl::host::PairError;
use wormholectl::serve::{Config, Server, RETRY, SEEK_LIMIT};

use crate::fake_host::{FakeHost, FakeProcess, FakeProcesses};
use crate::fake_qemu::{Device, FakeQemu};

/// A server that pairs, in a run directory of its own.
pub struct Scene {
    pub server: Option<Server<FakeHost, FakeProcesses>>,
    pub now: Instant,
    pub dir: TempDir,
    pub host: FakeHost,
    pub processes: FakeProcesses,
}

impl Scene {
    pub fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let host = FakeHost::default();
        let processes = FakeProcesses::default();
        let config = config(&dir);
        let server = Server::new(&config, host.clone(), processes.clone()).unwrap();
        Scene {
            server: Some(server),
            now: Instant::now(),
            dir,
            host,
            processes,
        }
    }

    pub fn step(&mut self) {
        self.server.as_mut().unwrap().progress(self.now);
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.step();
    }

    pub fn path(&self, kind: &str) -> PathBuf {
        self.dir.path().join(format!("gpu0.{kind}.sock"))
    }

    fn dial(&mut self, role: Role, process: &FakeProcess) -> FakeQemu {
        self.processes.expect(process);
        FakeQemu::connect(&self.path(role.as_str()))
    }

    /// A QEMU with a VM that has done its handshake.
    fn join(&mut self, role: Role) -> (FakeQemu, Device) {
        let process = FakeProcess::with_vm();
        self.host.expect(role, &process);
        let qemu = self.dial(role, &process);
        self.step();
        let device = qemu.handshake();
        (qemu, device)
    }

    /// Two VMs, paired.
    pub fn pair(&mut self) -> [(FakeQemu, Device); 2] {
        let processes = [FakeProcess::with_vm(), FakeProcess::with_vm()];
        self.host.expect(Role::Server, &processes[0]);
        self.host.expect(Role::Client, &processes[1]);
        let server = self.dial(Role::Server, &processes[0]);
        self.step();
        let server_device = server.handshake();
        let client = self.dial(Role::Client, &processes[1]);
        self.step();
        let client_device = client.handshake();
        assert_eq!(server.numbers(), []);
        assert_eq!(self.host.held(), 1);
        assert!(processes.iter().all(|process| !process.vm_is_held()));
        [(server, server_device), (client, client_device)]
    }
}

fn config(dir: &TempDir) -> Config {
    Config {
        name: Name::new("gpu0").unwrap(),
        layout: Layout::new(1 << 20, 1 << 18).unwrap(),
        run_dir: dir.path().into(),
        group: None,
        pair: true,
    }
}

#[test]
fn each_window_has_a_key_of_its_own() {
    let keys = [(); 2].map(|()| {
        let mut scene = Scene::new();
        let [(_s, server), (_c, client)] = scene.pair();
        let key = server.header().key;
        assert_eq!(client.header().key, key);
        assert_eq!(scene.host.key(), Some(key));
        key
    });
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn the_key_is_known_where_somebody_else_pairs() {
    let mut scene = Scene::new();
    scene.server = None;
    let config = Config {
        pair: false,
        ..config(&scene.dir)
    };
    let server = Server::new(&config, scene.host.clone(), scene.processes.clone());
    scene.server = Some(server.unwrap());
    let qemu = FakeQemu::connect(&scene.path("server"));
    scene.step();
    assert_eq!(qemu.handshake().header().key, 0);
}

#[test]
fn handshakes() {
    let mut scene = Scene::new();
    let [(_s, server), (_c, client)] = scene.pair();
    assert_eq!((server.id, client.id), (0, 1));

    for device in [&server, &client] {
        let header = device.header();
        assert_eq!(header.layout, Layout::new(1 << 20, 1 << 18).unwrap());
        assert_eq!(header.name.as_str(), "gpu0");
        let seals =
            SealFlag::from_bits_retain(fcntl(&device.window, FcntlArg::F_GET_SEALS).unwrap());
        let wanted = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        assert!(seals.contains(wanted));
        assert!(!seals.intersects(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_FUTURE_WRITE));
    }
    // One memory.
    server.write_word(1 << 19, 77);
    assert_eq!(client.read_word(1 << 19), 77);
    // The client's doorbell is the server's interrupt, vector by vector.
    server.raised(1);
    client.ring(0);
    assert_eq!((server.raised(0), server.raised(1)), (1, 0));
    // And so is a call that hops home.
    scene.host.signal();
    assert_eq!((server.raised(0), server.raised(1)), (1, 0));
}

#[test]
fn links_and_their_interrupt() {
    let mut scene = Scene::new();
    let [(_s, server), (client, device)] = scene.pair();
    assert_eq!(server.link(Role::Server), Link(1));
    assert_eq!(server.link(Role::Client), Link(1));
    assert_eq!((server.raised(0), server.raised(1)), (0, 1));
    assert_eq!((device.raised(0), device.raised(1)), (0, 0));
    drop(client);
    scene.step();
    assert_eq!(server.link(Role::Client), Link(2));
    assert_eq!((server.raised(0), server.raised(1)), (0, 1));
    let (_client, device) = scene.join(Role::Client);
    assert_eq!(device.link(Role::Client), Link(3));
    assert_eq!(device.link(Role::Server), Link(1));
    assert_eq!((server.raised(0), server.raised(1)), (0, 1));
}

#[test]
fn a_vm_that_goes_leaves_nothing_open() {
    let mut scene = Scene::new();
    let [(qemu, server), (client, device)] = scene.pair();
    let layout = server.header().layout;
    for role in Role::ALL {
        for channel in [0, 2] {
            let offset = layout.state_offset(channel, role).unwrap();
            device.write_word(offset, 5);
        }
    }
    drop(client);
    scene.step();
    let state = |channel, role| server.read_word(layout.state_offset(channel, role).unwrap());
    for channel in [0, 2] {
        assert_eq!(state(channel, Role::Client), 0);
        assert_eq!(state(channel, Role::Server), 5);
    }
    assert_eq!(scene.host.held(), 0);
    assert_eq!(qemu.numbers(), []);
}

#[test]
fn a_qemu_hears_nothing_of_the_other_and_keeps_its_vectors() {
    for role in Role::ALL {
        let mut scene = Scene::new();
        let mut pair = scene.pair().map(Some);
        let (survivor, stays) = pair[role.peer().index()].take().unwrap();
        let mut other = pair[role.index()].take();
        stays.raised(1);
        for _ in 0..3 {
            drop(other.take());
            scene.step();
            assert_eq!(survivor.numbers(), []);
            // Interrupts to nobody, which the next VM does not get.
            stays.ring(0);
            stays.ring(1);
            let (qemu, comes) = scene.join(role);
            assert_eq!(survivor.numbers(), []);
            assert_eq!((comes.raised(0), comes.raised(1)), (0, 0));
            // The link, down and up.
            assert_eq!((stays.raised(0), stays.raised(1)), (0, 2));
            for (from, to) in [(&stays, &comes), (&comes, &stays)] {
                from.ring(0);
                assert_eq!((to.raised(0), to.raised(1)), (1, 0));
                from.ring(1);
                assert_eq!((to.raised(0), to.raised(1)), (0, 1));
            }
            other = Some((qemu, comes));
        }
    }
}

#[test]
fn eventfds_that_a_qemu_made_blocking_do_not_stop_the_server() {
    for full in [false, true] {
        let mut scene = Scene::new();
        let (_server, device) = scene.join(Role::Server);
        for file in device.own.iter().chain(&device.peer) {
            if full {
                for count in [u64::MAX - 2, 1] {
                    // Fails where it was signalled before: then it is full.
                    let _ = { file }.write(&count.to_ne_bytes());
                }
                let error = { file }.write(&1u64.to_ne_bytes()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
            fcntl(file, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        }
        // Drains the client's, signals the server's.
        let (_client, comes) = scene.join(Role::Client);
        for file in &comes.own {
            fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        }
        assert_eq!((comes.raised(0), comes.raised(1)), (0, 0));
        scene.server = None;
    }
}

#[test]
fn a_restarted_qemu_is_paired_again() {
    for role in Role::ALL {
        let mut scene = Scene::new();
        let mut pair = scene.pair().map(Some);
        pair[role.index()] = None;
        scene.step();
        assert_eq!((scene.host.attempts(), scene.host.held()), (1, 0));
        let _qemu = scene.join(role);
        assert_eq!((scene.host.attempts(), scene.host.held()), (2, 1));
    }
}

#[test]
fn the_window_is_zeros_again_when_both_have_gone() {
    let mut scene = Scene::new();
    let pair = scene.pair();
    // In the middle of a channel, where only user space writes.
    let data = (1 << 19) + 4096;
    pair[0].1.write_word(data, 0x5ec3e7);
    pair[0].1.write_word(0, 0);
    drop(pair);
    scene.step();
    let (_qemu, device) = scene.join(Role::Server);
    assert_eq!(device.read_word(data), 0);
    // The header too is whole again.
    assert_eq!(device.header().name.as_str(), "gpu0");
    assert_eq!(device.link(Role::Server), Link(3));
    assert_eq!(device.link(Role::Client), Link(2));
}

#[test]
fn a_second_vm_is_refused_and_the_first_goes_on() {
    let mut scene = Scene::new();
    let [(server, _), (client, device)] = scene.pair();
    let second = FakeQemu::connect(&scene.path("client"));
    scene.step();
    second.assert_refused(Errno::EBUSY);
    assert!(client.numbers().is_empty() && server.numbers().is_empty());
    assert_eq!(scene.host.held(), 1);
    // It still hears what happens.
    device.raised(1);
    drop(server);
    scene.step();
    assert_eq!(device.raised(1), 1);
    assert_eq!(client.numbers(), []);
}

#[test]
fn a_second_vm_that_comes_right_after_the_first_has_gone() {
    let mut scene = Scene::new();
    let (first, _) = scene.join(Role::Server);
    let process = FakeProcess::with_vm();
    let second = scene.dial(Role::Server, &process);
    drop(first);
    // Both are seen in one step.
    scene.step();
    assert_eq!(second.handshake().link(Role::Server), Link(3));
}

#[test]
fn nothing_is_given_to_a_process_without_a_vm() {
    let mut scene = Scene::new();
    let process = FakeProcess::answering(Ok(false));
    let qemu = scene.dial(Role::Server, &process);
    scene.step();
    assert!(qemu.numbers().is_empty());
    scene.pass(SEEK_LIMIT / 2);
    assert!(qemu.numbers().is_empty());
    process.set(Ok(true));
    scene.step();
    assert_eq!(qemu.handshake().id, 0);
    assert!(!process.vm_is_held());
}

#[test]
fn a_process_that_never_has_a_vm_loses_its_place() {
    let mut scene = Scene::new();
    let qemu = scene.dial(Role::Server, &FakeProcess::answering(Ok(false)));
    scene.step();
    scene.pass(SEEK_LIMIT);
    qemu.assert_refused(Errno::ENXIO);
    let (_qemu, device) = scene.join(Role::Server);
    // It never counted as connected.
    assert_eq!(device.link(Role::Server), Link(1));
}

#[test]
fn processes_that_cannot_be_looked_into() {
    for errno in [Errno::EPERM, Errno::EACCES, Errno::ESRCH, Errno::EMFILE] {
        let mut scene = Scene::new();
        let qemu = scene.dial(Role::Client, &FakeProcess::answering(Err(errno)));
        scene.step();
        qemu.assert_refused(errno);
        scene.join(Role::Client);
    }
    // Gone before it could be opened.
    let mut scene = Scene::new();
    let qemu = FakeQemu::connect(&scene.path("client"));
    scene.step();
    qemu.assert_refused(Errno::ESRCH);
    scene.join(Role::Client);
}

#[test]
fn the_end_of_the_server_while_a_vm_is_sought() {
    let mut scene = Scene::new();
    let qemu = scene.dial(Role::Server, &FakeProcess::answering(Ok(false)));
    scene.step();
    scene.server = None;
    qemu.assert_refused(Errno::ESHUTDOWN);
}

#[test]
fn closing_while_its_vm_is_sought() {
    let mut scene = Scene::new();
    let qemu = scene.dial(Role::Server, &FakeProcess::answering(Ok(false)));
    scene.step();
    drop(qemu);
    scene.step();
    let (_qemu, device) = scene.join(Role::Server);
    assert_eq!(device.link(Role::Server), Link(1));
}

#[test]
fn closing_in_the_middle_of_the_handshake() {
    let mut scene = Scene::new();
    let (other, _) = scene.join(Role::Server);
    for closes_after in 0..4 {
        let qemu = scene.dial(Role::Client, &FakeProcess::with_vm());
        scene.host.set_error(Some(PairError::Pair(Errno::EINVAL)));
        if closes_after > 0 {
            scene.step();
        }
        for _ in 1..closes_after {
            qemu.next();
        }
        drop(qemu);
        scene.step();
        scene.step();
    }
    let (_qemu, device) = scene.join(Role::Client);
    assert_eq!(device.link(Role::Client).0 % 2, 1);
    assert_eq!(other.numbers(), []);
}

#[test]
fn a_peer_that_speaks_is_no_qemu() {
    let mut scene = Scene::new();
    let [(server, _), (client, _)] = scene.pair();
    client.send(b"GET / HTTP/1.1\r\n\r\n");
    scene.step();
    assert!(client.is_closed());
    assert_eq!(server.numbers(), []);
    assert_eq!(scene.host.held(), 0);
}

#[test]
fn nothing_piles_up_for_a_peer_that_never_reads() {
    let mut scene = Scene::new();
    let mute = scene.dial(Role::Server, &FakeProcess::with_vm());
    scene.step();
    // More than a socket's buffer holds, if each sent a message.
    for _ in 0..1000 {
        let _client = scene.dial(Role::Client, &FakeProcess::with_vm());
        scene.step();
    }
    scene.step();
    // A handshake, and no more.
    assert_eq!(mute.handshake().link(Role::Client), Link(2000));
}

#[test]
fn the_kernel_ends_the_pairing() {
    let mut scene = Scene::new();
    let _pair = scene.pair();
    scene.host.hang_up();
    scene.step();
    assert_eq!(scene.host.attempts(), 1);
    scene.pass(RETRY);
    assert_eq!((scene.host.attempts(), scene.host.held()), (2, 1));
}

#[test]
fn a_vm_that_dies_while_it_is_paired() {
    for errno in [
        Errno::ESRCH,
        Errno::EBADF,
        Errno::ENXIO,
        Errno::EBUSY,
        Errno::EINTR,
        Errno::ENOMEM,
    ] {
        let mut scene = Scene::new();
        let processes = [FakeProcess::with_vm(), FakeProcess::with_vm()];
        scene.host.expect(Role::Server, &processes[0]);
        scene.host.expect(Role::Client, &processes[1]);
        scene.host.set_error(Some(PairError::Pair(errno)));
        let server = scene.dial(Role::Server, &processes[0]);
        let client = scene.dial(Role::Client, &processes[1]);
        scene.step();
        // The window is theirs all the same.
        let device = client.handshake();
        assert_eq!(scene.host.attempts(), 1, "{errno}");
        scene.step();
        assert_eq!(scene.host.attempts(), 1, "{errno}");
        scene.pass(RETRY);
        assert_eq!(scene.host.attempts(), 2, "{errno}");
        assert!(processes.iter().all(|process| !process.vm_is_held()));
        drop(server);
        scene.pass(RETRY);
        assert_eq!(scene.host.attempts(), 2, "{errno}");
        assert_eq!(device.link(Role::Server), Link(2));
        assert_eq!(client.numbers(), []);
    }
}

#[test]
fn a_vm_that_is_gone_when_it_is_taken() {
    let mut scene = Scene::new();
    let processes = [FakeProcess::with_vm(), FakeProcess::with_vm()];
    scene.host.expect(Role::Server, &processes[0]);
    scene.host.expect(Role::Client, &processes[1]);
    let _server = scene.dial(Role::Server, &processes[0]);
    scene.step();
    processes[0].set(Err(Errno::ESRCH));
    let _client = scene.dial(Role::Client, &processes[1]);
    scene.step();
    assert_eq!(scene.host.attempts(), 0);
    processes[0].set(Ok(true));
    scene.pass(RETRY);
    assert_eq!((scene.host.attempts(), scene.host.held()), (1, 1));
}

#[test]
fn a_refusal_that_is_final_is_not_repeated() {
    let mut scene = Scene::new();
    let processes = [FakeProcess::with_vm(), FakeProcess::with_vm()];
    scene.host.expect(Role::Server, &processes[0]);
    scene.host.expect(Role::Client, &processes[1]);
    scene
        .host
        .set_error(Some(PairError::Pair(Errno::EOPNOTSUPP)));
    let _server = scene.dial(Role::Server, &processes[0]);
    let _client = scene.dial(Role::Client, &processes[1]);
    scene.step();
    scene.pass(RETRY * 100);
    assert_eq!(scene.host.attempts(), 1);
}

#[test]
fn the_end_of_the_server_takes_both_links_down() {
    let mut scene = Scene::new();
    let [(server, device), (client, _)] = scene.pair();
    device.raised(1);
    let offset = device
        .header()
        .layout
        .state_offset(1, Role::Client)
        .unwrap();
    device.write_word(offset, 9);
    scene.server = None;
    assert_eq!(device.link(Role::Server), Link(2));
    assert_eq!(device.link(Role::Client), Link(2));
    assert_eq!(device.read_word(offset), 0);
    assert_eq!(device.raised(1), 1);
    assert!(server.is_closed() && client.is_closed());
    assert_eq!(scene.host.held(), 0);
    for kind in ["server", "client", "control"] {
        assert!(!scene.path(kind).exists());
    }
}

#[test]
fn sockets_are_the_owners_or_also_a_groups() {
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    let scene = Scene::new();
    for kind in ["server", "client", "control"] {
        assert_eq!(mode(scene.path(kind)), 0o600);
    }
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        group: Some(nix::unistd::getegid()),
        ..config(&dir)
    };
    let _server = Server::new(&config, FakeHost::default(), FakeProcesses::default()).unwrap();
    let path = |kind| dir.path().join(format!("gpu0.{kind}.sock"));
    assert_eq!(mode(path("server")), 0o660);
    assert_eq!(mode(path("client")), 0o660);
    assert_eq!(mode(path("control")), 0o600);
}

#[test]
fn names_are_served_once() {
    let scene = Scene::new();
    let again = || {
        Server::new(
            &config(&scene.dir),
            FakeHost::default(),
            FakeProcesses::default(),
        )
    };
    let error = again().err().unwrap();
    assert_eq!(error.kind, Kind::Refused);
    let pid = std::process::id();
    assert!(error
        .message
        .starts_with(&format!("already served by pid {pid} ")));
    // Also if somebody removed the control socket.
    std::fs::remove_file(scene.path("control")).unwrap();
    assert_eq!(again().err().unwrap().kind, Kind::Refused);
    assert!(scene.path("server").exists());
}

#[test]
fn a_file_in_the_way_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpu0.client.sock");
    std::fs::write(&path, "precious").unwrap();
    let result = Server::new(&config(&dir), FakeHost::default(), FakeProcesses::default());
    assert_eq!(result.err().unwrap().kind, Kind::Refused);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert!(!dir.path().join("gpu0.server.sock").exists());
}
