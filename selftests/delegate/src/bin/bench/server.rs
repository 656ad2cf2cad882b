// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server's side: exitless calls first, then messages.

use wormhole_delegate::{Listener, Options};
use wormhole_transport::Endpoint;

use crate::{entry, ring, Result};

pub fn run(device: &str) -> Result<()> {
    let mut listener = Listener::open(device)?;
    println!("serving at {device}");
    let service = listener.accept()?;
    drop(listener);
    let options = Options {
        // The client has one thread; what others do now and then would be counted.
        carriers: 1,
        ..Options::default()
    };
    service.run(entry, options)?;

    let config = ring::asleep(Endpoint::Ring(device.into()));
    let mut server = wormhole_transport::listen(&config)?.accept()?.serve()?;
    ring::serve(server.as_mut())
}
