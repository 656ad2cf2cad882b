// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A counter, and a checksum of memory that both VMs see, in the server; called
//! from the client. `samples/counter.c` is the same client in C.

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use wormhole_delegate::{Caller, Listener, Options};

const DEVICE: &str = "/dev/wormhole_guest0";
const USAGE: &str = "usage: delegate-sample server|client [-d DEVICE] [-n CALLS] [-s CALLS]
The server serves one client after the other, or -n CALLS clients.
The client makes -n CALLS calls, and stops itself (SIGSTOP) after -s CALLS.";

/// What the first argument of a call says.
const COUNT: u64 = 1; // (n): adds n to the counter, returns it
const CHECKSUM: u64 = 2; // (offset, words): of the shared memory
const PARENT: u64 = 3; // (): getppid() + 1, a system call
const RESET: u64 = 4; // (): the counter becomes 0
const UNKNOWN: u64 = u64::MAX;

/// Words that the client has summed up.
const WORDS: u64 = 4096;
const CALLS: u64 = 100_000;
/// Calls of which one is a system call.
const SYSTEM_CALLS_EVERY: u64 = 1000;

static COUNTER: AtomicU64 = AtomicU64::new(0);
static MEMORY: AtomicUsize = AtomicUsize::new(0);
static SIZE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn entry(what: u64, a: u64, b: u64, _: u64, _: u64, _: u64) -> u64 {
    match what {
        COUNT => COUNTER.fetch_add(a, Ordering::Relaxed).wrapping_add(a),
        CHECKSUM => checksum(a, b),
        PARENT => u64::from(std::os::unix::process::parent_id()) + 1,
        RESET => {
            COUNTER.store(0, Ordering::Relaxed);
            0
        }
        _ => UNKNOWN,
    }
}

/// The client names the place: it is checked.
fn checksum(offset: u64, words: u64) -> u64 {
    let size = SIZE.load(Ordering::Relaxed) as u64;
    let end = words.checked_mul(8).and_then(|n| n.checked_add(offset));
    if offset % 8 != 0 || end.is_none_or(|end| end > size) {
        return UNKNOWN;
    }
    let start = (MEMORY.load(Ordering::Relaxed) + offset as usize) as *const AtomicU64;
    (0..words as usize).fold(0u64, |sum, i| {
        // SAFETY: within the shared memory, which is there while calls are.
        let word = unsafe { &*start.add(i) };
        sum.wrapping_mul(31)
            .wrapping_add(word.load(Ordering::Relaxed))
    })
}

fn server(device: &str, clients: Option<u64>) -> io::Result<()> {
    let mut listener = Listener::open(device).map_err(io::Error::other)?;
    println!("delegate-sample: serving at {device}");
    let mut served = 0;
    while clients.is_none_or(|clients| served < clients) {
        let service = match listener.accept() {
            Ok(service) => service,
            Err(error) => {
                eprintln!("delegate-sample: a client was lost: {error}");
                continue;
            }
        };
        let (memory, size) = service
            .memory()
            .ok_or_else(|| io::Error::from(ErrorKind::Unsupported))?;
        MEMORY.store(memory.as_ptr().addr(), Ordering::Relaxed);
        SIZE.store(size, Ordering::Relaxed);
        if let Err(error) = service.run(entry, Options::default()) {
            eprintln!("delegate-sample: a client was lost: {error}");
        }
        served += 1;
    }
    Ok(())
}

fn client(device: &str, calls: u64, stop_after: Option<u64>) -> io::Result<bool> {
    let caller = Caller::connect(device).map_err(io::Error::other)?;
    // SAFETY: the server's function checks what it gets.
    let call = |what, a, b| unsafe { caller.call([what, a, b, 0, 0, 0]) }.map_err(io::Error::other);
    let (memory, size) = caller
        .memory()
        .ok_or_else(|| io::Error::from(ErrorKind::Unsupported))?;
    let words = WORDS.min(size as u64 / 8);
    let mut expected = 0u64;
    for i in 0..words {
        let word = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        expected = expected.wrapping_mul(31).wrapping_add(word);
        // SAFETY: within the shared memory.
        let place = unsafe { memory.cast::<AtomicU64>().add(i as usize).as_ref() };
        place.store(word, Ordering::Relaxed);
    }

    call(RESET, 0, 0)?;
    let parent = call(PARENT, 0, 0)?;
    let mut verified = parent >= 1 && call(CHECKSUM, 0, words)? == expected;
    verified &= call(CHECKSUM, 8, u64::MAX / 8)? == UNKNOWN;
    let mut made = 4;
    let mut sum = 0u64;
    for i in 1..=calls {
        sum += i;
        verified &= call(COUNT, i, 0)? == sum;
        made += 1;
        if i % SYSTEM_CALLS_EVERY == 0 {
            verified &= call(PARENT, 0, 0)? == parent;
            verified &= call(CHECKSUM, 0, words)? == expected;
            made += 2;
        }
        if stop_after == Some(i) {
            // SAFETY: between two calls, and somebody was asked to continue this process.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
    }
    println!(
        "RESULT program=delegate-sample transport={} calls={made} hops={} verified={}",
        caller.path().as_str(),
        caller.hops(),
        if verified { "yes" } else { "no" }
    );
    Ok(verified)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next();
    let mut device = DEVICE.to_owned();
    let mut number = None;
    let mut stop_after = None;
    while let Some(option) = arguments.next() {
        match (option.as_str(), arguments.next()) {
            ("-d", Some(value)) => device = value,
            ("-n", Some(value)) if value.parse::<u64>().is_ok() => number = value.parse().ok(),
            ("-s", Some(value)) if value.parse::<u64>().is_ok() => stop_after = value.parse().ok(),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let done = match role.as_deref() {
        Some("server") => server(&device, number).map(|()| true),
        Some("client") => client(&device, number.unwrap_or(CALLS), stop_after),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("delegate-sample: {error}");
            ExitCode::FAILURE
        }
    }
}
