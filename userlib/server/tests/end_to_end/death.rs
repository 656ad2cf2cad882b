// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One side dies: the other is told at once, and nothing is left behind.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{icd, Daemon, Transport, PATIENCE, THREADED};
use crate::program::{compile, run, stdout_of, wait};

/// A client in the middle of a call that the server never answers, and the
/// rest of its output.
fn busy(daemon: &Daemon) -> (Child, BufReader<std::process::ChildStdout>) {
    let command = Command::new(compile("tests/end_to_end/busy.c"));
    begin(daemon, command, "busy\n")
}

/// A client that has said this, and the rest of its output.
fn begin(
    daemon: &Daemon,
    mut command: Command,
    says: &str,
) -> (Child, BufReader<std::process::ChildStdout>) {
    daemon.point(&mut command);
    let mut child = command
        .env("WORMHOLE_LOG", "error")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("just compiled");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it says something");
    assert_eq!(line, says);
    (child, stdout)
}

fn kill(pid: i32) {
    // SAFETY: a process of ours: a child, or a child's that was not reaped.
    let result = unsafe { libc::kill(pid, libc::SIGKILL) };
    assert_eq!(result, 0, "process {pid} is not there");
}

/// Waits until no process has this pid, not even as a zombie.
fn wait_until_gone(pid: i32) {
    let deadline = Instant::now() + PATIENCE;
    // SAFETY: signal 0 only asks.
    while unsafe { libc::kill(pid, 0) } == 0 {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}

fn works(daemon: &Daemon) {
    let mut command = Command::new(compile("../../samples/vadd.c"));
    daemon.point(&mut command);
    stdout_of(&run(&mut command));
}

fn server_process_killed(transport: Transport) {
    let mut daemon = Daemon::start(transport);
    let (client, mut stdout) = busy(&daemon);
    let child = daemon.wait_for_client();
    kill(child);
    let mut lines = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut lines).expect("it says what it got");
    // CL_DEVICE_NOT_AVAILABLE, from the call that was waiting and the next.
    assert_eq!(lines, "finish -2\nagain -2\nall as expected\n");
    let output = wait(client);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.matches("connection lost").count(), 1, "{stderr}");
    daemon.wait_for("was killed by SIGKILL");
    wait_until_gone(child);
    works(&daemon);
    daemon.stop();
}

#[test]
fn a_killed_server_process_is_an_error_over_tcp() {
    server_process_killed(Transport::Tcp);
}

#[test]
fn a_killed_server_process_is_an_error_over_the_ring() {
    server_process_killed(Transport::Memfd);
}

/// What the program has to be told is told when the server can no longer tell it.
#[test]
fn callbacks_are_called_when_the_server_is_lost() {
    for transport in [Transport::Tcp, Transport::Memfd] {
        let mut daemon = Daemon::start_on(THREADED, transport, [] as [&str; 0]);
        let mut command = Command::new(compile("tests/end_to_end/callbacks.c"));
        command.arg("lost");
        let (client, mut stdout) = begin(&daemon, command, "waiting\n");
        kill(daemon.wait_for_client());
        let mut lines = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut lines).expect("it says what it got");
        let output = wait(client);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(lines, "all as expected\n", "{stderr}");
        daemon.stop();
    }
}

/// Nothing is left behind, although callbacks were to come, and a child was there.
#[test]
fn a_program_ends_before_its_callbacks() {
    for transport in [Transport::Tcp, Transport::Memfd] {
        let mut daemon = Daemon::start_on(THREADED, transport, [] as [&str; 0]);
        let mut command = Command::new(compile("tests/end_to_end/callbacks.c"));
        daemon.point(&mut command);
        let stdout = stdout_of(&run(command.arg("left")));
        assert!(stdout.ends_with("all as expected\n"), "{stdout}");
        let child = daemon.wait_for_client();
        wait_until_gone(child);
        daemon.stop();
    }
}

#[test]
fn a_client_that_dies_between_calls_leaves_nothing() {
    for transport in [Transport::Tcp, Transport::Memfd] {
        let mut daemon = Daemon::start(transport);
        works(&daemon);
        let child = daemon.wait_for_client();
        wait_until_gone(child);
        daemon.stop();
    }
}

#[test]
fn a_client_that_is_killed_in_a_call_leaves_nothing() {
    for transport in [Transport::Tcp, Transport::Memfd] {
        let mut daemon = Daemon::start(transport);
        let (mut client, _stdout) = busy(&daemon);
        let child = daemon.wait_for_client();
        client.kill().expect("it runs");
        client.wait().expect("it is our child");
        // The vendor is in a kernel that does not end.
        wait_until_gone(child);
        works(&daemon);
        daemon.stop();
    }
}

#[test]
fn the_server_ends_with_a_client_in_a_call() {
    let mut daemon = Daemon::start(Transport::Tcp);
    let (client, mut stdout) = busy(&daemon);
    let child = daemon.wait_for_client();
    daemon.stop();
    wait_until_gone(child);
    let mut lines = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut lines).expect("it says what it got");
    assert!(lines.starts_with("finish -2\n"), "{lines}");
    wait(client);
}

#[test]
fn a_killed_server_takes_its_processes_along() {
    let mut daemon = Daemon::start(Transport::Tcp);
    let (client, _stdout) = busy(&daemon);
    let child = daemon.wait_for_client();
    kill(daemon.pid());
    wait_until_gone(child);
    wait(client);
}

#[test]
fn without_a_server_there_is_no_platform() {
    let program = compile("../../samples/vadd.c");
    let mut command = Command::new(program);
    command
        .env("OCL_ICD_VENDORS", icd())
        .env("WORMHOLE_TRANSPORT", "tcp")
        // A port that nobody listens on.
        .env("WORMHOLE_TCP", "127.0.0.1:1")
        .env("WORMHOLE_LOG", "error");
    let output = run(&mut command);
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("wormhole: no server: "), "{stderr}");
    assert!(
        stderr.contains("clGetPlatformIDs: OpenCL error -1001"),
        "{stderr}"
    );
}

#[test]
fn a_server_does_not_serve_itself() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
    command
        .args(["--opencl", "--tcp", "127.0.0.1:0"])
        .env("OCL_ICD_VENDORS", icd())
        .env("WORMHOLE_TRANSPORT", "tcp")
        .env("WORMHOLE_TCP", "127.0.0.1:1");
    let output = run(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("offers no platform"), "{stderr}");
}

#[test]
fn a_missing_library_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
    command.args([
        "--opencl",
        "--tcp",
        "127.0.0.1:0",
        "--library",
        "libNoSuchCL.so.9",
    ]);
    let output = run(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot load libNoSuchCL.so.9"), "{stderr}");
}
