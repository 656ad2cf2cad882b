// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command itself, as a user runs it. Apart from tests/all: a process that
//! is being spawned has all files open for a moment, and there the end of a
//! connection is to be seen at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use wormhole_window::{Link, Role};

#[allow(dead_code)] // Most of it is for tests/all.
#[path = "all/fake_qemu.rs"]
mod fake_qemu;

use fake_qemu::{Device, FakeQemu};

fn wormholectl(run_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wormholectl"));
    command.arg("--run-dir").arg(run_dir).args(args);
    command
}

fn run(run_dir: &Path, args: &[&str]) -> Output {
    wormholectl(run_dir, args).output().unwrap()
}

/// Runs it and checks its exit code; its stdout and stderr.
fn ends(run_dir: &Path, args: &[&str], code: i32) -> (String, String) {
    let output = run(run_dir, args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}: {stdout}{stderr}"
    );
    (stdout, stderr)
}

fn json(run_dir: &Path, args: &[&str]) -> Value {
    let (stdout, _) = ends(run_dir, &[&["--json"], args].concat(), 0);
    serde_json::from_str(&stdout).unwrap()
}

/// `wormholectl serve gpu0 --no-pair`, in the background.
struct Service {
    child: Child,
    dir: PathBuf,
}

impl Service {
    fn start(dir: &TempDir) -> Service {
        let args = [
            "serve",
            "gpu0",
            "--no-pair",
            "--size",
            "1M",
            "--channel-size",
            "256K",
        ];
        let child = wormholectl(dir.path(), &args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let service = Service {
            child,
            dir: dir.path().into(),
        };
        // The control socket is the last one that it makes.
        let patience = Instant::now() + Duration::from_secs(10);
        while run(dir.path(), &["stat", "gpu0"]).status.code() != Some(0) {
            assert!(Instant::now() < patience, "it does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        service
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("gpu0.{kind}.sock"))
    }

    /// A QEMU after its handshake of seven messages.
    fn join(&self, role: Role) -> (FakeQemu, Device) {
        let qemu = FakeQemu::connect(&self.path(role.as_str()));
        let handshake = (0..7).map(|_| qemu.next().unwrap()).collect();
        (qemu, Device::new(handshake))
    }

    /// Ends it; its exit code and what it logged.
    fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ended already, unless a test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serves_two_vms_from_start_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&dir);
    let (_server, device) = service.join(Role::Server);
    let (client, _) = service.join(Role::Client);

    let pid = std::process::id();
    let status = json(dir.path(), &["stat", "gpu0"]);
    assert_eq!(status["pairing"]["state"], "off");
    assert_eq!(status["pid"], service.child.id());
    assert_eq!(status["window"]["channels"], 3);
    for vm in status["vms"].as_array().unwrap() {
        assert_eq!(
            (&vm["state"], &vm["link"]),
            (&"connected".into(), &1.into())
        );
        assert_eq!(vm["pid"], pid);
    }
    let list = json(dir.path(), &["list"]);
    assert_eq!(list[0]["name"], "gpu0");
    assert_eq!(list[0]["client_pid"], pid);
    assert_eq!(json(dir.path(), &["stat"])[0]["name"], "gpu0");
    let (text, _) = ends(dir.path(), &["stat"], 0);
    assert!(text.starts_with("gpu0: off, served by pid "), "{text}");
    let (text, _) = ends(dir.path(), &["list"], 0);
    assert!(text.starts_with("gpu0  off  holder "), "{text}");

    drop(client);
    // Wakes up by itself, with nobody asking.
    let patience = Instant::now() + Duration::from_secs(10);
    while device.link(Role::Client) != Link(2) {
        assert!(Instant::now() < patience, "the link stays up");
        std::thread::sleep(Duration::from_millis(5));
    }

    let (_, stderr) = ends(dir.path(), &["unpair", "gpu0"], 4);
    assert!(stderr.contains("--no-pair"), "{stderr}");
    ends(dir.path(), &["pair", "gpu0"], 4);

    let holder = service.child.id();
    let (_, stderr) = ends(dir.path(), &["serve", "gpu0", "--no-pair"], 4);
    assert!(
        stderr.contains(&format!("already served by pid {holder} ")),
        "{stderr}"
    );

    let (code, log) = service.stop(Signal::SIGTERM);
    assert_eq!(code, Some(0));
    assert!(log.contains("server VM connected"), "{log}");
    assert!(!device.link(Role::Server).is_up());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn each_signal_ends_it_well() {
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Service::start(&dir).stop(signal).0, Some(0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_killed_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Service::start(&dir).stop(Signal::SIGKILL).0, None);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    let (_, stderr) = ends(dir.path(), &["stat", "gpu0"], 3);
    assert!(stderr.contains("no pairing named gpu0"), "{stderr}");
    let list = json(dir.path(), &["list"]);
    assert_eq!(list[0]["error"]["kind"], "not-there");
    assert_eq!(json(dir.path(), &["stat"]), Value::Array(Vec::new()));

    let service = Service::start(&dir);
    service.join(Role::Server);
    let (code, log) = service.stop(Signal::SIGTERM);
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("left over").count(), 3, "{log}");
}

#[test]
fn no_host_module() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("wormhole");
    let device = device.to_str().unwrap();
    for args in [
        &["info"][..],
        &["serve", "gpu0"],
        &["pair", "--client", "1", "--server", "2"],
    ] {
        let args = [&["--device", device], args].concat();
        let (stdout, stderr) = ends(dir.path(), &args, 3);
        assert_eq!(stdout, "");
        assert_eq!(
            stderr,
            format!(
                "wormholectl: {device} is not there: load the host module (insmod wormhole.ko)\n"
            )
        );
    }
    let (stdout, _) = ends(dir.path(), &["--json", "--device", device, "info"], 3);
    let error: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(error["error"]["kind"], "not-there");
    // Nothing was made.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_device_that_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (_, stderr) = ends(dir.path(), &["--device", "/dev/null", "info"], 1);
    assert!(stderr.contains("/dev/null: "), "{stderr}");
}

#[test]
fn processes_that_cannot_be_paired() {
    let dir = tempfile::tempdir().unwrap();
    let own = std::process::id().to_string();
    let pair = |client: &str, server: &str, code| {
        let args = [
            "--device",
            "/dev/null",
            "pair",
            "--client",
            client,
            "--server",
            server,
        ];
        ends(dir.path(), &args, code).1
    };
    assert!(pair(&own, &own, 2).contains("same process"));
    // Pids end below 2^22.
    assert!(pair("4194304", &own, 3).contains("no process has pid 4194304"));
    assert!(pair(&own, "4194304", 3).contains("has no KVM VM"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &[][..],
        &["fly"],
        &["serve"],
        &["serve", "a/b", "--no-pair"],
        &["serve", "", "--no-pair"],
        &["serve", ".hidden", "--no-pair"],
        &["serve", "gpu0", "--no-pair", "--size", "3M"],
        &[
            "serve",
            "gpu0",
            "--no-pair",
            "--size",
            "1M",
            "--channel-size",
            "1M",
        ],
        &["serve", "gpu0", "--no-pair", "--size", "much"],
        &["serve", "gpu0", "--no-pair", "--group", "no such group"],
        &["pair", "--client", "1"],
        &["stat", ".."],
        &["-q", "-v", "list"],
    ] {
        ends(dir.path(), args, 2);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn nothing_there() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    assert_eq!(ends(&none, &["list"], 0).0, "");
    assert_eq!(ends(&none, &["stat"], 0).0, "");
    for args in [["stat", "gpu0"], ["unpair", "gpu0"], ["pair", "gpu0"]] {
        ends(&none, &args, 3);
    }
    assert!(!none.exists());
}

#[test]
fn a_path_that_is_too_long_for_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(100));
    let (_, stderr) = ends(&long, &["serve", "gpu0", "--no-pair"], 1);
    assert!(stderr.contains("gpu0.server.sock"), "{stderr}");
}

#[test]
fn something_else_at_the_control_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpu0.control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail ready\n").unwrap();
    });
    let (_, stderr) = ends(dir.path(), &["stat", "gpu0"], 1);
    assert!(stderr.contains("not an answer"), "{stderr}");
    answering.join().unwrap();
}

#[test]
fn man_pages_and_completions() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for what in ["man", "completions"] {
        ends(
            dir.path(),
            &["generate", what, "--out", out.to_str().unwrap()],
            0,
        );
    }
    for file in [
        "wormholectl.1",
        "wormholectl-serve.1",
        "wormholectl-stat.1",
        "wormholectl.bash",
        "_wormholectl",
        "wormholectl.fish",
    ] {
        assert!(out.join(file).exists(), "{file}");
    }
    let page = fs::read_to_string(out.join("wormholectl.1")).unwrap();
    assert!(page.contains("Exit codes"));
    // Internal, and not for the shell either.
    assert!(!page.contains("generate"));
}
