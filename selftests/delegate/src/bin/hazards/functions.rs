// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server's functions. Each leaves guest mode or not as it happens: the result must be the same.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// What the first argument of a call says.
pub const ERRNO: u64 = 1; // (value): errno before, which becomes value
pub const LOCAL: u64 = 2; // (value): a thread-local variable before, which becomes value
pub const THREAD: u64 = 3; // (): the thread's number, asked of the kernel
pub const CLOCK: u64 = 4; // (): CLOCK_MONOTONIC in nanoseconds
pub const RAW_CLOCK: u64 = 5; // (): CLOCK_MONOTONIC_RAW in nanoseconds
pub const CPU: u64 = 6; // (): the CPU's number
pub const SEQUENCES: u64 = 7; // (): the thread's `struct rseq`.cpu_id
pub const LOCK: u64 = 8; // (): what a thread has added up that held the lock first
pub const HEAP: u64 = 9; // (bytes): how many of as many could be written
pub const FORK: u64 = 10; // (status): exit status of a child
pub const SIGNAL: u64 = 11; // (): how often this process has got a signal that the call has sent it
pub const UNWIND: u64 = 12; // (): how many panics were caught

pub const WRONG: u64 = u64::MAX;

/// Whatever takes longer than this hangs.
const LONG: Duration = Duration::from_secs(20);

thread_local! {
    static VALUE: Cell<u64> = const { Cell::new(0) };
}

static LOCKED: Mutex<u64> = Mutex::new(0);
static SIGNALS: AtomicU64 = AtomicU64::new(0);
static PANICS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: i32) {
    SIGNALS.fetch_add(1, SeqCst);
}

/// Before there are carriers: these block all signals.
pub fn handle_signals() {
    // SAFETY: the handler only counts.
    unsafe { libc::signal(libc::SIGUSR1, count as extern "C" fn(i32) as usize) };
    std::panic::set_hook(Box::new(|_| ()));
}

pub extern "C" fn entry(what: u64, a: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    match what {
        ERRNO => errno(a),
        LOCAL => VALUE.replace(a),
        // SAFETY: no arguments.
        THREAD => unsafe { libc::gettid() as u64 },
        CLOCK => clock(libc::CLOCK_MONOTONIC),
        RAW_CLOCK => clock(libc::CLOCK_MONOTONIC_RAW),
        // SAFETY: no arguments.
        CPU => unsafe { libc::sched_getcpu() as u64 },
        SEQUENCES => sequences(),
        LOCK => lock(),
        HEAP => heap(a as usize),
        FORK => fork(a as i32),
        SIGNAL => signal(),
        UNWIND => unwind(),
        _ => WRONG,
    }
}

fn errno(value: u64) -> u64 {
    // SAFETY: of this thread.
    let place = unsafe { &mut *libc::__errno_location() };
    std::mem::replace(place, value as i32) as u64
}

fn clock(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: room for the time.
    match unsafe { libc::clock_gettime(clock, &mut now) } {
        0 => now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64,
        _ => WRONG,
    }
}

/// As glibc says where it is, or 0 - 2 if there is none.
fn sequences() -> u64 {
    // SAFETY: a constant of glibc's, if there is one; `struct rseq` is aligned and this thread's.
    let id = unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
        match offset.is_null() {
            true => -2,
            false => thread_pointer()
                .wrapping_offset(offset.cast::<isize>().read() + 4)
                .cast::<i32>()
                .read_volatile(),
        }
    };
    i64::from(id) as u64
}

fn thread_pointer() -> *const u8 {
    let pointer: *const u8;
    // SAFETY: its first word is its own address (System V ABI, x86-64 TLS).
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly));
    }
    pointer
}

/// The other thread has the lock when this one wants it, and gives it up only after a while.
fn lock() -> u64 {
    let (tell, told) = mpsc::channel();
    let other = thread::spawn(move || {
        let mut locked = LOCKED.lock();
        // Whoever waits for it hears it, or nobody does.
        let _ = tell.send(());
        thread::sleep(Duration::from_millis(20));
        if let Ok(sum) = &mut locked {
            **sum += 1;
        }
    });
    if told.recv().is_err() {
        return WRONG;
    }
    let sum = LOCKED.lock().map_or(WRONG, |sum| *sum);
    match other.join() {
        Ok(()) => sum,
        Err(_) => WRONG,
    }
}

fn heap(bytes: usize) -> u64 {
    let mut memory = vec![0u8; bytes];
    for (place, byte) in memory.iter_mut().enumerate() {
        *byte = place as u8;
    }
    let all = std::hint::black_box(&memory).iter().enumerate();
    all.filter(|(place, byte)| **byte == *place as u8).count() as u64
}

fn fork(status: i32) -> u64 {
    let mut ended = 0;
    // SAFETY: the child does nothing but end.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(status) };
    }
    // SAFETY: a child of ours, and room for its status.
    match unsafe { libc::waitpid(pid, &mut ended, 0) } == pid && libc::WIFEXITED(ended) {
        true => libc::WEXITSTATUS(ended) as u64,
        false => WRONG,
    }
}

/// Carriers block signals: another thread handles it, while this one is on the client's vCPU or not.
fn signal() -> u64 {
    let before = SIGNALS.load(SeqCst);
    // SAFETY: there is a handler.
    if unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) } != 0 {
        return WRONG;
    }
    let start = Instant::now();
    while SIGNALS.load(SeqCst) == before {
        if start.elapsed() > LONG {
            return WRONG;
        }
        thread::yield_now();
    }
    SIGNALS.load(SeqCst)
}

fn unwind() -> u64 {
    match std::panic::catch_unwind(|| panic!("on purpose")) {
        Ok(()) => WRONG,
        Err(_) => PANICS.fetch_add(1, SeqCst) + 1,
    }
}
