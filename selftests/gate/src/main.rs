// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Prints the listings of the gate's two pages as Documentation/gate.rst has them. The tests hold
//! that page to them, and check what the pages do: see there.

// The host module uses the rest of it.
#[allow(dead_code)]
#[path = "../../../rust/wormhole/gate.rs"]
mod gate;
mod listing;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod server;

fn main() {
    for image in [gate::gate_image(), gate::server_image()] {
        println!("{}", listing::listing(&image));
    }
}
