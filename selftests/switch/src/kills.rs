// SPDX-License-Identifier: Apache-2.0 OR MIT
//! kill -9 of a process that owns a VM, in the middle of calls.
//!
//! No Rust thread but this one exists when a child is forked, so it may do as it likes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use wormhole_uapi as uapi;

use crate::device::Device;
use crate::events::wait_until_it_loops;
use crate::guest_code as code;
use crate::layout::*;
use crate::observe::{fdinfo, hangs_up};
use crate::pair::{bind, call_regs, open, start_calls, write_gate, SESSION};
use crate::vm::Guest;

crate::tests! {
    client_killed_in_calls
    client_killed_in_a_call
    server_killed_in_a_call
    both_killed_in_calls
}

/// One takes a second in the emulator.
const ROUNDS: u64 = 10;
const CALLS: u64 = u64::MAX >> 1;
/// KVM's own answer to a hypercall of ours.
const KVM_ENOSYS: i64 = -1000;
const LOOP: [u64; 6] = [SERVER_DATA, 100, 0, 0, 0, 0];

struct Child {
    pid: i32,
    socket: UnixStream,
}

impl Child {
    /// A process that does `what`, to which we talk by a socket.
    fn new(what: impl FnOnce(&mut UnixStream)) -> Self {
        let (ours, mut its) = UnixStream::pair().expect("a socket pair");
        // SAFETY: This is the only thread; the child does not return from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            drop(ours);
            let _ = catch_unwind(AssertUnwindSafe(|| what(&mut its)));
            // SAFETY: It ends the process without running anything.
            unsafe { libc::_exit(1) };
        }
        Self { pid, socket: ours }
    }

    /// The VM that it tells us of.
    fn vm(&mut self) -> OwnedFd {
        let mut number = [0; 4];
        self.socket
            .read_exact(&mut number)
            .expect("the child's VM; see above");
        let number = i32::from_le_bytes(number);
        let get = |call, first: i32, second: i32| {
            // SAFETY: Both system calls take two numbers and flags, and return a new file descriptor.
            let fd = unsafe { libc::syscall(call, first, second, 0) };
            assert!(fd >= 0, "pidfd");
            // SAFETY: It is new.
            unsafe { OwnedFd::from_raw_fd(fd as i32) }
        };
        let pidfd = get(libc::SYS_pidfd_open, self.pid, 0);
        get(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number)
    }

    fn tell(&mut self) {
        self.socket.write_all(&[1]).expect("the child lives");
    }

    fn wait(&mut self) {
        self.socket.read_exact(&mut [0]).expect("the child's word");
    }

    fn kill(self) {
        let mut status = 0;
        // SAFETY: The process is ours, and has not been waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, &raw mut status, 0);
        }
        assert!(libc::WIFSIGNALED(status), "it ended before: {status:#x}");
    }
}

/// For the child: makes its VM known.
fn tell_vm(socket: &mut UnixStream, guest: &Guest) {
    let number = guest.fd().as_raw_fd().to_le_bytes();
    socket.write_all(&number).expect("the parent lives");
    socket.read_exact(&mut [0]).expect("the parent's word");
}

fn pinned() -> i64 {
    let text = fs::read_to_string("/proc/vmstat").expect("/proc/vmstat");
    let value = |key: &str| -> i64 {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
            .expect("a number")
    };
    value("nr_foll_pin_acquired ") - value("nr_foll_pin_released ")
}

/// The same when it has become what is expected, or has had its time: a pairing ends in the background, and may have to wait until another one's
/// hooks have gone.
fn settled(expected: i64) -> i64 {
    let start = Instant::now();
    loop {
        let now = pinned();
        if now == expected || start.elapsed() > Duration::from_secs(10) {
            return now;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The kernel's log from here on.
struct Log(File);

impl Log {
    fn new() -> Self {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .expect("/dev/kmsg");
        file.seek(SeekFrom::End(0)).expect("/dev/kmsg");
        Self(file)
    }

    /// No warning, nor worse.
    #[track_caller]
    fn assert_quiet(&mut self) {
        let mut record = [0; 8192];
        while let Ok(length) = self.0.read(&mut record) {
            let text = String::from_utf8_lossy(&record[..length]);
            let level = text
                .split(',')
                .next()
                .and_then(|number| number.parse::<u32>().ok());
            assert!(level.is_none_or(|level| level & 7 > 4), "{text}");
        }
    }
}

/// Many rounds, each with a random delay, and nothing is left of them. So many unless WORMHOLE_ROUNDS says otherwise.
pub fn rounds(unless_told: u64, round: impl Fn(Duration)) {
    let mut log = Log::new();
    let before = settled(0);
    // Whatever a first time costs.
    round(Duration::ZERO);
    let mut random = 1_u64;
    let count = match std::env::var("WORMHOLE_ROUNDS") {
        Ok(count) => count.parse().expect("WORMHOLE_ROUNDS is a number"),
        Err(_) => unless_told,
    };
    for _ in 0..count {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        round(Duration::from_micros((random >> 33) % 3000));
    }
    assert_eq!(settled(before), before, "pinned pages");
    log.assert_quiet();
}

/// The server VM is ours, the client's process dies.
fn kill_client(function: u64, delay: Duration) {
    let mut child = Child::new(|socket| {
        let mut client = Guest::new();
        tell_vm(socket, &client);
        bind(&mut client);
        let memory = client.memory.clone();
        write_gate(&memory, code::guest_calls_home(), code::guest_pad());
        start_calls(&mut client.vcpu, &memory, FRAME, CALLS, LOOP);
        let stop = client.vcpu.run_until(Duration::from_secs(60));
        panic!("{stop:x?}");
    });
    let client = child.vm();
    let mut server = Guest::new();
    let device = Device::open().expect("/dev/wormhole opens");
    let pairing = device.pair(&client, &server, "killed").expect("PAIR");
    open(&mut server, function);
    child.tell();
    let (start, word) = (Instant::now(), SERVER_DATA_PAGES);
    while server.memory.get(word) + server.memory.get(word + 8) == 0 {
        assert!(start.elapsed() < Duration::from_secs(8), "no call");
        thread::sleep(Duration::from_micros(200));
    }
    thread::sleep(delay);
    child.kill();
    // It runs no more.
    let count = (server.memory.get(word), server.memory.get(word + 8));
    thread::sleep(Duration::from_millis(1));
    assert_eq!(
        (server.memory.get(word), server.memory.get(word + 8)),
        count
    );
    // The pairing ends in the background: then there is nobody to close it.
    let closed = server.hypercall(uapi::WORMHOLE_HC_CLOSE, [SESSION, 0, 0]);
    assert!([0, KVM_ENOSYS].contains(&closed), "CLOSE: {closed}");
    drop(client);
    // The count stays: that of the function, but for a call that had not come home.
    assert!(hangs_up(&pairing, Duration::from_secs(8)));
    let calls: u64 = fdinfo(&pairing)["calls"].parse().expect("a number");
    assert!(
        calls == count.0 || calls + 1 == count.0,
        "{calls} of {count:?}"
    );
    drop(pairing);
}

fn client_killed_in_calls() {
    rounds(ROUNDS, |delay| kill_client(code::guest_counter(), delay));
}

fn client_killed_in_a_call() {
    rounds(ROUNDS, |delay| kill_client(code::guest_loop_until(), delay));
}

/// The client VM is ours, the server's process dies while the client is in a call.
fn kill_server(delay: Duration) {
    let mut child = Child::new(|socket| {
        let mut server = Guest::new();
        tell_vm(socket, &server);
        open(&mut server, code::guest_loop_until());
        socket.write_all(&[1]).expect("the parent lives");
        // Until the call has been seen.
        wait_until_it_loops(&server.memory);
        socket.write_all(&[1]).expect("the parent lives");
        thread::sleep(Duration::from_secs(60));
    });
    let server = child.vm();
    let mut client = Guest::new();
    let device = Device::open().expect("/dev/wormhole opens");
    let pairing = device.pair(&client, &server, "killed").expect("PAIR");
    child.tell();
    child.wait();
    bind(&mut client);
    client.vcpu.enter_user(call_regs(LOOP));
    let killer = thread::spawn(move || {
        child.wait();
        thread::sleep(delay);
        child.kill();
        drop(server);
        thread::sleep(Duration::from_millis(5));
        drop(pairing);
    });
    // Whatever becomes of the call, the client goes on, and is where it can be.
    let stop = client.vcpu.run_until(Duration::from_secs(8));
    let stop = stop.expect("the call ends");
    killer.join().expect("the killer");
    assert!(stop.is(AT_PAD) || stop.is(AFTER_HYPERCALL), "{stop:x?}");
    assert_eq!(stop.cs, u64::from(USER_CS));
    client.vcpu.enter_user(call_regs(LOOP));
    client.vcpu.run().expect(6);
}

fn server_killed_in_a_call() {
    rounds(ROUNDS, kill_server);
}

/// One process has both, and the pairing.
fn kill_both(delay: Duration) {
    let mut child = Child::new(|socket| {
        let (mut client, mut server) = (Guest::new(), Guest::new());
        let device = Device::open().expect("/dev/wormhole opens");
        let pairing = device.pair(&client, &server, "killed").expect("PAIR");
        open(&mut server, code::guest_counter());
        bind(&mut client);
        let memory = client.memory.clone();
        write_gate(&memory, code::guest_calls_home(), code::guest_pad());
        start_calls(&mut client.vcpu, &memory, FRAME, CALLS, LOOP);
        socket.write_all(&[1]).expect("the parent lives");
        let stop = client.vcpu.run_until(Duration::from_secs(60));
        drop(pairing);
        panic!("{stop:x?}");
    });
    child.wait();
    thread::sleep(delay);
    child.kill();
}

fn both_killed_in_calls() {
    rounds(ROUNDS, kill_both);
}
