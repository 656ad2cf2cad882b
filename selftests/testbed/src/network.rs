// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The VMs' private network, for VMs that ask for it: a bridge on the host, and for each VM a tap device that vhost
//! serves and virtio-net in the VM. Addresses are fixed; the host has none, and nothing leads out.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::disk::run;
use crate::modules::HOST_NETWORK;

/// On a VM's kernel command line: its address on the network, with the prefix length.
pub const ADDRESS_OPTION: &str = "testbed.address=";

const BRIDGE: &str = "vmbr0";

/// The VM's only network card; nothing renames it.
const CARD: &str = "eth0";

/// QEMU's arguments for the card of the VM with this context ID. QEMU makes the tap device, and it goes with QEMU.
pub fn qemu_arguments(cid: u32) -> [String; 4] {
    let tap = tap(cid);
    let [_, high, middle, low] = cid.to_be_bytes();
    [
        "-netdev".to_owned(),
        format!("tap,id=net,ifname={tap},script=no,downscript=no,vhost=on"),
        "-device".to_owned(),
        // no option ROM: nothing boots from it
        format!(
            "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:{high:02x}:{middle:02x}:{low:02x}"
        ),
    ]
}

/// Makes the bridge, unless it is there.
pub fn make_bridge() -> Result<()> {
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        return Ok(());
    }
    run(Command::new("modprobe").arg("-a").args(HOST_NETWORK))?;
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    bring_up(BRIDGE)
}

/// Joins the card of a VM that has been started to the bridge.
pub fn join_bridge(cid: u32) -> Result<()> {
    let tap = tap(cid);
    ip(&["link", "set", &tap, "master", BRIDGE])?;
    bring_up(&tap)
}

/// In a VM: gives the card its address.
pub fn configure(address: &str) -> Result<()> {
    ip(&["address", "add", address, "dev", CARD])?;
    bring_up(CARD)
}

/// Brings an interface up, with no IPv6, whose own messages would be work for VMs that are measured.
fn bring_up(interface: &str) -> Result<()> {
    ip(&["link", "set", interface, "addrgenmode", "none"])?;
    ip(&["link", "set", interface, "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

/// Context IDs are never used twice, so neither are these names.
fn tap(cid: u32) -> String {
    format!("vm{cid}")
}
