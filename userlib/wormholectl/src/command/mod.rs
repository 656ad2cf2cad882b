// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands.

mod generate;
mod info;
mod list;
mod pair;
mod serve;
mod stat;
mod unpair;

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use wormhole_window::Name;

use crate::cli::{Cli, Command};
use crate::control::{ask, Op, Response};
use crate::error::{Error, Kind};
use crate::socket::Paths;

/// Does what the command line says.
pub fn run(cli: &Cli) -> Result<(), Error> {
    match &cli.command {
        Command::Serve(args) => serve::run(cli, args),
        Command::List => list::run(cli),
        Command::Info => info::run(cli),
        Command::Stat(args) => stat::run(cli, args),
        Command::Pair(args) => pair::run(cli, args),
        Command::Unpair(args) => unpair::run(cli, args),
        Command::Generate(args) => generate::run(args),
    }
}

/// Prints the text, or with `--json` the value, to stdout.
fn print(cli: &Cli, value: &impl Serialize, text: &str) -> Result<(), Error> {
    let text = if cli.json {
        let mut json = serde_json::to_string_pretty(value)
            .map_err(|error| Error::failure(error.to_string()))?;
        json.push('\n');
        json
    } else {
        text.to_owned()
    };
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Error::io("stdout", &error))
}

/// Asks the holder of a pairing.
fn ask_holder(run_dir: &Path, name: Name, op: Op) -> Result<Response, Error> {
    let paths = Paths::new(run_dir, name)?;
    ask(&paths.control(), op).map_err(|error| match error.kind {
        Kind::NotThere => Error::not_there(format!(
            "no pairing named {name} in {} ({error})",
            run_dir.display()
        )),
        _ => error,
    })
}

/// Asks for something to be done, and prints that it was.
fn order(cli: &Cli, name: Name, op: Op) -> Result<(), Error> {
    match ask_holder(&cli.run_dir, name, op)? {
        Response::Done(text) => print(cli, &Response::Done(text.clone()), &(text + "\n")),
        Response::Error(error) => Err(error),
        Response::Status(_) => Err(Error::failure("an answer to another question")),
    }
}
