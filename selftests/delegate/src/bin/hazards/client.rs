// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client: each function several times, as the first call hops home for what the later ones find registered.

use wormhole_delegate::{Caller, Error, Path};

use crate::functions::*;
use crate::tap::{self, Test};
use crate::DEVICE;

const TIMES: u64 = 20;

fn call(caller: &Caller, what: u64, argument: u64) -> u64 {
    // SAFETY: the server's functions take any numbers, and this process has no signal handlers.
    let result = unsafe { caller.call([what, argument, 0, 0, 0, 0]) };
    let result = result.expect("the call is made");
    assert_ne!(result, WRONG, "function {what} says so");
    result
}

/// Calls go on by the way that this is about.
fn exitless(caller: &Caller) {
    assert_eq!(caller.path(), Path::Vmfunc);
}

/// A variable of a thread's own: each call finds what the last one on its carrier has left there.
fn variable(caller: &Caller, what: u64) {
    // One caller, one call at a time: it is the same carrier, unless the vCPU was given another one meanwhile.
    let mut last = call(caller, what, 1);
    let mut kept = 0;
    for value in 2..2 + TIMES {
        let found = call(caller, what, value);
        assert!(found < value, "{found} was never written before {value}");
        kept += u64::from(found == value - 1);
        last = found;
    }
    assert!(kept >= TIMES / 2, "kept {kept} of {TIMES}, last {last}");
}

fn errno_is_the_carriers(caller: &Caller) {
    // SAFETY: of this thread.
    unsafe { *libc::__errno_location() = 77 };
    variable(caller, ERRNO);
    // SAFETY: as above.
    assert_eq!(unsafe { *libc::__errno_location() }, 77, "the client's own");
}

fn thread_local_variables_are_the_carriers(caller: &Caller) {
    variable(caller, LOCAL);
}

fn the_thread_is_a_carrier(caller: &Caller) {
    let first = call(caller, THREAD, 0);
    for _ in 0..TIMES {
        let now = call(caller, THREAD, 0);
        assert!((1..4 << 20).contains(&now));
        // The other carriers were started right beside it.
        assert!(now.abs_diff(first) < 16, "{now} beside {first}");
    }
}

fn clock(caller: &Caller, what: u64) {
    let mut last = 0;
    for _ in 0..TIMES {
        let now = call(caller, what, 0);
        assert!(now > last, "{now} after {last}");
        if last > 0 {
            assert!(now - last < 60_000_000_000, "{now} long after {last}");
        }
        last = now;
        // Goes home by itself, and so certainly is the server VM's.
        call(caller, THREAD, 0);
    }
}

fn clocks_go_forward(caller: &Caller) {
    clock(caller, CLOCK);
    clock(caller, RAW_CLOCK);
}

fn there_is_no_restartable_sequence(caller: &Caller) {
    for _ in 0..TIMES {
        assert_eq!(call(caller, SEQUENCES, 0) as i64, -2);
    }
}

fn the_cpu_is_one_of_the_servers(caller: &Caller) {
    for _ in 0..TIMES {
        // The server VM of this test has one.
        assert_eq!(call(caller, CPU, 0), 0);
    }
}

fn a_lock_that_another_thread_has(caller: &Caller) {
    let first = call(caller, LOCK, 0);
    for more in 1..4 {
        assert_eq!(call(caller, LOCK, 0), first + more);
    }
}

fn the_heap_grows(caller: &Caller) {
    for shift in [4, 12, 17, 20, 22, 20, 12] {
        assert_eq!(call(caller, HEAP, 1 << shift), 1 << shift);
    }
}

fn fork_in_a_call(caller: &Caller) {
    for status in 0..4 {
        assert_eq!(call(caller, FORK, status), status);
        // Copy on write has taken the memory away: what a call finds there is right all the same.
        assert_eq!(call(caller, HEAP, 1 << 14), 1 << 14);
    }
}

fn signals_of_the_server(caller: &Caller) {
    let first = call(caller, SIGNAL, 0);
    for more in 1..4 {
        assert_eq!(call(caller, SIGNAL, 0), first + more);
    }
}

fn a_panic_that_is_caught(caller: &Caller) {
    let first = call(caller, UNWIND, 0);
    for more in 1..TIMES {
        assert_eq!(call(caller, UNWIND, 0), first + more);
    }
}

/// Functions as tests by their names.
macro_rules! tests {
    ($caller:ident: $($name:ident)*) => {
        [$(Test::new(stringify!($name), || {
            exitless($caller);
            $name($caller);
            exitless($caller);
        })),*]
    };
}

pub fn run() -> Result<bool, Error> {
    let caller = Caller::connect(DEVICE)?;
    let caller = &caller;
    let passed = tap::run(&tests!(caller:
        errno_is_the_carriers
        thread_local_variables_are_the_carriers
        the_thread_is_a_carrier
        clocks_go_forward
        there_is_no_restartable_sequence
        the_cpu_is_one_of_the_servers
        a_lock_that_another_thread_has
        the_heap_grows
        fork_in_a_call
        signals_of_the_server
        a_panic_that_is_caught
    ));
    Ok(passed)
}
