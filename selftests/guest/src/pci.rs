// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unbinding the device from its driver, through sysfs, and binding it again.

use std::fs;
use std::path::Path;

const DRIVER: &str = "/sys/bus/pci/drivers/wormhole_guest";
const NODE: &str = "/sys/class/misc/wormhole_guest0/device";

/// The PCI address of the device behind /dev/wormhole_guest0.
pub fn address() -> String {
    let device = fs::canonicalize(NODE).unwrap_or_else(|error| panic!("{NODE}: {error}"));
    device
        .file_name()
        .expect("a device's folder")
        .to_str()
        .expect("a PCI address")
        .to_owned()
}

pub fn unbind(address: &str) {
    write("unbind", address);
    assert!(
        !Path::new(crate::device::PATH).exists(),
        "the device node is still there"
    );
}

pub fn bind(address: &str) {
    write("bind", address);
    assert!(
        Path::new(crate::device::PATH).exists(),
        "no device node after bind"
    );
}

fn write(file: &str, address: &str) {
    fs::write(format!("{DRIVER}/{file}"), address)
        .unwrap_or_else(|error| panic!("{DRIVER}/{file}: {error}"));
}
