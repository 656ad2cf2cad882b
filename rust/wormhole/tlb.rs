// SPDX-License-Identifier: GPL-2.0

//! Having every CPU leave its guest, and forget what it knows of a view.

use crate::ept::Eptp;
use core::arch::asm;
use kernel::{bindings, prelude::*};

/// INVEPT type "single-context" (Intel SDM vol. 3, chapter 33).
const SINGLE_CONTEXT: u64 = 1;

/// INVEPT's operand.
#[repr(C, align(16))]
struct Descriptor {
    eptp: u64,
    reserved: u64,
}

/// Interrupts every CPU and waits: each vCPU that was in guest mode has had a VM exit by the time
/// this returns, and no CPU has translations left that came through one of `views`. It does not
/// sleep, but interrupts must be on.
pub(crate) fn evict_all(views: [&[Eptp]; 2]) {
    // SAFETY: The function does not sleep and takes no locks; `views` lives until all CPUs have run
    // it.
    unsafe {
        bindings::on_each_cpu_cond_mask(
            None,
            Some(forget),
            (&raw const views).cast_mut().cast(),
            true,
            &raw const bindings::__cpu_online_mask,
        )
    };
}

/// # Safety
///
/// `views` must point to a `[&[Eptp]; 2]`.
unsafe extern "C" fn forget(views: *mut c_void) {
    // SAFETY: The caller's promise.
    let views = unsafe { *views.cast::<[&[Eptp]; 2]>() };
    if !in_vmx_operation() {
        return;
    }
    for view in views.into_iter().flatten() {
        let descriptor = Descriptor {
            eptp: view.value(),
            reserved: 0,
        };
        // SAFETY: In VMX root operation, with interrupts off; invalidating is always allowed.
        unsafe {
            asm!("invept {kind}, [{descriptor}]", kind = in(reg) SINGLE_CONTEXT,
                 descriptor = in(reg) &raw const descriptor, options(nostack));
        }
    }
}

/// CR4.VMXE: KVM sets and clears it together with VMXON and VMXOFF, with interrupts off.
fn in_vmx_operation() -> bool {
    const VMXE: u64 = 1 << 13;
    let cr4: u64;
    // SAFETY: Reading CR4 has no effect.
    unsafe { asm!("mov {cr4}, cr4", cr4 = out(reg) cr4, options(nomem, nostack)) };
    cr4 & VMXE != 0
}
