// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line: the one definition that help texts, man pages and
//! completions are made from.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wormhole_window::Name;

use crate::host;
use crate::size::Size;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  not there: no such pairing, process, VM or device
  4  refused: not permitted, or taken already";

/// Pair KVM virtual machines for Wormhole
#[derive(Debug, Parser)]
#[command(name = "wormholectl", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Say more on stderr; twice for all
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Say nothing but errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Where the sockets are
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/run/wormhole"
    )]
    pub run_dir: PathBuf,

    /// The host module's device
    #[arg(long, global = true, value_name = "PATH", default_value = host::DEVICE)]
    pub device: PathBuf,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Serve),
    /// List the pairings
    List,
    /// Show what CPU and kernel offer, what is missing and what follows
    Info,
    Stat(Stat),
    Pair(Pair),
    Unpair(Unpair),
    #[command(hide = true)]
    Generate(Generate),
}

/// Serve one pairing: share a window between two VMs, and pair them
///
/// Makes the sockets DIR/NAME.server.sock and DIR/NAME.client.sock, for the
/// server VM's and the client VM's QEMU:
///
///   -chardev socket,id=wh,path=DIR/NAME.server.sock
///   -device ivshmem-doorbell,chardev=wh,vectors=2
///
/// and, last of all, DIR/NAME.control.sock for wormholectl. Each VM gets its
/// window once its process has a KVM VM; when both are there, they are
/// paired, and again whenever one was started anew. Runs until SIGTERM,
/// SIGINT or SIGHUP.
///
/// The sockets are the owner's only, unless --group lets a group's QEMUs
/// connect as well.
#[derive(Debug, Args)]
pub struct Serve {
    /// Name of the pairing: up to 31 of A-Z a-z 0-9 . _ -
    pub name: Name,

    /// Size of the window: a power of two from 1M to 64G
    #[arg(long, default_value = "64M")]
    pub size: Size,

    /// Size of each channel: a power of two from 256K; a window has up to 255
    #[arg(long, value_name = "SIZE", default_value = "4M")]
    pub channel_size: Size,

    /// Group, by name or number, whose members may connect VMs
    #[arg(long)]
    pub group: Option<String>,

    /// Only share the window: takes VMs without KVM, needs no host module
    #[arg(long)]
    pub no_pair: bool,
}

/// Show a pairing's state, VMs, channels and counters
///
/// Of each OpenCL function it shows how often it was called without a VM exit
/// (delegated), how many of these calls went on in the server VM (hopped) and why,
/// how often it was posted, to be carried out with the next call, and how often it
/// went by ring (home). These are the words of the VMs: the host sees no functions.
/// They are of the connections that are open, and of the last one of each channel
/// that is closed.
#[derive(Debug, Args)]
pub struct Stat {
    /// Name of the pairing; all of them if left out
    pub name: Option<Name>,
}

/// Pair two VMs by hand, or pair what `unpair` unpaired
///
/// With --client and --server: pairs the KVM VMs of two processes and holds
/// the pairing until SIGTERM, SIGINT, SIGHUP or `wormholectl unpair`
/// (exit code 0), or until a VM has gone (exit code 3). It makes no window.
///
/// With NAME: asks `wormholectl serve NAME` to pair its VMs again.
#[derive(Debug, Args)]
pub struct Pair {
    /// Name of a served pairing
    #[arg(required_unless_present = "client", conflicts_with_all = ["client", "server", "label"])]
    pub name: Option<Name>,

    /// Process of the client VM
    #[arg(long, value_name = "PID", requires = "server")]
    pub client: Option<i32>,

    /// Process of the server VM
    #[arg(long, value_name = "PID", requires = "client")]
    pub server: Option<i32>,

    /// Name of the new pairing; pair-SERVER-CLIENT if left out
    #[arg(long = "name", value_name = "NAME", requires = "client")]
    pub label: Option<Name>,
}

/// End a pairing
///
/// `wormholectl serve` goes on sharing the window and pairs no more, also not
/// VMs that are started anew, until `wormholectl pair NAME`. `wormholectl pair
/// --client --server` ends.
#[derive(Debug, Args)]
pub struct Unpair {
    /// Name of the pairing
    pub name: Name,
}

/// Write man pages or shell completions
#[derive(Debug, Args)]
pub struct Generate {
    pub what: Generated,

    /// Directory to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Generated {
    Man,
    Completions,
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn two_forms_of_pair() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["wormholectl", "pair"], args].concat());
        for good in [
            &["gpu0"][..],
            &["--client", "1", "--server", "2"],
            &["--client", "1", "--server", "2", "--name", "x"],
        ] {
            assert!(matches!(parse(good).unwrap().command, Command::Pair(_)));
        }
        for bad in [
            &[][..],
            &["--client", "1"],
            &["--server", "1"],
            &["gpu0", "--client", "1", "--server", "2"],
            &["gpu0", "--name", "x"],
            &["a/b"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
