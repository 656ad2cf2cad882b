// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Times calls from a process of one Linux VM into a process of another, in both VMs of a pairing:
//!
//!     wormhole-delegate-bench server|client [DEVICE]
//!
//! The server serves one client. The client prints rows for `wormhole-switch-bench --rows`, see `rows.rs`. In between
//! it asks for counters of the host, see `counters.rs`: somebody there must answer.

mod client;
mod counters;
mod one_thread;
mod ring;
mod rows;
mod server;
mod ticks;

use std::process::ExitCode;

const DEVICE: &str = "/dev/wormhole_guest0";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the first word of a call says. The others are numbers.
const NULL: u64 = 0; // returns their sum at once
const PARENT: u64 = 1; // getppid() + 1: one system call

extern "C" fn entry(what: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> u64 {
    match what {
        NULL => [b, c, d, e, f].into_iter().fold(0, u64::wrapping_add),
        PARENT => u64::from(std::os::unix::process::parent_id()) + 1,
        _ => u64::MAX,
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["server"] => server::run(DEVICE),
        ["server", device] => server::run(device),
        ["client"] => client::run(DEVICE),
        ["client", device] => client::run(device),
        _ => {
            eprintln!("usage: wormhole-delegate-bench server|client [DEVICE]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wormhole-delegate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
