// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormhole-server`: takes clients in and gives each a process of its own.
//!
//! The parent never loads the vendor's library: whatever that does, it does to
//! one client.

mod client;
mod daemon;
mod heap;
mod logger;
mod options;
mod watchdog;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let options = options::Options::parse();
    logger::start();
    match daemon::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
