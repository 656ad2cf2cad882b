// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entry point of `wormholectl`.

use std::process::ExitCode;

use clap::Parser;
use wormholectl::cli::Cli;
use wormholectl::{command, logger};

fn main() -> ExitCode {
    // clap ends with exit code 2 on wrong usage.
    let cli = Cli::parse();
    logger::init(cli.verbose, cli.quiet);
    match command::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wormholectl: {error}");
            if cli.json {
                println!("{}", error.to_json());
            }
            ExitCode::from(error.kind.exit_code())
        }
    }
}
