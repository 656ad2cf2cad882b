// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormhole-idl`: checks a description and prints what follows from it.

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use wormhole_idl::{client, coverage, protocol, server, wire, Api};

/// Check an API description and print what is generated from it.
#[derive(Parser)]
#[command(name = "wormhole-idl", version)]
struct Options {
    /// What to print.
    output: Output,
    /// The description.
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../opencl/spec/opencl.spec.rs"))]
    description: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// Which functions of OpenCL 3.0 work, as reStructuredText.
    Coverage,
    /// Every message as it is on the wire, as reStructuredText.
    Wire,
    /// Source of what both ends share.
    Protocol,
    /// Source of the client's functions.
    Client,
    /// Source of the server's dispatcher.
    Server,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let api = Api::load(&options.description)?;
    let text = match options.output {
        Output::Coverage => coverage::table(&api, (3, 0)),
        Output::Wire => wire::document(&api),
        Output::Protocol => protocol::generate(&api)?,
        Output::Client => client::generate(&api)?,
        Output::Server => server::generate(&api)?,
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
