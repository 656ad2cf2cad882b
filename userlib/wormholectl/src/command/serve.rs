// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl serve`

use std::os::fd::AsFd;

use nix::unistd::{Gid, Group};
use wormhole_window::Layout;

use crate::cli::{Cli, Serve};
use crate::error::Error;
use crate::host::{Device, Host};
use crate::process::ProcFs;
use crate::serve::{Config, Server, Unpaired};
use crate::stop;

pub fn run(cli: &Cli, args: &Serve) -> Result<(), Error> {
    let layout = Layout::new(args.size.0, args.channel_size.0)
        .map_err(|error| Error::usage(error.to_string()))?;
    let config = Config {
        name: args.name,
        layout,
        run_dir: cli.run_dir.clone(),
        group: args.group.as_deref().map(group).transpose()?,
        pair: !args.no_pair,
    };
    if config.pair {
        serve(&config, Device::new(&cli.device)?)
    } else {
        serve(&config, Unpaired)
    }
}

fn serve(config: &Config, host: impl Host) -> Result<(), Error> {
    // Before there is anything that a signal would leave behind.
    let stop = stop::signals()?;
    let mut server = Server::new(config, host, ProcFs)?;
    log::info!("{}: serving", config.name);
    server.run(stop.as_fd())?;
    log::info!("{}: ended", config.name);
    Ok(())
}

fn group(text: &str) -> Result<Gid, Error> {
    if let Ok(number) = text.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(Error::usage(format!("there is no group '{text}'"))),
        Err(errno) => Err(Error::os(format!("group '{text}'"), errno)),
    }
}
