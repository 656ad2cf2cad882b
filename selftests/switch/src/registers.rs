// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one side sees of the other's registers.

use kvm_bindings::kvm_regs;
use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{call_regs, Pair, CARRIER};
use crate::vm::{Stop, RFLAGS_USER};

crate::tests! {
    server_sees_no_client_registers
    server_sees_no_client_vectors
    server_has_its_carrier
    server_has_default_controls
    client_sees_no_server_registers
    client_sees_no_server_vectors
    pad_registers_are_zero
}

/// Marks of the client; a register's number is added to it.
const MARK: u64 = 0xc1c1_c1c1_0000_0000;

// In the XSAVE area.
const FCW: usize = 0;
const MXCSR: usize = 24;
const XSTATE_BV: usize = 512;
const DEFAULT_FCW: u16 = 0x37f;
const DEFAULT_MXCSR: u32 = 0x1f80;

/// The registers in an XSAVE area, but for the x87 and SSE control words: ST0-7, XMM0-15, and beyond the header AVX
/// and, if there is AVX-512, that.
fn vectors(features: u64) -> Vec<std::ops::Range<usize>> {
    let mut ranges = vec![32..160, 160..416];
    if features & (1 << 2) != 0 {
        ranges.push(576..832);
    }
    if features & (7 << 5) == 7 << 5 {
        // opmasks, ZMM0-15's upper halves, ZMM16-31: where all Intel CPUs have them
        ranges.extend([1088..1152, 1152..1664, 1664..2688]);
    }
    ranges
}

/// An XSAVE area with all registers full of `byte`, and the control words at their defaults.
pub fn full(features: u64, byte: u8) -> Vec<u8> {
    let mut area = vec![0; 4096];
    for range in vectors(features) {
        area[range].fill(byte);
    }
    // An ST register is 10 bytes in 16; the rest is reserved.
    for register in 0..8 {
        area[32 + register * 16 + 10..32 + register * 16 + 16].fill(0);
    }
    area[FCW..FCW + 2].copy_from_slice(&DEFAULT_FCW.to_le_bytes());
    area[MXCSR..MXCSR + 4].copy_from_slice(&DEFAULT_MXCSR.to_le_bytes());
    area[XSTATE_BV..XSTATE_BV + 8].copy_from_slice(&features.to_le_bytes());
    area
}

#[track_caller]
pub fn assert_clean(area: &[u8], features: u64) {
    for range in vectors(features) {
        let registers = &area[range.clone()];
        assert!(
            registers.iter().all(|byte| *byte == 0),
            "{range:?} of the XSAVE area: {registers:x?}"
        );
    }
}

/// A client full of marks calls `guest_registers`, whose leavings are full of marks too.
fn call() -> (Pair, Stop) {
    let mut pair = Pair::ready(code::guest_registers());
    let features = pair.client.vcpu.features();
    let leavings = full(features, 0x5e);
    // XRSTOR refuses what is beyond the features' components, so all of the area is that.
    pair.server
        .memory
        .write(SERVER_DATA_PAGES + code::LEFT_XSAVE, &leavings);
    pair.client.vcpu.set_xsave(&full(features, 0xc1));
    pair.client.vcpu.set_bases(MARK & 0xffff_ffff, 0x1234_5678);
    pair.client.memory.fill(FRAME, 0x100, 0);
    pair.client.vcpu.enter_user(kvm_regs {
        rbx: MARK + 3,
        rbp: MARK + 5,
        r11: MARK + 11,
        r12: MARK + 12,
        r13: MARK + 13,
        r14: MARK + 14,
        r15: MARK + 15,
        ..call_regs([SERVER_DATA, 1, 2, 3, 4, 5])
    });
    let stop = pair.client.vcpu.run();
    assert_eq!(stop.expect(AT_HOME).regs.rdi, 4711);
    (pair, stop)
}

/// Register `number` as the server function saw it.
fn seen(pair: &Pair, number: u64) -> u64 {
    pair.server.memory.get(SERVER_DATA_PAGES + number * 8)
}

fn server_sees_no_client_registers() {
    let (pair, _) = call();
    let arguments = [(7, SERVER_DATA), (6, 1), (2, 2), (1, 3), (8, 4), (9, 5)];
    for (register, value) in arguments {
        assert_eq!(seen(&pair, register), value, "argument in {register}");
    }
    for register in [3, 5, 11, 12, 13, 14, 15] {
        let value = seen(&pair, register);
        assert_ne!(value, MARK + register, "register {register}");
    }
}

fn server_sees_no_client_vectors() {
    let (pair, _) = call();
    let area = pair
        .server
        .memory
        .read(SERVER_DATA_PAGES + code::SEEN_XSAVE, PAGE);
    assert_clean(&area, pair.client.vcpu.features());
}

fn server_has_its_carrier() {
    let (pair, _) = call();
    let carrier = pair.carrier(CARRIER);
    // The call has pushed its return address.
    assert_eq!(seen(&pair, 4), carrier.stack - 8, "RSP");
    assert_eq!(seen(&pair, 17), carrier.fs_base, "FS base");
    assert_ne!(seen(&pair, 18), 0x1234_5678, "GS base");
}

fn server_has_default_controls() {
    let (pair, _) = call();
    let area = pair
        .server
        .memory
        .read(SERVER_DATA_PAGES + code::SEEN_XSAVE, PAGE);
    let word = |at: usize| u32::from_le_bytes(area[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(word(FCW) & 0xffff, u32::from(DEFAULT_FCW));
    assert_eq!(word(MXCSR), DEFAULT_MXCSR);
    // arithmetic flags aside
    assert_eq!(seen(&pair, 16) & !0x8d5, RFLAGS_USER, "RFLAGS");
}

fn client_sees_no_server_registers() {
    let (_, stop) = call();
    let regs = stop.regs;
    assert_eq!(regs.rsp, FRAME);
    let others = [
        regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rbp, regs.rsi, regs.r8, regs.r9, regs.r10,
        regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ];
    for value in others {
        assert_ne!(value >> 32, code::KEPT >> 32, "{regs:x?}");
        assert!(
            !(SERVER_STACK..SERVER_STACK + SERVER_STACK_COUNT * PAGE + 1).contains(&value),
            "{regs:x?}"
        );
    }
}

fn client_sees_no_server_vectors() {
    let (pair, _) = call();
    assert_clean(&pair.client.vcpu.xsave(), pair.client.vcpu.features());
}

/// A call that hops home leaves nothing of the server in the client's registers.
fn pad_registers_are_zero() {
    let mut pair = Pair::ready(code::guest_ud2_inside());
    let features = pair.client.vcpu.features();
    let stop = pair.call([1, 2, 3, 4, 5, 6]).expect(AT_PAD);
    let regs = stop.regs;
    assert_eq!(regs.rax, u64::from(uapi::WORMHOLE_PAD_HOPPED));
    assert_eq!(regs.rsp, FRAME);
    let others = [
        regs.rcx, regs.rdx, regs.rbx, regs.rbp, regs.rsi, regs.r8, regs.r9, regs.r10, regs.r11,
        regs.r12, regs.r13, regs.r14, regs.r15,
    ];
    assert_eq!(others, [0; 13]);
    assert_clean(&pair.client.vcpu.xsave(), features);
}
