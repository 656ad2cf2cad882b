// SPDX-License-Identifier: GPL-2.0

//! Where KVM calls us: before a VM entry, after a VM exit, and in place of its exit handler.
//!
//! While a pairing exists, three functions of `kvm_intel` start with a call to the code below. It is
//! assembly, since it runs on the function's own arguments and decides whether the function runs at
//! all; and short, since it runs for every VM on the machine: a VM that is in no pairing costs nine
//! instructions each.

use crate::{
    bindings as kvm_bindings,
    ftrace_direct::{self, DirectCall},
    hypercall,
    kvm::ModuleReference,
    pairing::Role,
    registry, uapi,
    vcpu::Vcpu,
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
};

/// Bit n: a VM the address of whose `struct kvm` has n in bits 17:12 is in a pairing.
pub(crate) static FILTER: Atomic<u64> = Atomic::new(0);

/// The bit of [`FILTER`] that a VM has.
pub(crate) fn filter_bit(kvm: usize) -> u64 {
    1 << (kvm >> 12 & 63)
}

// A direct call may change what a called function may change but for its arguments. `jmp
// __x86_return_thunk` is the kernel's `ret`.
core::arch::global_asm!(
    ".pushsection .text, \"ax\"",
    ".macro wormhole_filter",
    "mov rax, [rdi + {kvm}]",
    "shr rax, 12",
    "and eax, 63",
    "bt qword ptr [rip + {filter}], rax",
    "jc 2f",
    "jmp __x86_return_thunk",
    "2:",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push r8",
    "push r9",
    ".endm",
    ".macro wormhole_restore",
    "pop r9",
    "pop r8",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    ".endm",
    ".balign 16",
    ".type wormhole_before_entry, @function",
    "wormhole_before_entry:",
    "endbr64",
    "wormhole_filter",
    "call {before_entry}",
    "wormhole_restore",
    "jmp __x86_return_thunk",
    ".size wormhole_before_entry, . - wormhole_before_entry",
    ".balign 16",
    ".type wormhole_after_exit, @function",
    "wormhole_after_exit:",
    "endbr64",
    "wormhole_filter",
    "call {after_exit}",
    "wormhole_restore",
    "jmp __x86_return_thunk",
    ".size wormhole_after_exit, . - wormhole_after_exit",
    ".balign 16",
    ".type wormhole_exit_handler, @function",
    "wormhole_exit_handler:",
    "endbr64",
    "wormhole_filter",
    "call {is_ours}",
    "test al, al",
    "wormhole_restore",
    "jnz 3f",
    "jmp __x86_return_thunk",
    // Not back into KVM's function: on to ours, which returns to its caller.
    "3:",
    "add rsp, 8",
    "jmp {handle}",
    ".size wormhole_exit_handler, . - wormhole_exit_handler",
    ".popsection",
    // objtool need not follow the return address that is dropped.
    ".pushsection .discard.func_stack_frame_non_standard, \"aw\"",
    ".quad wormhole_exit_handler",
    ".popsection",
    kvm = const core::mem::offset_of!(kvm_bindings::kvm_vcpu, kvm),
    filter = sym FILTER,
    before_entry = sym before_entry,
    after_exit = sym after_exit,
    is_ours = sym is_ours,
    handle = sym handle,
);

extern "C" {
    fn wormhole_before_entry();
    fn wormhole_after_exit();
    fn wormhole_exit_handler();
}

/// Calls of [`handle`] that are under way.
static HANDLING: Atomic<i32> = Atomic::new(0);

/// The hooks, in place. Dropping the value sleeps, for seconds, until no CPU is in any of them.
pub(crate) struct Hooks {
    calls: [Option<DirectCall>; 3],
    // Dropped last: the functions are its.
    _vendor_module: ModuleReference,
}

impl Hooks {
    /// `vendor_module`: kvm_intel. ENOENT: it is not one that we know; EBUSY: another direct call is
    /// there.
    pub(crate) fn attach(vendor_module: ModuleReference) -> Result<Self> {
        // SAFETY: The code keeps the arguments and the callee-saved registers; `drop` waits until
        // it is left.
        unsafe {
            let mut hooks = Self {
                calls: [None, None, None],
                _vendor_module: vendor_module,
            };
            let targets = [
                (c"vmx_vcpu_run", wormhole_before_entry as usize),
                (c"vmx_handle_exit_irqoff", wormhole_after_exit as usize),
                (c"vmx_handle_exit", wormhole_exit_handler as usize),
            ];
            for (call, (function, target)) in hooks.calls.iter_mut().zip(targets) {
                *call = Some(DirectCall::new(function, target)?);
            }
            Ok(hooks)
        }
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        for call in &mut self.calls {
            *call = None;
        }
        // Those preempted in the assembly or on their way into `handle`.
        ftrace_direct::synchronize();
        while HANDLING.load(Acquire) != 0 {
            // SAFETY: Process context.
            unsafe { kernel::bindings::msleep(1) };
        }
        // Those on their way out of it.
        ftrace_direct::synchronize();
    }
}

/// The vCPU of a hook, and the address of its VM's `struct kvm`.
///
/// # Safety
///
/// `vcpu` must be what KVM called the hooked function with.
unsafe fn arguments<'a>(vcpu: *mut kvm_bindings::kvm_vcpu) -> Option<(Vcpu<'a>, usize)> {
    // SAFETY: KVM calls these functions on the vCPU's thread within KVM_RUN, with a valid vCPU.
    let vcpu = unsafe { Vcpu::from_raw(NonNull::new(vcpu)?) };
    let kvm = vcpu.vm() as usize;
    Some((vcpu, kvm))
}

/// Interrupts are off.
///
/// # Safety
///
/// To be called by the assembly above alone.
unsafe extern "C" fn before_entry(vcpu: *mut kvm_bindings::kvm_vcpu) {
    // SAFETY: As the caller says.
    if let Some((vcpu, kvm)) = unsafe { arguments(vcpu) } {
        registry::with_client(kvm, |switch| switch.before_entry(&vcpu));
        if vcpu.starts_vm() {
            for role in [Role::Client, Role::Server] {
                registry::with_each(kvm, role, |switch| switch.vm_starts(role));
            }
        }
    }
}

/// Interrupts are off, and the CPU has the guest's vector registers.
///
/// # Safety
///
/// To be called by the assembly above alone.
unsafe extern "C" fn after_exit(vcpu: *mut kvm_bindings::kvm_vcpu) {
    // SAFETY: As the caller says.
    if let Some((vcpu, kvm)) = unsafe { arguments(vcpu) } {
        registry::with_client(kvm, |switch| switch.after_exit(&vcpu));
    }
}

/// Whether [`handle`] is to run rather than KVM's exit handler.
///
/// # Safety
///
/// To be called by the assembly above alone.
unsafe extern "C" fn is_ours(vcpu: *mut kvm_bindings::kvm_vcpu) -> bool {
    // SAFETY: As the caller says.
    let Some((vcpu, kvm)) = (unsafe { arguments(vcpu) }) else {
        return false;
    };
    let answered = registry::with_client(kvm, |switch| switch.has_answer(&vcpu));
    let ours = match answered {
        Some(true) => true,
        client => {
            let paired = client.is_some() || registry::is_server(kvm);
            paired && vcpu.is_hypercall(uapi::WORMHOLE_HYPERCALL)
        }
    };
    if ours {
        HANDLING.fetch_add(1, Full);
    }
    ours
}

/// In place of KVM's exit handler, with its arguments and its return value: 1 has the vCPU go on.
///
/// # Safety
///
/// To be called by the assembly above alone, after `is_ours` said yes.
unsafe extern "C" fn handle(vcpu: *mut kvm_bindings::kvm_vcpu, _fastpath: c_uint) -> c_int {
    // SAFETY: As the caller says.
    if let Some((vcpu, kvm)) = unsafe { arguments(vcpu) } {
        let client = registry::client(kvm);
        let answered = client.as_ref().is_some_and(|switch| switch.answer(&vcpu));
        if !answered && vcpu.is_hypercall(uapi::WORMHOLE_HYPERCALL) {
            let named = |role, key| registry::named(kvm, role, key);
            hypercall::handle(&vcpu, client, named);
        }
    }
    HANDLING.fetch_sub(1, Full);
    1
}

/// The bits of the VMs that are in pairings now.
pub(crate) fn set_filter(bits: u64) {
    FILTER.store(bits, Relaxed);
}
