// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unbinding the device from its driver, through sysfs, and binding it again.

use std::fs;
use std::thread;
use std::time::Duration;

const DRIVER: &str = "/sys/bus/pci/drivers/wormhole_guest";
const NODE: &str = "/sys/class/misc/wormhole_guest0/device";

/// A device that its driver does not have.
pub struct Unbound(String);

/// Takes the device away from its driver.
pub fn unbind() -> Result<Unbound, String> {
    let device = fs::canonicalize(NODE).map_err(|error| format!("{NODE}: {error}"))?;
    let address = device
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or(format!("{NODE} is no PCI device's"))?;
    write("unbind", address)?;
    Ok(Unbound(address.to_owned()))
}

impl Unbound {
    pub fn bind(self) -> Result<(), String> {
        thread::sleep(Duration::from_millis(10));
        write("bind", &self.0)
    }
}

fn write(file: &str, address: &str) -> Result<(), String> {
    fs::write(format!("{DRIVER}/{file}"), address).map_err(|error| format!("{file}: {error}"))
}
