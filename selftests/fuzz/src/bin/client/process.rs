// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A case in a process of its own, whose coverage counts here.

use std::arch::asm;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Seconds after which a case is one that hangs.
const PATIENCE: u32 = 30;

/// Where the process puts its counters.
static SHARED: AtomicPtr<u8> = AtomicPtr::new(null_mut());

/// The counters of the code that is instrumented, and how many there are.
fn counters() -> (*mut u8, usize) {
    let (start, end): (*mut u8, *mut u8);
    // SAFETY: takes two addresses, which the linker knows. A declaration of these names would be in
    // the way of the compiler's own.
    unsafe {
        asm!(
            "lea {}, [rip + __start___sancov_cntrs]",
            "lea {}, [rip + __stop___sancov_cntrs]",
            out(reg) start,
            out(reg) end,
            options(nomem, nostack, preserves_flags)
        );
    }
    (start, end.addr() - start.addr())
}

fn shared(len: usize) -> *mut u8 {
    let known = SHARED.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    let (rights, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: new memory, where the kernel likes.
    let memory = unsafe { libc::mmap(null_mut(), len, rights, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "memory for the counters");
    SHARED.store(memory.cast(), Ordering::Relaxed);
    memory.cast()
}

/// Runs a case, which ends with [`end`].
///
/// # Panics
/// If it ends in another way.
pub fn in_another(case: impl FnOnce()) {
    let (counters, len) = counters();
    let shared = shared(len);
    // SAFETY: the fuzzer has no other thread that could hold a lock which the child needs, but the
    // one that looks at the time and memory, which allocates nothing of Rust's.
    match unsafe { libc::fork() } {
        -1 => panic!("no process"),
        0 => {
            // SAFETY: nobody here waits for this signal; what the library prints is nobody's.
            unsafe {
                libc::signal(libc::SIGALRM, libc::SIG_DFL);
                libc::alarm(PATIENCE);
                libc::dup2(libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY), 1);
            }
            case();
            unreachable!("a case that does not end its process");
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of this process.
            while unsafe { libc::waitpid(child, &mut status, 0) } != child {}
            assert_eq!(status, 0, "the case's process ended by itself");
            for at in 0..len {
                // SAFETY: both have so many; nobody else changes them now.
                unsafe {
                    let counter = counters.add(at);
                    *counter = (*counter).saturating_add(*shared.add(at));
                }
            }
        }
    }
}

/// Ends the process of a case that is over.
pub fn end() -> ! {
    let (counters, len) = counters();
    // SAFETY: both have so many. Other threads may still count, of which some may be lost.
    unsafe {
        std::ptr::copy_nonoverlapping(counters, shared(len), len);
        libc::_exit(0)
    }
}
