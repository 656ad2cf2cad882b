// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the guest driver in two paired VMs: `guest-test server` in the server VM and, at the same time,
//! `guest-test client` in the client VM. Both print TAP and fail if a test did.
//!
//! `guest-test link-down`, in the client VM while `guest-test serve` runs in the server VM: says "# waiting" once it is
//! connected; then somebody kills the server VM's QEMU and starts it, with its `guest-test serve`, again.

mod carrier;
mod client;
mod device;
mod link_down;
mod pci;
mod process;
mod script;
mod server;
#[path = "../../ioctl/src/tap.rs"]
mod tap;

use std::process::ExitCode;

fn main() -> ExitCode {
    let passed = match std::env::args().nth(1).as_deref() {
        Some("server") => server::run(),
        Some("serve") => server::run_serve(),
        Some("client") => client::run(),
        Some("link-down") => link_down::run(),
        _ => {
            eprintln!("usage: guest-test server|serve|client|link-down");
            return ExitCode::from(2);
        }
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
