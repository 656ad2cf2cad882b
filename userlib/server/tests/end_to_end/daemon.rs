// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A server under test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Longest that anything here may take; a hang fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where clients reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    /// The ring, over memory that two processes share.
    Memfd,
}

/// PoCL's device that carries out commands in the thread that asks for them.
pub const ONE_DEVICE: &str = "basic";
/// That, and one whose compute units are the cores of this machine.
pub const TWO_DEVICES: &str = "cpu-minimal cpu";
/// PoCL's device that has threads of its own, and whose commands wait for events of the user's.
pub const THREADED: &str = "pthread";

/// Environment for whatever loads the vendor's OpenCL.
pub fn vendor_environment(command: &mut Command) {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pocl-cache");
    std::fs::create_dir_all(&cache).expect("the target directory is writable");
    command
        .env("POCL_DEVICES", ONE_DEVICE)
        .env("POCL_CACHE_DIR", cache)
        .env_remove("OCL_ICD_VENDORS");
    // PoCL asks hwloc how much memory there is, which asks sysfs.
    if !Path::new("/sys/devices/system/cpu").exists() {
        command.env("HWLOC_SYNTHETIC", "numa:1(memory=4GB) core:2 pu:1");
    }
}

/// A running server. Dropped, it is killed.
pub struct Daemon {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    transport: Transport,
    address: String,
}

impl Daemon {
    pub fn start(transport: Transport) -> Self {
        Self::start_with(transport, [] as [&str; 0])
    }

    pub fn start_with(
        transport: Transport,
        options: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Self {
        Self::start_on(ONE_DEVICE, transport, options)
    }

    /// A server whose PoCL has these devices.
    pub fn start_on(
        devices: &str,
        transport: Transport,
        options: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
        vendor_environment(&mut command);
        command
            .args(["--opencl", "--count-references"])
            .env("POCL_DEVICES", devices)
            .env("WORMHOLE_LOG", "debug");
        match transport {
            Transport::Tcp => command.args(["--tcp", "127.0.0.1:0"]),
            Transport::Memfd => command.arg("--memfd").arg(socket()),
        };
        let mut child = command
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server's binary is there");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (lines, log) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have ended first.
                let _ = lines.send(line);
            }
        });
        let mut daemon = Daemon {
            child,
            log,
            seen: Vec::new(),
            transport,
            address: String::new(),
        };
        let line = daemon.wait_for("listening on ");
        let (_, address) = line.split_once("listening on ").expect("just seen");
        daemon.address = address.rsplit(' ').next().expect("not empty").to_owned();
        daemon
    }

    /// Waits for a line of the log that contains `text`, which may be an old one.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut checked = 0;
        loop {
            if let Some(at) = self.seen[checked..]
                .iter()
                .position(|line| line.contains(text))
            {
                // Lines are reported once.
                return self.seen.remove(checked + at);
            }
            checked = self.seen.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no \"{text}\" in the log:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// What the next client in the log to have gone has left behind: objects, and references that
    /// its process holds to the vendor's.
    pub fn wait_for_left(&mut self) -> (String, String) {
        let mut left = |what: &str| {
            let line = self.wait_for(what);
            let (_, left) = line.split_once(what).expect("just seen");
            left.to_owned()
        };
        (left("objects left: "), left("references left: "))
    }

    /// Fails if the next client in the log to have gone has left something behind.
    pub fn wait_for_clean(&mut self) {
        let nothing = || "none".to_owned();
        assert_eq!(self.wait_for_left(), (nothing(), nothing()));
    }

    /// Pid of the process that serves the next client in the log.
    pub fn wait_for_client(&mut self) -> i32 {
        let line = self.wait_for("served by process ");
        let (_, pid) = line.split_once("served by process ").expect("just seen");
        pid.parse().expect("a pid")
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Has a program use this server through the ICD loader.
    pub fn point(&self, command: &mut Command) {
        command.env("OCL_ICD_VENDORS", icd());
        match self.transport {
            Transport::Tcp => command
                .env("WORMHOLE_TRANSPORT", "tcp")
                .env("WORMHOLE_TCP", &self.address),
            Transport::Memfd => command
                .env("WORMHOLE_TRANSPORT", "memfd")
                .env("WORMHOLE_MEMFD", &self.address),
        };
    }

    /// Ends the server as an administrator does, and checks that it ends well.
    pub fn stop(mut self) {
        // SAFETY: a signal to a child of ours that was not waited for.
        unsafe { libc::kill(self.pid(), libc::SIGTERM) };
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "the server ended with {status}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wormhole-test-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    // A stale one is of a process that had our pid.
    let _ = std::fs::remove_file(&path);
    path
}

/// The client library that was built along with this test.
pub fn icd() -> PathBuf {
    library("libwormhole_opencl.so")
}

/// A library that was built along with this test.
pub fn library(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let deps = test.parent().expect("it is in a directory");
    let candidates = [deps, deps.parent().expect("target/…")];
    let found = candidates
        .iter()
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is a dependency of this test"))
}
