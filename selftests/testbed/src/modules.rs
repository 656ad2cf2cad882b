// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernel modules: which ones a machine needs, in the order in which they load.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Modules that the Intel host loads before its root is mounted, and for KVM.
pub const HOST: &[&str] = &["ata_piix", "sd_mod", "overlay", "kvm-intel", "vhost_vsock"];

/// Modules that the Intel host has for modprobe: for the VMs' network.
pub const HOST_NETWORK: &[&str] = &["bridge", "tun", "vhost_net"];

/// Modules that a VM loads.
pub const GUEST: &[&str] = &[
    "virtio_blk",
    "overlay",
    "vmw_vsock_virtio_transport",
    "virtio_net",
];

/// Returns the paths, below `directory` (one release's folder of modules), of `wanted` and of everything these depend
/// on, dependencies first. What `modules.dep` does not list is taken to be built into the kernel.
pub fn load_order(directory: &Path, wanted: &[&str]) -> Result<Vec<String>> {
    let list = directory.join("modules.dep");
    let text =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut dependencies = HashMap::new();
    for line in text.lines() {
        if let Some((module, rest)) = line.split_once(':') {
            dependencies.insert(module_name(module), (module, rest));
        }
    }
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let Some((module, rest)) = dependencies.get(&module_name(name)) else {
            continue;
        };
        // modules.dep lists a module's dependencies, indirect ones included, in reverse order of loading
        for path in rest.split_whitespace().rev().chain([*module]) {
            if !order.iter().any(|known| known == path) {
                order.push(path.to_owned());
            }
        }
    }
    Ok(order)
}

/// `kernel/arch/x86/kvm/kvm-intel.ko` is the module `kvm_intel`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let directory =
            std::env::temp_dir().join(format!("wormhole-modules-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(
            directory.join("modules.dep"),
            "k/kvm-intel.ko: k/kvm.ko k/irqbypass.ko\nk/kvm.ko: k/irqbypass.ko\nk/irqbypass.ko:\nk/overlay.ko:\n",
        )
        .unwrap();
        let order = load_order(&directory, &["overlay", "kvm_intel", "kvm", "built-in"]).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(
            order,
            [
                "k/overlay.ko",
                "k/irqbypass.ko",
                "k/kvm.ko",
                "k/kvm-intel.ko"
            ]
        );
    }
}
