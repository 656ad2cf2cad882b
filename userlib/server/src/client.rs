// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a child process does: serve one client, or look whether OpenCL is there.

use std::path::Path;

use anyhow::Context;
use wormhole_opencl_server::{Binaries, Library, Limits, Session};
use wormhole_transport::{Config, Connection};

use crate::options::Options;
use crate::watchdog;

/// In the environment of whatever the vendor's loader loads: a Wormhole client
/// library there offers no platforms, so that no server serves itself.
const MARK: &str = "WORMHOLE_SERVER";

fn vendor(options: &Options) -> anyhow::Result<wormhole_opencl_server::api::Vendor> {
    std::env::set_var(MARK, "1");
    Ok(Library::load(&options.library)?)
}

/// Fails if there is no OpenCL platform to serve.
pub fn probe(options: &Options) -> anyhow::Result<()> {
    let vendor = vendor(options)?;
    let platforms = wormhole_opencl_server::platform_names(&vendor)
        .context("the OpenCL library offers no platform")?;
    for name in platforms {
        log::info!("serving OpenCL platform \"{name}\"");
    }
    Ok(())
}

/// Serves a client until it goes.
pub fn serve(
    options: &Options,
    binaries: &Path,
    config: &Config,
    connection: Connection,
) -> anyhow::Result<()> {
    let fd = connection.into_fd();
    let watched = fd.try_clone().context("no file descriptor to watch")?;
    let connection = Connection::from_fd(fd, config)?;
    let mut server = connection.serve().context("no client after all")?;
    watchdog::start(watched).context("cannot watch the connection")?;
    let vendor = vendor(options)?;
    let limits = Limits {
        max_objects: options.max_objects,
        ..Limits::default()
    };
    let binaries = Binaries::new(binaries.to_path_buf(), options.max_binaries);
    Session::new(vendor, binaries, limits).serve(&mut *server)?;
    Ok(())
}
