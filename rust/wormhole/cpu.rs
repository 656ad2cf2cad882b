// SPDX-License-Identifier: GPL-2.0

//! The capabilities of this machine's CPUs.

use crate::vmx_capability::{Capabilities, ReadMsr};
use core::arch::x86_64::__cpuid;
use kernel::{bindings, cpu::nr_cpu_ids, error::to_result, prelude::*};

/// Keeps CPUs from going on or off line.
struct HotplugLock;

impl HotplugLock {
    fn new() -> Self {
        // SAFETY: No requirements but process context, where all callers are.
        unsafe { bindings::cpus_read_lock() };
        Self
    }
}

impl Drop for HotplugLock {
    fn drop(&mut self) {
        // SAFETY: `new()` took the lock on this thread: the type never leaves `capabilities()`.
        unsafe { bindings::cpus_read_unlock() };
    }
}

/// The MSRs of one CPU.
struct Msrs {
    cpu: u32,
}

impl Msrs {
    /// ENXIO if the CPU is offline, EIO if reading faults.
    fn try_read(&self, index: u32) -> Result<u64> {
        let mut value = 0;
        // SAFETY: `value` is valid for the call, which returns after the other CPU has answered,
        // and which handles the fault of an MSR that is not there.
        to_result(unsafe { bindings::rdmsrq_safe_on_cpu(self.cpu, index, &mut value) })?;
        Ok(value)
    }
}

impl ReadMsr for Msrs {
    fn read(&self, index: u32) -> Option<u64> {
        self.try_read(index).ok()
    }
}

/// CPUID.1:ECX.VMX of the CPU that this runs on. The kernel does not run on a mix.
fn vmx_reported() -> bool {
    const FEATURES: u32 = 1;
    const VMX: u32 = 1 << 5;

    // SAFETY: Every x86-64 CPU has CPUID and leaf 1.
    unsafe { __cpuid(FEATURES) }.ecx & VMX != 0
}

/// What every online CPU can do. May sleep.
pub(crate) fn capabilities() -> Capabilities {
    const IA32_TIME_STAMP_COUNTER: u32 = 0x10;

    let vmx_reported = vmx_reported();
    let _hotplug = HotplugLock::new();
    (0..nr_cpu_ids())
        .map(|cpu| Msrs { cpu })
        // Every CPU has this MSR: not to read it is to be offline.
        .filter(|msrs| msrs.read(IA32_TIME_STAMP_COUNTER).is_some())
        .map(|msrs| Capabilities::decode(vmx_reported, &msrs))
        .fold(Capabilities::ALL, |all, one| all & one)
}
