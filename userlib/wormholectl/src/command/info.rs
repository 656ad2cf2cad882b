// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl info`

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use wormhole_uapi::{
    wormhole_info, WORMHOLE_ABI_VERSION, WORMHOLE_CPU_EPT, WORMHOLE_CPU_POSTED_INTR,
    WORMHOLE_CPU_VMFUNC, WORMHOLE_CPU_VMX, WORMHOLE_KERNEL_APICV, WORMHOLE_KERNEL_KVM,
    WORMHOLE_KERNEL_KVM_INTEL,
};

use super::print;
use crate::cli::Cli;
use crate::error::Error;
use crate::host::Device;

struct Feature {
    bit: u32,
    name: &'static str,
    /// What follows where it is missing.
    without: &'static str,
}

const CPU: [Feature; 4] = [
    Feature {
        bit: WORMHOLE_CPU_VMX,
        name: "vmx",
        without: "no KVM VM can run here, so nothing can be paired",
    },
    Feature {
        bit: WORMHOLE_CPU_EPT,
        name: "ept",
        without: "calls go through the ring only",
    },
    Feature {
        bit: WORMHOLE_CPU_VMFUNC,
        name: "vmfunc",
        without: "calls go through the ring only",
    },
    Feature {
        bit: WORMHOLE_CPU_POSTED_INTR,
        name: "posted-interrupts",
        without: "each notification of a running VM costs it an exit",
    },
];

const KERNEL: [Feature; 3] = [
    Feature {
        bit: WORMHOLE_KERNEL_KVM,
        name: "kvm",
        without: "no VM can run: load the kvm module",
    },
    Feature {
        bit: WORMHOLE_KERNEL_KVM_INTEL,
        name: "kvm-intel",
        without: "no VM can run: load the kvm_intel module",
    },
    Feature {
        bit: WORMHOLE_KERNEL_APICV,
        name: "apicv",
        without: "each notification of a running VM costs it an exit (kvm_intel.enable_apicv)",
    },
];

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Report {
    abi_version: u32,
    pairings: u32,
    cpu: BTreeMap<&'static str, bool>,
    kernel: BTreeMap<&'static str, bool>,
    missing: Vec<Missing>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Missing {
    feature: &'static str,
    consequence: &'static str,
}

pub fn run(cli: &Cli) -> Result<(), Error> {
    let info = Device::new(&cli.device)?
        .info()
        .map_err(|errno| Error::os(cli.device.display(), errno))?;
    let report = report(&info);
    print(cli, &report, &text(&report))?;
    if info.abi_version != WORMHOLE_ABI_VERSION {
        log::warn!(
            "the host module speaks interface version {}, this program {WORMHOLE_ABI_VERSION}",
            info.abi_version
        );
    }
    Ok(())
}

fn report(info: &wormhole_info) -> Report {
    let sets = [
        (&CPU[..], info.cpu_features),
        (&KERNEL[..], info.kernel_features),
    ];
    let has = |feature: &Feature, bits: u64| bits & u64::from(feature.bit) != 0;
    let [cpu, kernel] = sets.map(|(features, bits)| {
        features
            .iter()
            .map(|feature| (feature.name, has(feature, bits)))
            .collect()
    });
    let missing = sets
        .iter()
        .flat_map(|(features, bits)| features.iter().filter(|feature| !has(feature, *bits)))
        .map(|feature| Missing {
            feature: feature.name,
            consequence: feature.without,
        })
        .collect();
    Report {
        abi_version: info.abi_version,
        pairings: info.pairings,
        cpu,
        kernel,
        missing,
    }
}

fn text(report: &Report) -> String {
    let words = |features: &BTreeMap<&str, bool>| {
        let present = features.iter().filter(|(_, present)| **present);
        let names: Vec<&str> = present.map(|(name, _)| *name).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(" ")
        }
    };
    let mut text = format!(
        "interface  version {}\npairings   {}\nCPU        {}\nkernel     {}\n",
        report.abi_version,
        report.pairings,
        words(&report.cpu),
        words(&report.kernel)
    );
    for missing in &report.missing {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "missing    {}: {}",
            missing.feature, missing.consequence
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{report, text};
    use wormhole_uapi::wormhole_info;

    #[test]
    fn a_cpu_without_vmfunc() {
        let info = wormhole_info {
            abi_version: 1,
            cpu_features: 0b1011,
            kernel_features: 0b111,
            pairings: 2,
            ..Default::default()
        };
        let report = report(&info);
        assert_eq!(report.missing.len(), 1);
        assert_eq!(report.missing[0].feature, "vmfunc");
        assert!(report.cpu["ept"] && !report.cpu["vmfunc"] && report.kernel["apicv"]);
        assert!(text(&report).ends_with("missing    vmfunc: calls go through the ring only\n"));
    }

    #[test]
    fn nothing_at_all() {
        let report = report(&wormhole_info::default());
        assert_eq!(report.missing.len(), 7);
        assert!(text(&report).contains("CPU        none\n"));
    }
}
