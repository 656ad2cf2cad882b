// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls that only the server VM can finish.

use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{refused, Pair, CARRIER};

crate::tests! {
    syscall_hops
    unregistered_memory_hops
    unregistered_code_hops
    server_kernel_memory_hops
    non_canonical_address_hops
    write_to_read_only_memory_hops
    write_to_code_hops
    execution_of_data_hops
    gate_memory_hops
    cpuid_hops
    exception_hops
    vector_registers_hop
    result_after_a_hop
    resume_before_the_result
    token_is_good_once
    no_carrier_is_free
    another_carrier_takes_over
}

/// A call of `function` that hops home at `rip`, with registers as `guest_kept` has set them. Returns it and its token.
#[track_caller]
pub fn hop(function: u64, arguments: [u64; 2], cause: u32, rip: u64) -> (Pair, u64) {
    let mut pair = Pair::ready(function);
    let token = hop_again(&mut pair, arguments);
    check(&pair, cause, rip);
    (pair, token)
}

/// What the carrier's thread finds is what was at `rip`.
#[track_caller]
pub fn check(pair: &Pair, cause: u32, rip: u64) {
    let carrier = pair.carrier(CARRIER);
    assert_eq!(carrier.cause, cause, "cause");
    assert_eq!(carrier.rip, rip, "RIP {:#x}", carrier.rip);
    assert_eq!(carrier.registers[4], carrier.stack - 8, "RSP");
    for (number, value) in carrier.registers.iter().enumerate() {
        if matches!(number, 3 | 5 | 12..=15) {
            assert_eq!(*value, code::KEPT + number as u64, "register {number}");
        }
    }
    assert_eq!(carrier.hopped_fs_base, carrier.fs_base);
}

/// Calls, and returns the token.
#[track_caller]
pub fn hop_again(pair: &mut Pair, [first, second]: [u64; 2]) -> u64 {
    let stop = pair.call([first, second, 0, 0, 0, 0]).expect(AT_PAD);
    assert_eq!(
        stop.regs.rax,
        u64::from(uapi::WORMHOLE_PAD_HOPPED),
        "{stop:x?}"
    );
    assert_eq!(pair.carrier(CARRIER).state, uapi::WORMHOLE_CARRIER_HOPPED);
    stop.regs.rdi
}

/// RESUME of a call that has finished.
#[track_caller]
pub fn resume(pair: &mut Pair, token: u64) -> u64 {
    let stop = pair
        .client
        .user_hypercall(uapi::WORMHOLE_HC_RESUME, [token, 0, 0])
        .expect(AT_PAD);
    assert_eq!(
        stop.regs.rax,
        u64::from(uapi::WORMHOLE_PAD_RESULT),
        "{stop:x?}"
    );
    assert_eq!(stop.regs.rsp, FRAME);
    stop.regs.rdi
}

/// RESUME that returns.
#[track_caller]
pub fn resume_error(pair: &mut Pair, token: u64) -> i64 {
    let stop = pair
        .client
        .user_hypercall(uapi::WORMHOLE_HC_RESUME, [token, 0, 0])
        .expect(AFTER_HYPERCALL);
    stop.regs.rax as i64
}

fn syscall_hops() {
    let (pair, _) = hop(
        code::guest_syscall_inside(),
        [1, 2],
        uapi::WORMHOLE_HOP_SYSCALL,
        code::guest_syscall_inside_at(),
    );
    let registers = pair.carrier(CARRIER).registers;
    assert_eq!((registers[0], registers[7], registers[6]), (39, 1, 2));
}

/// `function`, at whose `rip` memory is accessed, hops home with each of these addresses.
#[track_caller]
fn accesses_hop(function: u64, rip: u64, addresses: impl IntoIterator<Item = u64>) -> Pair {
    let mut pair = Pair::ready(function);
    for address in addresses {
        let token = hop_again(&mut pair, [address, 4711]);
        check(&pair, uapi::WORMHOLE_HOP_MEMORY, rip);
        let registers = pair.carrier(CARRIER).registers;
        assert_eq!((registers[7], registers[6]), (address, 4711));
        assert_eq!(pair.finish(CARRIER, address), 0);
        assert_eq!(resume(&mut pair, token), address);
    }
    pair
}

fn reads_hop(addresses: impl IntoIterator<Item = u64>) {
    accesses_hop(code::guest_read(), code::guest_read_at(), addresses);
}

fn writes_hop(addresses: impl IntoIterator<Item = u64>) -> Pair {
    accesses_hop(code::guest_write(), code::guest_write_at(), addresses)
}

fn unregistered_memory_hops() {
    // below and above what is registered too, and where nothing is near
    reads_hop([
        SERVER_UNREGISTERED,
        SERVER_DATA - 8,
        SERVER_DATA + SERVER_DATA_COUNT * PAGE,
        0,
    ]);
}

fn unregistered_code_hops() {
    for address in [SERVER_UNREGISTERED, SERVER_CODE + PAGE] {
        let (pair, _) = hop(
            code::guest_jump(),
            [address, 0],
            uapi::WORMHOLE_HOP_MEMORY,
            address,
        );
        assert_eq!(pair.carrier(CARRIER).registers[7], address);
    }
}

fn server_kernel_memory_hops() {
    reads_hop([KERNEL_BASE, KERNEL_BASE + SERVER_DATA_PAGES]);
}

/// That is #GP.
fn non_canonical_address_hops() {
    hop(
        code::guest_read(),
        [1 << 63, 0],
        uapi::WORMHOLE_HOP_EXCEPTION,
        code::guest_read_at(),
    );
}

fn write_to_read_only_memory_hops() {
    let pair = writes_hop([SERVER_READ_ONLY]);
    assert_eq!(pair.server.memory.get(SERVER_READ_ONLY_PAGE), 0);
}

fn write_to_code_hops() {
    let pair = writes_hop([SERVER_CODE]);
    let length = code::server().len() as u64;
    assert_eq!(
        pair.server.memory.read(SERVER_CODE_PAGE, length),
        code::server()
    );
}

fn execution_of_data_hops() {
    hop(
        code::guest_jump(),
        [SERVER_DATA, 0],
        uapi::WORMHOLE_HOP_MEMORY,
        SERVER_DATA,
    );
}

/// The server cannot write the gate's page nor what the host keeps near it, and of that reads only the carrier's page.
fn gate_memory_hops() {
    const CARRIER_PAGE: u64 = GATE + 6 * PAGE;
    let pages = || (GATE - 16 * PAGE..GATE + 16 * PAGE).step_by(PAGE as usize);
    reads_hop(pages().filter(|page| *page != CARRIER_PAGE));
    writes_hop(pages());
}

fn cpuid_hops() {
    hop(
        code::guest_cpuid_inside(),
        [0, 0],
        uapi::WORMHOLE_HOP_INSTRUCTION,
        code::guest_cpuid_inside_at(),
    );
}

fn exception_hops() {
    hop(
        code::guest_ud2_inside(),
        [0, 0],
        uapi::WORMHOLE_HOP_EXCEPTION,
        code::guest_ud2_inside_at(),
    );
}

/// The carrier has them as XSAVE writes them.
fn vector_registers_hop() {
    let (pair, _) = hop(
        code::guest_ud2_inside(),
        [0, 0],
        uapi::WORMHOLE_HOP_EXCEPTION,
        code::guest_ud2_inside_at(),
    );
    let xsave = pair.carrier(CARRIER).xsave;
    assert_ne!(xsave[512] & 2, 0, "SSE in XSTATE_BV");
    let xmm5 = 160 + 5 * 16;
    assert_eq!(xsave[xmm5..xmm5 + 8], (code::KEPT + 15).to_le_bytes());
}

fn result_after_a_hop() {
    let (mut pair, mut token) = hop(
        code::guest_syscall_inside(),
        [0, 0],
        uapi::WORMHOLE_HOP_SYSCALL,
        code::guest_syscall_inside_at(),
    );
    for result in [4711, u64::MAX, 0] {
        assert_eq!(pair.finish(CARRIER, result), 0);
        assert_eq!(resume(&mut pair, token), result);
        token = hop_again(&mut pair, [0, 0]);
    }
}

fn resume_before_the_result() {
    let (mut pair, token) = hop(
        code::guest_ud2_inside(),
        [0, 0],
        uapi::WORMHOLE_HOP_EXCEPTION,
        code::guest_ud2_inside_at(),
    );
    for _ in 0..3 {
        assert_eq!(resume_error(&mut pair, token), refused(Errno::AGAIN));
    }
    assert_eq!(pair.finish(CARRIER, 4711), 0);
    assert_eq!(resume(&mut pair, token), 4711);
}

fn token_is_good_once() {
    let (mut pair, token) = hop(
        code::guest_ud2_inside(),
        [0, 0],
        uapi::WORMHOLE_HOP_EXCEPTION,
        code::guest_ud2_inside_at(),
    );
    assert_eq!(pair.finish(CARRIER, 4711), 0);
    assert!(pair.finish(CARRIER, 4712) < 0, "RETURN twice");
    assert_eq!(resume(&mut pair, token), 4711);
    assert_eq!(resume_error(&mut pair, token), refused(Errno::NOENT));
    let next = hop_again(&mut pair, [0, 0]);
    assert_ne!(next, token);
    assert_eq!(resume_error(&mut pair, token), refused(Errno::NOENT));
}

fn no_carrier_is_free() {
    let (mut pair, token) = hop(
        code::guest_ud2_inside(),
        [0, 0],
        uapi::WORMHOLE_HOP_EXCEPTION,
        code::guest_ud2_inside_at(),
    );
    let stop = pair.call([0; 6]).expect(AT_PAD);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_ERROR));
    assert_eq!(pair.finish(CARRIER, 4711), 0);
    assert_eq!(resume(&mut pair, token), 4711);
    hop_again(&mut pair, [0, 0]);
}

fn another_carrier_takes_over() {
    let mut pair = Pair::ready(code::guest_read());
    pair.add_carrier(CARRIER + 1);
    pair.server.memory.set(SERVER_DATA_PAGES, 5);
    let token = hop_again(&mut pair, [SERVER_UNREGISTERED, 0]);
    for _ in 0..3 {
        assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 5);
    }
    assert_eq!(resume_error(&mut pair, token), refused(Errno::AGAIN));
    assert_eq!(pair.finish(CARRIER, 6), 0);
    assert_eq!(resume(&mut pair, token), 6);
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 5);
}
