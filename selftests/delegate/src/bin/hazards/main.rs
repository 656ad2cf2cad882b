// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What code of an ordinary process may count on when it runs on a client's vCPU: its thread-local variables, clocks,
//! locks, heap, children and signals, and that it has no CPU of its own. The server has functions that use each; the
//! client, in the other VM, calls them and looks at the results. TAP.

mod client;
mod functions;
#[path = "../../../../ioctl/src/tap.rs"]
#[allow(dead_code, reason = "the other test programs use more of it")]
mod tap;

use std::process::ExitCode;

use wormhole_delegate::{Listener, Options};

const DEVICE: &str = "/dev/wormhole_guest0";

fn serve() -> Result<(), wormhole_delegate::Error> {
    functions::handle_signals();
    let mut listener = Listener::open(DEVICE)?;
    println!("serving");
    listener.accept()?.run(functions::entry, Options::default())
}

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("server") => serve().map(|()| true),
        Some("client") => client::run(),
        _ => {
            eprintln!("usage: wormhole-delegate-hazards server|client");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wormhole-delegate-hazards: {error}");
            ExitCode::FAILURE
        }
    }
}
