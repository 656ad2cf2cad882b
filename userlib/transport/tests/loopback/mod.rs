// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses of this machine itself, for both ends of a connection.

use std::io::Write;

use wormhole_transport::{listen, Config, Endpoint, VsockAddress};

/// Any free port.
pub const TCP: &str = "127.0.0.1:0";

/// Any free port.
pub const VSOCK: VsockAddress = VsockAddress {
    cid: VsockAddress::LOCAL_CID,
    port: u32::MAX,
};

/// Puts the port that was free into `config`: `listener` names it.
pub fn take_port(config: &mut Config, listener: &str) {
    match &mut config.endpoint {
        Endpoint::Tcp(address) => *address = listener.to_owned(),
        Endpoint::Vsock(address) => {
            *address = listener.strip_prefix("vsock ").unwrap().parse().unwrap();
        }
        _ => {}
    }
}

/// Whether processes of this machine reach each other by vsock. If not, that is
/// told past the harness, which hides what a test prints that passes.
pub fn has_vsock() -> bool {
    let missing = listen(&Config::vsock(VSOCK)).err();
    if let Some(why) = &missing {
        let line = format!("skipped: no vsock_loopback here: {why}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    missing.is_none()
}
