// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests exitless calls on a KVM host, as root, with wormhole.ko loaded:
//!
//!     wormhole-switch-test [--list] [NAME…]
//!
//! Runs the tests with these NAMEs, or all. A NAME that no test has stands for those that have it in theirs. Prints TAP; the exit status says whether all is well.
//! Both VMs of a test are this program's, and run a few instructions of its own instead of an operating system.

mod attacks;
mod bases;
mod calls;
mod causes;
mod concurrent;
mod contention;
mod counts;
mod cpu_modes;
mod cr3;
mod deadline;
#[path = "../../ioctl/src/device.rs"]
#[allow(dead_code, reason = "the other test program uses more of it")]
mod device;
mod events;
mod fixture;
mod gate;
mod guest_code;
mod hops;
mod hypercalls;
mod kills;
mod layout;
mod memory;
mod modes;
mod nested;
#[path = "../../ioctl/src/observe.rs"]
#[allow(dead_code, reason = "the other test program uses more of it")]
mod observe;
mod paging;
mod pair;
mod posted;
mod registers;
mod reset;
mod retire;
mod shadow_paging;
mod signal;
#[path = "../../ioctl/src/tap.rs"]
#[allow(dead_code, reason = "the other test program uses more of it")]
mod tap;
mod teardown;
mod tenants;
mod vm;

use std::cell::Cell;
use std::process::ExitCode;

use wormhole_uapi as uapi;

/// A test's name and what it does; it fails by panicking.
type Test = (&'static str, fn());

thread_local! {
    static SKIPPED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The test that this thread runs could not be run here, and why. It is to return.
fn skip(why: &'static str) {
    SKIPPED.set(Some(why));
}

/// Functions as tests by their names.
macro_rules! tests {
    ($($name:ident)*) => {
        pub fn tests() -> Vec<$crate::Test> {
            vec![$((stringify!($name), $name as fn())),*]
        }
    };
}
use tests;

fn main() -> ExitCode {
    let mut filters: Vec<String> = std::env::args().skip(1).collect();
    let list = filters.first().is_some_and(|first| first == "--list");
    if list {
        filters.remove(0);
    }
    let all: Vec<Test> = [
        fixture::tests(),
        hypercalls::tests(),
        calls::tests(),
        registers::tests(),
        bases::tests(),
        counts::tests(),
        events::tests(),
        hops::tests(),
        causes::tests(),
        signal::tests(),
        concurrent::tests(),
        contention::tests(),
        posted::tests(),
        modes::tests(),
        cpu_modes::tests(),
        cr3::tests(),
        gate::tests(),
        attacks::tests(),
        nested::tests(),
        teardown::tests(),
        kills::tests(),
        retire::tests(),
        tenants::tests(),
        shadow_paging::tests(),
        reset::tests(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let exact = |filter: &str| all.iter().any(|(name, _)| *name == filter);
    let chosen = all.iter().copied().filter(|(name, _)| {
        filters.is_empty()
            || filters
                .iter()
                .any(|f| name == f || !exact(f) && name.contains(f.as_str()))
    });
    if list {
        for (name, _) in chosen {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }

    let info = device::Device::open()
        .expect("/dev/wormhole opens")
        .info()
        .expect("INFO");
    let possible = info.cpu_features & uapi::WORMHOLE_CPU_VMFUNC as u64 != 0;
    let tests: Vec<_> = chosen
        .map(|(name, run)| {
            tap::Test::with_outcome(name, move || {
                if !possible {
                    return tap::Outcome::Skip("this CPU has no EPTP switching by VMFUNC");
                }
                run();
                SKIPPED
                    .take()
                    .map_or(tap::Outcome::Pass, tap::Outcome::Skip)
            })
        })
        .collect();
    if tap::run(&tests) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
