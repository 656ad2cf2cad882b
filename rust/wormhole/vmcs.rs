// SPDX-License-Identifier: GPL-2.0

//! The fields of a vCPU's VMCS that the switch reads and writes (Intel SDM vol. 3, chapter 27 and
//! appendix B), as types.

use core::{arch::asm, marker::PhantomData};

/// A field of the VMCS: its encoding (appendix B), and the type of its value.
pub(crate) trait Field {
    const ENCODING: u64;
    type Value;

    fn from_raw(raw: u64) -> Self::Value;
    fn into_raw(value: Self::Value) -> u64;
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $value:ty = $encoding:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Field for $name {
            const ENCODING: u64 = $encoding;
            type Value = $value;

            fn from_raw(raw: u64) -> $value {
                // Fields narrower than 64 bits read as zero above their width.
                raw as $value
            }

            fn into_raw(value: $value) -> u64 {
                value.into()
            }
        }
    )*};
}

fields! {
    /// VM-function controls; bit 0: EPTP switching.
    VmFunctionControls: u64 = 0x2018;
    /// EPT pointer.
    EptPointer: u64 = 0x201a;
    /// EPTP-list address.
    EptpListAddress: u64 = 0x2024;
    /// Primary processor-based VM-execution controls.
    PrimaryControls: u32 = 0x4002;
    /// Secondary processor-based VM-execution controls.
    SecondaryControls: u32 = 0x401e;
    /// VM-entry interruption-information field.
    EntryInterruption: u32 = 0x4016;
    /// Exit qualification.
    ExitQualification: u64 = 0x6400;
    /// Guest-linear address.
    GuestLinearAddress: u64 = 0x640a;
    /// Exit reason.
    RawExitReason: u32 = 0x4402;
    /// VM-exit interruption information.
    ExitInterruption: u32 = 0x4404;
    /// IDT-vectoring information.
    IdtVectoring: u32 = 0x4408;
    /// VM-exit instruction length, in bytes.
    ExitInstructionLength: u32 = 0x440c;
    GuestCsSelector: u16 = 0x0802;
    GuestSsSelector: u16 = 0x0804;
    GuestCsLimit: u32 = 0x4802;
    GuestSsLimit: u32 = 0x4804;
    GuestCsAccess: u32 = 0x4816;
    GuestSsAccess: u32 = 0x4818;
    /// Interruptibility state.
    GuestInterruptibility: u32 = 0x4824;
    GuestCsBase: u64 = 0x6808;
    GuestSsBase: u64 = 0x680a;
    GuestFsBase: u64 = 0x680e;
    GuestGsBase: u64 = 0x6810;
    /// CR4 guest/host mask: bits that are 1 are the host's.
    Cr4Mask: u64 = 0x6002;
    /// CR4 read shadow: what the guest reads of those.
    Cr4ReadShadow: u64 = 0x6006;
    GuestIdtrBase: u64 = 0x6818;
    GuestCr3: u64 = 0x6802;
    GuestCr4: u64 = 0x6804;
    GuestRsp: u64 = 0x681c;
    GuestRip: u64 = 0x681e;
    GuestRflags: u64 = 0x6820;
    /// Pending debug exceptions.
    GuestPendingDebug: u64 = 0x6822;
}

/// Primary control "CR3-load exiting" (27.6.2). KVM sets no CR3-target values.
pub(crate) const CR3_LOAD_EXITING: u32 = 1 << 15;
/// CR4.CET.
pub(crate) const CR4_CET: u64 = 1 << 23;
/// Secondary control "enable EPT" (27.6.2).
pub(crate) const ENABLE_EPT: u32 = 1 << 1;
/// Secondary control "Intel PT uses guest physical addresses" (27.6.2).
pub(crate) const PT_USES_GUEST_PHYSICAL: u32 = 1 << 24;
/// Secondary control "descriptor-table exiting" (27.6.2).
pub(crate) const DESCRIPTOR_TABLE_EXITING: u32 = 1 << 2;
/// Secondary control "enable VM functions".
pub(crate) const ENABLE_VM_FUNCTIONS: u32 = 1 << 13;
/// VM-function control "EPTP switching" (27.6.14).
pub(crate) const EPTP_SWITCHING: u64 = 1 << 0;

/// The VMCS that is current on this CPU.
///
/// # Invariants
///
/// For `'a` there is a current VMCS, which is that of the vCPU at hand.
pub(crate) struct CurrentVmcs<'a>(PhantomData<&'a ()>);

impl CurrentVmcs<'_> {
    /// # Safety
    ///
    /// While the value lives the calling thread must be the vCPU's, within KVM_RUN and after
    /// `vcpu_load()`: KVM then has its VMCS current whenever the thread runs.
    pub(crate) unsafe fn assume() -> Self {
        // INVARIANT: The caller's promise.
        Self(PhantomData)
    }

    /// VMREAD.
    pub(crate) fn read<F: Field>(&self) -> F::Value {
        let raw: u64;
        // SAFETY: By the invariants there is a current VMCS; reading has no effect. Every CPU with
        // EPT has the fields above, which KVM requires.
        unsafe {
            asm!("vmread {raw}, {encoding}", raw = out(reg) raw, encoding = in(reg) F::ENCODING,
                 options(nomem, nostack));
        }
        F::from_raw(raw)
    }

    /// VMWRITE.
    ///
    /// # Safety
    ///
    /// The value must be one that KVM expects there, or that is replaced before KVM looks, or of a
    /// field that KVM leaves alone; the guest must be none the wiser but for what it asked for.
    pub(crate) unsafe fn write<F: Field>(&self, value: F::Value) {
        // SAFETY: By the invariants there is a current VMCS; the caller vouches for the effect.
        unsafe {
            asm!("vmwrite {encoding}, {raw}", raw = in(reg) F::into_raw(value),
                 encoding = in(reg) F::ENCODING, options(nostack));
        }
    }
}
