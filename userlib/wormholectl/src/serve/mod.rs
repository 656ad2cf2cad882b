// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl serve`: the ivshmem server of one pairing.

mod eventfd;
mod ivshmem;
mod pairing;
mod peer;
mod server;
mod unpaired;
mod window_memory;

pub use pairing::{Action, Failure, Pairing, RETRY};
pub use server::{Server, SEEK_LIMIT};
pub use unpaired::Unpaired;

use std::path::PathBuf;

use nix::unistd::Gid;
use wormhole_window::{Layout, Name};

/// What to serve.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: Name,
    pub layout: Layout,
    pub run_dir: PathBuf,
    /// Group that may connect VMs.
    pub group: Option<Gid>,
    /// Find each VM and pair the two; otherwise only share the window.
    pub pair: bool,
}
