// SPDX-License-Identifier: GPL-2.0

//! A vCPU's registers, as KVM keeps them: general ones in memory, others in the VMCS or cached from
//! it.

use crate::{
    bindings as kvm_bindings,
    exit::Reason,
    vmcs::{
        CurrentVmcs, ExitInstructionLength, GuestCr3, GuestCsAccess, GuestCsBase, GuestCsLimit,
        GuestCsSelector, GuestFsBase, GuestGsBase, GuestInterruptibility, GuestPendingDebug,
        GuestRflags, GuestRip, GuestRsp, GuestSsAccess, GuestSsBase, GuestSsLimit, GuestSsSelector,
        RawExitReason, SecondaryControls, ENABLE_EPT,
    },
};
use core::{marker::PhantomData, ptr::NonNull};

/// A general register, by its encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Gpr {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rsp = 4,
    Rsi = 6,
    Rdi = 7,
    R11 = 11,
}

/// All general registers by encoding. That of RSP (4) is not to be relied on.
pub(crate) type Gprs = [u64; 16];

/// A segment register as the VMCS has it.
#[derive(Clone, Copy)]
struct Segment {
    selector: u16,
    limit: u32,
    access: u32,
    base: u64,
}

/// CS and SS.
#[derive(Clone, Copy)]
pub(crate) struct Segments {
    cs: Segment,
    ss: Segment,
}

impl Segments {
    /// Flat, 64-bit, CPL 3, as Linux has them.
    pub(crate) const USER: Self = Self {
        cs: Segment {
            selector: 0x33,
            limit: u32::MAX,
            access: 0xa0fb,
            base: 0,
        },
        ss: Segment {
            selector: 0x2b,
            limit: u32::MAX,
            access: 0xc0f3,
            base: 0,
        },
    };

    pub(crate) fn read(vmcs: &CurrentVmcs<'_>) -> Self {
        Self {
            cs: Segment {
                selector: vmcs.read::<GuestCsSelector>(),
                limit: vmcs.read::<GuestCsLimit>(),
                access: vmcs.read::<GuestCsAccess>(),
                base: vmcs.read::<GuestCsBase>(),
            },
            ss: Segment {
                selector: vmcs.read::<GuestSsSelector>(),
                limit: vmcs.read::<GuestSsLimit>(),
                access: vmcs.read::<GuestSsAccess>(),
                base: vmcs.read::<GuestSsBase>(),
            },
        }
    }

    pub(crate) fn write(&self, vcpu: &Vcpu<'_>) {
        let vmcs = vcpu.vmcs();
        // SAFETY: What this vCPU had in them before, in the same mode; KVM's cached values are given
        // up.
        unsafe {
            vmcs.write::<GuestCsSelector>(self.cs.selector);
            vmcs.write::<GuestCsLimit>(self.cs.limit);
            vmcs.write::<GuestCsAccess>(self.cs.access);
            vmcs.write::<GuestCsBase>(self.cs.base);
            vmcs.write::<GuestSsSelector>(self.ss.selector);
            vmcs.write::<GuestSsLimit>(self.ss.limit);
            vmcs.write::<GuestSsAccess>(self.ss.access);
            vmcs.write::<GuestSsBase>(self.ss.base);
        }
        vcpu.forget(kvm_bindings::kvm_reg_VCPU_REG_SEGMENTS);
    }
}

/// The registers of a vCPU whose thread this is.
///
/// # Invariants
///
/// The pointer is valid for `'a`, and nobody but the calling thread, the vCPU's own within KVM_RUN,
/// uses the registers meanwhile. The VMCS is the vCPU's.
pub(crate) struct Vcpu<'a> {
    vcpu: NonNull<kvm_bindings::kvm_vcpu>,
    vmcs: CurrentVmcs<'a>,
    _lifetime: PhantomData<&'a kvm_bindings::kvm_vcpu>,
}

impl Vcpu<'_> {
    /// # Safety
    ///
    /// As the invariants say; also that of [`CurrentVmcs::assume`].
    pub(crate) unsafe fn from_raw(vcpu: NonNull<kvm_bindings::kvm_vcpu>) -> Self {
        Self {
            vcpu,
            // SAFETY: The caller's promise.
            vmcs: unsafe { CurrentVmcs::assume() },
            _lifetime: PhantomData,
        }
    }

    /// Its VMCS.
    pub(crate) fn vmcs(&self) -> &CurrentVmcs<'_> {
        &self.vmcs
    }

    /// Its number in its VM, from 0 on without gaps.
    pub(crate) fn index(&self) -> usize {
        // SAFETY: By the invariants; never changes.
        usize::try_from(unsafe { (*self.vcpu.as_ptr()).vcpu_idx }).unwrap_or(usize::MAX)
    }

    /// The number of vCPUs of its VM.
    pub(crate) fn siblings(&self) -> usize {
        // SAFETY: By the invariants; the VM lives as long as its vCPU. It counts up alone.
        let online = unsafe { (&raw const (*self.vm()).online_vcpus.counter).read_volatile() };
        usize::try_from(online).unwrap_or(0)
    }

    /// Its VM, which lives as long as it.
    pub(crate) fn vm(&self) -> *mut kvm_bindings::kvm {
        // SAFETY: By the invariants; never changes.
        unsafe { (*self.vcpu.as_ptr()).kvm }
    }

    fn arch(&self) -> *mut kvm_bindings::kvm_vcpu_arch {
        // SAFETY: The field is part of the valid vCPU.
        unsafe { &raw mut (*self.vcpu.as_ptr()).arch }
    }

    /// A general register, but for RSP.
    pub(crate) fn gpr(&self, register: Gpr) -> u64 {
        // SAFETY: By the invariants; the index is less than 16.
        unsafe { (*self.arch()).regs[register as usize] as u64 }
    }

    /// Sets a general register, but for RSP.
    pub(crate) fn set_gpr(&self, register: Gpr, value: u64) {
        // SAFETY: As in `gpr`.
        unsafe { (*self.arch()).regs[register as usize] = value as usize };
    }

    pub(crate) fn gprs(&self) -> Gprs {
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).regs.map(|value| value as u64) }
    }

    /// Sets them all but RSP.
    pub(crate) fn set_gprs(&self, values: &Gprs) {
        let rsp = self.gpr(Gpr::Rsp);
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).regs = values.map(|value| value as usize) };
        self.set_gpr(Gpr::Rsp, rsp);
    }

    pub(crate) fn rip(&self) -> u64 {
        let available = self.cached(kvm_bindings::kvm_reg_VCPU_REG_RIP);
        if available {
            // SAFETY: By the invariants.
            unsafe { (*self.arch()).rip as u64 }
        } else {
            self.vmcs.read::<GuestRip>()
        }
    }

    pub(crate) fn rsp(&self) -> u64 {
        if self.cached(kvm_bindings::kvm_reg_VCPU_REGS_RSP) {
            self.gpr(Gpr::Rsp)
        } else {
            self.vmcs.read::<GuestRsp>()
        }
    }

    /// Sets RIP, and that of KVM's cache.
    pub(crate) fn set_rip(&self, rip: u64) {
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).rip = rip as usize };
        self.mark_dirty(kvm_bindings::kvm_reg_VCPU_REG_RIP);
    }

    /// Sets RSP, and that of KVM's cache.
    pub(crate) fn set_rsp(&self, rsp: u64) {
        self.set_gpr(Gpr::Rsp, rsp);
        self.mark_dirty(kvm_bindings::kvm_reg_VCPU_REGS_RSP);
    }

    pub(crate) fn rflags(&self) -> u64 {
        self.vmcs.read::<GuestRflags>()
    }

    pub(crate) fn set_rflags(&self, rflags: u64) {
        // SAFETY: The guest's own, bit 1 set as it must be; KVM's cached value is given up.
        unsafe {
            self.vmcs
                .write::<GuestRflags>((rflags | 1 << 1) & !RFLAGS_VM)
        };
        self.forget(kvm_bindings::kvm_reg_VCPU_REG_RFLAGS);
    }

    pub(crate) fn fs_base(&self) -> u64 {
        self.vmcs.read::<GuestFsBase>()
    }

    pub(crate) fn gs_base(&self) -> u64 {
        self.vmcs.read::<GuestGsBase>()
    }

    /// Sets the bases of FS and GS, canonical ones: they were in the registers before.
    pub(crate) fn set_bases(&self, fs: u64, gs: u64) {
        // SAFETY: The guest's own registers, canonical; KVM's cached values are given up.
        unsafe {
            self.vmcs.write::<GuestFsBase>(fs);
            self.vmcs.write::<GuestGsBase>(gs);
        }
        self.forget(kvm_bindings::kvm_reg_VCPU_REG_SEGMENTS);
    }

    /// Takes a single step that is due away, and the shadow of STI and MOV SS: the vCPU goes on
    /// elsewhere.
    pub(crate) fn clear_shadows(&self) {
        const STI_AND_MOV_SS: u32 = 0b11;
        let interruptibility = self.vmcs.read::<GuestInterruptibility>();
        // SAFETY: None is pending where the vCPU goes on.
        unsafe {
            self.vmcs.write::<GuestPendingDebug>(0);
            self.vmcs
                .write::<GuestInterruptibility>(interruptibility & !STI_AND_MOV_SS);
        }
    }

    /// The guest's IA32_LSTAR. With interrupts off, around a VM entry of a vCPU in long mode: KVM
    /// then has the guest's value in the CPU.
    pub(crate) fn lstar(&self) -> u64 {
        const IA32_LSTAR: u32 = 0xc000_0082;
        let (low, high): (u32, u32);
        // SAFETY: Every x86-64 CPU has this MSR; reading it has no effect.
        unsafe {
            core::arch::asm!("rdmsr", in("ecx") IA32_LSTAR, out("eax") low, out("edx") high,
                             options(nomem, nostack));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    /// The last exit is a VMCALL with bits 31:16 of EAX as in `magic`. That of a nested guest is its
    /// own hypervisor's to answer.
    pub(crate) fn is_hypercall(&self, magic: u32) -> bool {
        if self.nested_or_smm() {
            return false;
        }
        let vmcall = self.vmcs.read::<RawExitReason>() == u32::from(Reason::VMCALL.0);
        vmcall && self.gpr(Gpr::Rax) & !0xffff == u64::from(magic)
    }

    /// Goes on behind the instruction that caused the last exit.
    pub(crate) fn skip_instruction(&self) {
        let length = self.vmcs.read::<ExitInstructionLength>();
        self.set_rip(self.rip().wrapping_add(length.into()));
        self.clear_shadows();
    }

    /// The address of the top page table.
    pub(crate) fn cr3(&self) -> u64 {
        self.vmcs.read::<GuestCr3>() & ADDRESS_MASK
    }

    /// Current privilege level: the DPL of SS. That of CS may be another, if it is conforming.
    pub(crate) fn cpl(&self) -> u32 {
        self.vmcs.read::<GuestSsAccess>() >> 5 & 3
    }

    /// CS.L of a vCPU in long mode.
    pub(crate) fn in_64_bit_code(&self) -> bool {
        const CS_L: u32 = 1 << 13;
        self.vmcs.read::<GuestCsAccess>() & CS_L != 0
    }

    /// EFER.LMA and EFER.NXE.
    pub(crate) fn long_mode_with_nx(&self) -> bool {
        const LMA_AND_NXE: u64 = 1 << 10 | 1 << 11;
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).efer & LMA_AND_NXE == LMA_AND_NXE }
    }

    /// The guest has processor event-based sampling on, which writes to linear addresses.
    pub(crate) fn samples(&self) -> bool {
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).pmu.pebs_enable != 0 }
    }

    /// A nested guest's VMCS is current, or the vCPU is in system-management mode.
    pub(crate) fn nested_or_smm(&self) -> bool {
        const GUEST_OR_SMM: u32 = kvm_bindings::HF_GUEST_MASK | kvm_bindings::HF_SMM_MASK;
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).hflags & GUEST_OR_SMM != 0 }
    }

    /// The VM has been reset, or resumes from sleep: its first vCPU is about to enter guest mode in
    /// real-address mode (Intel SDM vol. 3, 11.1.1).
    pub(crate) fn starts_vm(&self) -> bool {
        const CR0_PE: usize = 1 << 0;
        // SAFETY: By the invariants. The guest has to exit to change PE.
        let cr0 = unsafe { (*self.arch()).cr0 };
        // SMM is entered in real-address mode too, and a nested guest's mode is its own.
        self.index() == 0 && cr0 & CR0_PE == 0 && !self.nested_or_smm()
    }

    /// KVM uses EPT for it (kvm_intel's parameter "ept").
    pub(crate) fn has_ept(&self) -> bool {
        self.vmcs.read::<SecondaryControls>() & ENABLE_EPT != 0
    }

    /// The guest's XCR0.
    pub(crate) fn xcr0(&self) -> u64 {
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).xcr0 }
    }

    /// CR2, where KVM keeps it out of guest mode.
    pub(crate) fn cr2(&self) -> u64 {
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).cr2 as u64 }
    }

    /// See [`Self::cr2`].
    pub(crate) fn set_cr2(&self, cr2: u64) {
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).cr2 = cr2 as usize };
    }

    /// Takes the exception or software interrupt away that KVM has queued for injection: it was of
    /// the code in a view.
    pub(crate) fn drop_queued_exception(&self) {
        let arch = self.arch();
        // SAFETY: By the invariants.
        unsafe {
            (*arch).exception.pending = false;
            (*arch).exception.injected = false;
            if (*arch).interrupt.soft {
                (*arch).interrupt.injected = false;
            }
        }
    }

    /// Whether KVM has an event queued again that was on its way at the last exit.
    pub(crate) fn event_queued(&self) -> bool {
        let arch = self.arch();
        // SAFETY: By the invariants.
        unsafe {
            (*arch).exception.pending
                || (*arch).exception.injected
                || (*arch).interrupt.injected
                || (*arch).nmi_injected
        }
    }

    fn cached(&self, register: kvm_bindings::kvm_reg) -> bool {
        // SAFETY: By the invariants.
        unsafe { (*self.arch()).regs_avail[0] & 1 << register != 0 }
    }

    fn mark_dirty(&self, register: kvm_bindings::kvm_reg) {
        // SAFETY: By the invariants.
        unsafe {
            (*self.arch()).regs_avail[0] |= 1 << register;
            (*self.arch()).regs_dirty[0] |= 1 << register;
        }
    }

    fn forget(&self, register: kvm_bindings::kvm_reg) {
        // SAFETY: By the invariants.
        unsafe {
            (*self.arch()).regs_avail[0] &= !(1 << register);
            (*self.arch()).regs_dirty[0] &= !(1 << register);
        }
    }
}

const RFLAGS_VM: u64 = 1 << 17;
/// Bits of CR3 and of EPT pointers that are an address.
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;
