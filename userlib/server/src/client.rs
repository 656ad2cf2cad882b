// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a child process does: serve one client, or look whether OpenCL is there.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use wormhole_opencl_server::{
    capture_printed, references, Binaries, Library, Limits, ServeError, Session,
};
use wormhole_transport::{Config, Connection, Kind};
use wormhole_vmfunc::{Handler, Reply};

use crate::options::Options;
use crate::{heap, watchdog};

/// In the environment of whatever the vendor's loader loads: a Wormhole client
/// library there offers no platforms, so that no server serves itself.
const MARK: &str = "WORMHOLE_SERVER";

fn vendor(options: &Options) -> anyhow::Result<wormhole_opencl_server::api::Vendor> {
    std::env::set_var(MARK, "1");
    Ok(Library::load(&options.library)?)
}

/// The client of this process.
struct OpenCl(Arc<Session>);

impl Handler for OpenCl {
    type Error = ServeError;

    fn blocks(&self, request: &[u8]) -> bool {
        Session::blocks(request)
    }

    fn handle(&self, request: &[u8], kind: Kind, reply: &mut Reply<'_>) -> Result<(), ServeError> {
        self.0.handle(request, kind, reply)
    }

    fn refuse(&self, reply: &mut Reply<'_>) -> Result<(), ServeError> {
        self.0.refuse(reply)
    }

    fn over(&self, why: &dyn Display) {
        log::warn!("an exitless call was the client's last: {why}");
        // SAFETY: _exit only ends the process, which is this client's alone.
        unsafe { libc::_exit(1) }
    }
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
    let (server, spare) = connection.serve_spare().context("no client after all")?;
    heap::settle();
    watchdog::start(watched).context("cannot watch the connection")?;
    let vendor = vendor(options)?;
    let vendor = match options.count_references {
        true => references::counted(vendor),
        false => vendor,
    };
    let limits = Limits {
        max_objects: options.max_objects,
        ..Limits::default()
    };
    let binaries = Binaries::new(binaries.to_path_buf(), options.max_binaries);
    let area = spare.as_ref().map(|spare| spare.data().clone());
    // For as long as the vendor may have a thread that uses it.
    let area = area.map(|area| &*Box::leak(Box::new(area)));
    let session = Arc::new(Session::new(vendor, binaries, limits).with_area(area));
    session.show_printed(capture_printed().context("cannot take kernels' output")?);
    let client = OpenCl(session.clone());
    let (max_message, carriers) = (config.limits.max_message, options.carriers);
    wormhole_vmfunc::serve(server, spare, client, max_message, carriers)?;
    log::info!("objects left: {}", session.left());
    if options.count_references {
        log::info!("references left: {}", references::held());
    }
    Ok(())
}
