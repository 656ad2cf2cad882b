// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Peers in processes of their own, which are killed or handed on.

mod loopback;

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use wormhole_transport::{connect, listen, Config, Connection, Endpoint, Error, Kind};

use loopback::{has_vsock, take_port, TCP, VSOCK};

const ACT: &str = "WORMHOLE_TEST_ACT";

/// Runs [`child_process`] in another process, as `act`.
fn child(act: &str, config: &Config) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_process", "--ignored", "--nocapture"])
        .env(ACT, act)
        .stdin(Stdio::null());
    match &config.endpoint {
        Endpoint::Tcp(address) => command
            .env("WORMHOLE_TRANSPORT", "tcp")
            .env("WORMHOLE_TCP", address),
        Endpoint::Vsock(address) => command.env("WORMHOLE_TRANSPORT", "vsock").env(
            "WORMHOLE_VSOCK",
            format!("{}:{}", address.cid, address.port),
        ),
        Endpoint::Memfd(path) => command
            .env("WORMHOLE_TRANSPORT", "memfd")
            .env("WORMHOLE_MEMFD", path),
        Endpoint::Auto(_) | Endpoint::Vmfunc(_) | Endpoint::Ring(_) => {
            unreachable!("there is no such device here")
        }
    };
    command
}

#[test]
#[ignore = "a process of other tests"]
fn child_process() {
    let config = Config::from_env().unwrap();
    match std::env::var(ACT).unwrap().as_str() {
        "post for ever" => {
            let client = connect(&config).unwrap();
            let large = vec![5; 9 << 20];
            loop {
                client.post(&[IoSlice::new(b"small")]).unwrap();
                client.post(&[IoSlice::new(&large)]).unwrap();
            }
        }
        "call" => {
            let client = connect(&config).unwrap();
            let mut reply = Vec::new();
            client.call(&[IoSlice::new(b"hello")], &mut reply).unwrap();
            assert_eq!(reply, b"hello");
        }
        "outlive the server" => {
            // As in a program in C.
            // SAFETY: the default action is no handler of ours.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            let client = connect(&config).unwrap();
            let large = vec![5; 1 << 20];
            let end = (0..100).find_map(|_| client.post(&[IoSlice::new(&large)]).err());
            assert!(matches!(end, Some(Error::PeerGone)), "{end:?}");
        }
        "never reply" => {
            let mut listener = listen(&config).unwrap();
            announce(&listener.to_string());
            let mut server = listener.accept().unwrap().serve().unwrap();
            let mut request = Vec::new();
            assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
            announce("called");
            loop {
                std::thread::park();
            }
        }
        "serve standard input" => {
            let fd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            let mut server = Connection::from_fd(fd, &config).unwrap().serve().unwrap();
            let mut request = Vec::new();
            assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
            server.reply(&[IoSlice::new(&request)]).unwrap();
            assert_eq!(server.receive(&mut request).unwrap(), None);
        }
        act => panic!("no act {act}"),
    }
}

/// Says a line to the parent.
fn announce(line: &str) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "CHILD {line}").unwrap();
}

/// Waits for the next such line.
fn announced(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some(said) = line.trim_end().strip_prefix("CHILD ") {
            return said.to_owned();
        }
        line.clear();
    }
    panic!("the child ended without a word");
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn socket(name: &str) -> Config {
    let name = format!("wormhole-processes-{}-{name}.sock", std::process::id());
    Config::memfd(std::env::temp_dir().join(name))
}

fn remove(config: &Config) {
    if let Endpoint::Memfd(path) = &config.endpoint {
        std::fs::remove_file(path).unwrap();
    }
}

fn listener(config: &mut Config) -> wormhole_transport::Listener {
    let listener = listen(config).unwrap();
    take_port(config, &listener.to_string());
    listener
}

/// Most kills hit the client within its large message.
fn a_killed_client_is_noticed(mut config: Config) {
    let mut listener = listener(&mut config);
    for round in 0..8 {
        let child = child("post for ever", &config)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = listener.accept().unwrap().serve().unwrap();
        let mut request = Vec::new();
        for _ in 0..round {
            assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
        }
        kill(child);
        // What was complete still comes, then the end.
        let end = loop {
            match server.receive(&mut request) {
                Ok(Some(kind)) => assert_eq!(kind, Kind::Posted),
                end => break end,
            }
        };
        assert!(
            matches!(end, Ok(None) | Err(Error::PeerGone)),
            "round {round}: {end:?}"
        );
    }
    remove(&config);
}

#[test]
fn tcp_notices_a_killed_client() {
    a_killed_client_is_noticed(Config::tcp(TCP));
}

#[test]
fn vsock_notices_a_killed_client() {
    if has_vsock() {
        a_killed_client_is_noticed(Config::vsock(VSOCK));
    }
}

#[test]
fn memfd_notices_a_killed_client() {
    a_killed_client_is_noticed(socket("client"));
}

fn a_killed_server_is_noticed(mut config: Config) {
    let mut server = child("never reply", &config)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap());
    take_port(&mut config, &announced(&mut lines));
    let client = connect(&config).unwrap();
    let caller = std::thread::spawn(move || {
        let mut reply = Vec::new();
        client.call(&[IoSlice::new(b"x")], &mut reply)
    });
    assert_eq!(announced(&mut lines), "called");
    kill(server);
    let called = caller.join().unwrap();
    assert!(matches!(called, Err(Error::PeerGone)), "{called:?}");
    remove(&config);
}

#[test]
fn tcp_notices_a_killed_server() {
    a_killed_server_is_noticed(Config::tcp(TCP));
}

#[test]
fn vsock_notices_a_killed_server() {
    if has_vsock() {
        a_killed_server_is_noticed(Config::vsock(VSOCK));
    }
}

#[test]
fn memfd_notices_a_killed_server() {
    a_killed_server_is_noticed(socket("server"));
}

/// A client must not die of SIGPIPE either.
fn a_client_outlives_its_server(mut config: Config) {
    let mut listener = listener(&mut config);
    let client = child("outlive the server", &config)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(listener.accept().unwrap().serve().unwrap());
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    remove(&config);
}

#[test]
fn tcp_client_outlives_its_server() {
    a_client_outlives_its_server(Config::tcp(TCP));
}

#[test]
fn vsock_client_outlives_its_server() {
    if has_vsock() {
        a_client_outlives_its_server(Config::vsock(VSOCK));
    }
}

#[test]
fn memfd_client_outlives_its_server() {
    a_client_outlives_its_server(socket("outlive"));
}

/// As a server does that accepts, and leaves each client to a child.
fn another_process_can_serve(mut config: Config) {
    let mut listener = listener(&mut config);
    let client = child("call", &config)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let accepted = listener.accept().unwrap().into_fd();
    let server = child("serve standard input", &config)
        .stdin(Stdio::from(accepted))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for process in [client, server] {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
    }
    remove(&config);
}

#[test]
fn tcp_can_be_served_by_another_process() {
    another_process_can_serve(Config::tcp(TCP));
}

#[test]
fn vsock_can_be_served_by_another_process() {
    if has_vsock() {
        another_process_can_serve(Config::vsock(VSOCK));
    }
}

#[test]
fn memfd_can_be_served_by_another_process() {
    another_process_can_serve(socket("other"));
}
