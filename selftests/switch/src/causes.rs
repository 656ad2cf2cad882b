// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Each thing that a server function cannot do in its view makes the call hop home.

use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::hops::{check, hop_again, resume};
use crate::layout::*;
use crate::pair::{Pair, CARRIER};

crate::tests! {
    divide_error_hops
    breakpoint_hops
    int1_hops
    int_n_hops
    single_step_hops
    hlt_hops
    in_hops
    out_hops
    rdmsr_hops
    rdtsc_stays
    rdtsc_that_is_disabled_hops
    alignment_check_hops
    x87_exception_hops
    sse_exception_hops
    vmcall_hops
    sidt_hops
    sysenter_hops
    pause_loop
}

const EXCEPTION: u32 = uapi::WORMHOLE_HOP_EXCEPTION;
const MEMORY: u32 = uapi::WORMHOLE_HOP_MEMORY;
const INSTRUCTION: u32 = uapi::WORMHOLE_HOP_INSTRUCTION;

/// Calls that hop home at `rip` for one of `causes`, and are finished natively.
#[track_caller]
fn hops(pair: &mut Pair, rip: u64, causes: &[u32]) {
    for result in [4711, 4712] {
        let token = hop_again(pair, [SERVER_DATA, 0]);
        let cause = pair.carrier(CARRIER).cause;
        assert!(causes.contains(&cause), "cause {cause}");
        check(pair, cause, rip);
        assert_eq!(pair.finish(CARRIER, result), 0);
        assert_eq!(resume(pair, token), result);
    }
}

fn divide_error_hops() {
    let mut pair = Pair::ready(code::guest_divide());
    hops(&mut pair, code::guest_divide_at(), &[EXCEPTION]);
}

fn breakpoint_hops() {
    let mut pair = Pair::ready(code::guest_int3());
    hops(&mut pair, code::guest_int3_at(), &[EXCEPTION]);
}

fn int1_hops() {
    let mut pair = Pair::ready(code::guest_int1());
    let token = hop_again(&mut pair, [0, 0]);
    let carrier = pair.carrier(CARRIER);
    assert_eq!(carrier.cause, EXCEPTION);
    // It is a trap: before or behind it.
    let at = code::guest_int1_at();
    assert!(
        carrier.rip == at || carrier.rip == at + 1,
        "{:#x}",
        carrier.rip
    );
    assert_eq!(pair.finish(CARRIER, 7), 0);
    assert_eq!(resume(&mut pair, token), 7);
}

fn int_n_hops() {
    let mut pair = Pair::ready(code::guest_int80());
    hops(&mut pair, code::guest_int80_at(), &[EXCEPTION]);
}

fn single_step_hops() {
    let mut pair = Pair::ready(code::guest_single_step());
    hops(&mut pair, code::guest_single_step_at(), &[EXCEPTION]);
    assert_ne!(pair.carrier(CARRIER).rflags & (1 << 8), 0, "TF");
}

fn hlt_hops() {
    let mut pair = Pair::ready(code::guest_hlt());
    hops(&mut pair, code::guest_hlt_at(), &[EXCEPTION]);
}

/// #GP, or the I/O permission bitmap cannot be read.
fn in_hops() {
    let mut pair = Pair::ready(code::guest_in());
    hops(&mut pair, code::guest_in_at(), &[EXCEPTION, MEMORY]);
}

fn out_hops() {
    let mut pair = Pair::ready(code::guest_out());
    hops(&mut pair, code::guest_out_at(), &[EXCEPTION, MEMORY]);
}

fn rdmsr_hops() {
    let mut pair = Pair::ready(code::guest_rdmsr());
    hops(&mut pair, code::guest_rdmsr_at(), &[EXCEPTION]);
}

fn rdtsc_stays() {
    let mut pair = Pair::ready(code::guest_rdtsc());
    let first = pair.result([0; 6]);
    assert_ne!(pair.result([0; 6]), first);
}

fn rdtsc_that_is_disabled_hops() {
    let mut pair = Pair::ready(code::guest_rdtsc());
    pair.client.vcpu.change_sregs(|sregs| sregs.cr4 |= 1 << 2);
    hops(&mut pair, code::guest_rdtsc_at(), &[EXCEPTION]);
}

fn alignment_check_hops() {
    let mut pair = Pair::ready(code::guest_misaligned());
    pair.client.vcpu.change_sregs(|sregs| sregs.cr0 |= 1 << 18);
    hops(&mut pair, code::guest_misaligned_at(), &[EXCEPTION]);
    assert_ne!(pair.carrier(CARRIER).rflags & (1 << 18), 0, "AC");
}

fn x87_exception_hops() {
    let mut pair = Pair::ready(code::guest_x87());
    hops(&mut pair, code::guest_x87_at(), &[EXCEPTION]);
}

fn sse_exception_hops() {
    let mut pair = Pair::ready(code::guest_sse());
    hops(&mut pair, code::guest_sse_at(), &[EXCEPTION]);
}

fn vmcall_hops() {
    let mut pair = Pair::ready(code::guest_vmcall_inside());
    hops(&mut pair, code::guest_vmcall_inside_at(), &[INSTRUCTION]);
}

fn sidt_hops() {
    let mut pair = Pair::ready(code::guest_sidt());
    hops(&mut pair, code::guest_sidt_at(), &[INSTRUCTION]);
}

/// It would enter the client's kernel, not at the address for SYSCALL. The client goes on at CPL 3, with nothing of the server's in its registers.
fn sysenter_hops() {
    let mut pair = Pair::ready(code::guest_sysenter());
    let vcpu = &mut pair.client.vcpu;
    vcpu.set_msr(0x174, KERNEL_CS.into());
    vcpu.set_msr(0x175, KERNEL_BASE + KERNEL_STACK_TOP);
    vcpu.set_msr(0x176, code::guest_kernel_hypercall());
    let stop = pair.call([SERVER_DATA, 0, 0, 0, 0, 0]).expect(AT_PAD);
    assert_eq!(stop.cs, u64::from(USER_CS), "CS at PAD; {stop:x?}");
    let xsave = pair.client.vcpu.xsave();
    let mark = (code::KEPT + 3).to_le_bytes();
    assert!(!xsave.chunks_exact(8).any(|word| word == mark), "XMM9");
    assert_eq!(
        stop.regs.rax,
        u64::from(uapi::WORMHOLE_PAD_HOPPED),
        "{stop:x?}"
    );
    // It keeps no RIP.
    let carrier = pair.carrier(CARRIER);
    assert_eq!((carrier.cause, carrier.rip), (INSTRUCTION, 0));
}

/// It needs no hop: where PAUSE-loop exiting is on, KVM's exit is the host's business.
fn pause_loop() {
    let mut pair = Pair::ready(code::guest_pause());
    let stop = pair.call([0; 6]);
    if stop.is(AT_PAD) {
        assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_HOPPED));
        assert_eq!(pair.carrier(CARRIER).cause, INSTRUCTION);
    } else {
        assert_eq!(stop.expect(AT_HOME).regs.rdi, 4711);
    }
}
