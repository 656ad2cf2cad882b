// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the CPU and the kernel let this process do.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use crate::Error;

/// `rdfsbase` and the like are there for user mode.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// Whether user mode can read and write its FS and GS base, and XSAVE is on.
pub(crate) fn check() -> Result<(), Error> {
    // SAFETY: reads the auxiliary vector.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    if hwcap2 & HWCAP2_FSGSBASE == 0 {
        return Err(Error::Unsupported("no FSGSBASE"));
    }
    if !has_xsave() {
        return Err(Error::Unsupported("no XSAVE"));
    }
    Ok(())
}

/// CPUID.1:ECX.OSXSAVE
fn has_xsave() -> bool {
    // Rust 1.95 has made this one safe.
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 CPU has leaf 1.
    let leaf = unsafe { __cpuid(1) };
    leaf.ecx & (1 << 27) != 0
}

/// CPUID.7.0:ECX.OSPKE: CR4.PKE is set, so PKRU counts.
pub(crate) fn has_pkru() -> bool {
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 CPU has leaf 0, which says whether there is a leaf 7.
    let leaf = unsafe {
        match __cpuid(0).eax {
            0..=6 => return false,
            _ => __cpuid_count(7, 0),
        }
    };
    leaf.ecx & (1 << 4) != 0
}

/// The state components that are on.
pub(crate) fn xcr0() -> u64 {
    if !has_xsave() {
        return 3;
    }
    // SAFETY: OSXSAVE is set, so XGETBV and XCR0 are there.
    unsafe { xgetbv() }
}

/// # Safety
/// The CPU must have XSAVE, and it must be on.
#[target_feature(enable = "xsave")]
unsafe fn xgetbv() -> u64 {
    // SAFETY: the caller vouches for it.
    #[allow(unused_unsafe)]
    unsafe {
        _xgetbv(0)
    }
}

/// FS base of this thread.
pub(crate) fn fs_base() -> u64 {
    let base: u64;
    // SAFETY: `check` was successful before anything of this crate starts.
    unsafe {
        core::arch::asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags));
    }
    base
}
