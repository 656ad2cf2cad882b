// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl generate`: man pages and completions.

use std::fs;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Generate, Generated};
use crate::error::Error;

pub fn run(args: &Generate) -> Result<(), Error> {
    let fail = |error: std::io::Error| Error::io(args.out.display(), &error);
    fs::create_dir_all(&args.out).map_err(fail)?;
    let mut command = Cli::command();
    match args.what {
        Generated::Man => clap_mangen::generate_to(command, &args.out).map_err(fail),
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut command, "wormholectl", &args.out)
                    .map_err(fail)?;
            }
            Ok(())
        }
    }
}
