// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use wormhole_opencl_server::Library;
use wormhole_transport::VsockAddress;

/// Serve this machine's accelerators to Wormhole clients.
///
/// Runs in the foreground, with one process for each client, until SIGTERM or
/// SIGINT. Logs to stderr; WORMHOLE_LOG=off|error|warn|info|debug says how much.
#[derive(Parser, Debug)]
#[command(name = "wormhole-server", version)]
pub struct Options {
    /// Serve OpenCL.
    #[arg(long, required = true)]
    pub opencl: bool,
    /// Take clients from another VM, through this device; there can be several
    /// [default: all that there are, unless --tcp or --vsock is given].
    #[arg(long, value_name = "DEVICE")]
    pub ring: Vec<PathBuf>,
    /// Take clients at this address. There is no authentication.
    #[arg(long, value_name = "ADDR:PORT")]
    pub tcp: Vec<String>,
    /// Take clients at this vsock port, of any context ID of this machine if none is given. There is
    /// no authentication.
    #[arg(long, value_name = "[CID:]PORT")]
    pub vsock: Vec<VsockAddress>,
    /// Take clients of this machine at this Unix socket, by the code of the ring.
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub memfd: Vec<PathBuf>,
    /// OpenCL library to serve, by name or path.
    #[arg(long, value_name = "LIBRARY", default_value = Library::DEFAULT)]
    pub library: OsString,
    /// Say at a client's end how many references to the library's objects this program still holds.
    #[arg(long, hide = true)]
    pub count_references: bool,
    /// Clients at once of each device, address or port; more are turned away.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_clients: usize,
    /// Exitless calls of a client that can be under way at once, at least two. There are
    /// more than two while it needs them.
    #[arg(long, value_name = "N", default_value_t = wormhole_vmfunc::MAX_CARRIERS,
          value_parser = clap::value_parser!(u32).range(2..=i64::from(wormhole_vmfunc::MAX_CARRIERS)))]
    pub carriers: u32,
    /// Longest message of a client, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub max_message: u32,
    /// Objects that a client may have at once.
    #[arg(long, value_name = "N", default_value_t = 1 << 20)]
    pub max_objects: usize,
    /// Directory for the programs that clients hold tokens of; without it they
    /// are forgotten when the server ends.
    #[arg(long, value_name = "DIRECTORY")]
    pub binaries: Option<PathBuf>,
    /// Bytes in that directory at most.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub max_binaries: u64,
}
