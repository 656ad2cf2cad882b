// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Attempts to get into the server other than by ENTER.

use kvm_bindings::kvm_regs;
use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{call_regs, write_gate, Pair, CARRIER};
use crate::vm::Stop;

crate::tests! {
    vmfunc_to_the_server
    vmfunc_to_other_indices
    vmfunc_of_other_functions
    vmfunc_from_elsewhere
    vmfunc_onto_the_server
    gate_offset_of_enter
    gate_offsets_from_user_mode
    gate_offsets_from_kernel_mode
    enter_from_kernel_mode
}

/// The client's calls are of `guest_counter`, whose counter must not move.
struct Counter(Pair);

impl Counter {
    fn new() -> Self {
        Self(Pair::ready(code::guest_counter()))
    }

    fn get(&self) -> u64 {
        self.0.server.memory.get(SERVER_DATA_PAGES)
    }

    fn reset(&self) {
        self.0.server.memory.set(SERVER_DATA_PAGES, 0);
    }

    /// Nothing but INT3 in the client's gate page, so that whatever ends there is seen.
    fn without_gate(self) -> Self {
        self.0.client.memory.fill(GATE_PAGE, PAGE, code::INT3);
        self
    }

    /// Has the user code that is `rip` do VMFUNC with these registers.
    fn vmfunc(&mut self, rip: u64, rax: u64, rcx: u64) -> Stop {
        self.0.client.memory.fill(FRAME, 0x100, 0);
        self.0.client.vcpu.enter_user(kvm_regs {
            rip,
            rax,
            rcx,
            ..call_regs([SERVER_DATA, 0, 0, 0, 0, 0])
        });
        self.0.client.vcpu.run()
    }

    /// All is as before.
    #[track_caller]
    fn assert_works(&mut self) {
        self.reset();
        write_gate(&self.0.client.memory, code::guest_home(), code::guest_pad());
        assert_eq!(self.0.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    }
}

/// #UD, or PAD with an error.
#[track_caller]
fn assert_refused(stop: Stop) {
    if !stop.is(6) {
        let stop = stop.expect(AT_PAD);
        assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_ERROR));
    }
}

fn vmfunc_to_the_server() {
    let mut counter = Counter::new();
    for _ in 0..2 {
        let stop = counter.vmfunc(code::guest_vmfunc(), 0, 2);
        assert_refused(stop);
        assert_eq!(counter.get(), 0);
        // nor is it open after a call
        counter.assert_works();
        counter.reset();
    }
}

fn vmfunc_to_other_indices() {
    let mut counter = Counter::new();
    // to where it is already
    let stop = counter.vmfunc(code::guest_vmfunc(), 0, 0);
    assert_eq!(stop.expect(AFTER_VMFUNC).regs.rsp, FRAME);
    for index in (2..520).chain([0xffff, 0x8000_0000, 0xffff_ffff]) {
        let stop = counter.vmfunc(code::guest_vmfunc(), 0, index);
        assert_refused(stop);
        assert_eq!(counter.get(), 0, "{index}");
    }
    counter.assert_works();
}

fn vmfunc_of_other_functions() {
    let mut counter = Counter::new();
    for function in (1..=64).chain([0x8000_0000, 0xffff_ffff]) {
        let stop = counter.vmfunc(code::guest_vmfunc(), function, 1);
        assert_refused(stop);
        assert_eq!(counter.get(), 0, "{function}");
    }
    counter.assert_works();
}

/// Into the gate's view from code that is not at the gate: that code is not there.
fn vmfunc_from_elsewhere() {
    let mut counter = Counter::new().without_gate();
    let stop = counter.vmfunc(code::guest_vmfunc(), 0, 1);
    assert!(!stop.is(AFTER_VMFUNC), "{stop:x?}");
    assert_eq!(counter.get(), 0);
    counter.assert_works();
}

/// The client's own page at the address of the server's code, so that a switch there would go on in it.
fn vmfunc_onto_the_server() {
    let mut counter = Counter::new().without_gate();
    let client = &mut counter.0.client;
    client.tables.map(&client.memory, SERVER_CODE - PAGE, SPARE);
    client.tables.map(&client.memory, SERVER_CODE, SPARE + PAGE);
    let entry = code::guest_counter();
    client.memory.fill(SPARE, 2 * PAGE, code::INT3);
    let at = SPARE + PAGE + (entry - SERVER_CODE) - 3;
    client.memory.write(at, &code::VMFUNC);
    for index in 1..4 {
        let stop = counter.vmfunc(entry - 3, 0, index);
        assert!(!stop.is(AT_HOME), "{stop:x?}");
        assert_eq!(counter.get(), 0, "{index}");
    }
    counter.assert_works();
}

/// Switches to the gate's view at `offset`, from a gate page that has only this VMFUNC.
fn enter_at(counter: &mut Counter, offset: u64, user: bool) -> Stop {
    let pair = &mut counter.0;
    let client = &mut pair.client;
    // The page before the gate's is the one before it in memory too.
    let at = GATE_PAGE + offset - 3;
    client.memory.write(at, &code::VMFUNC);
    let regs = kvm_regs {
        rip: GATE + offset - 3,
        rcx: 1,
        ..call_regs([SERVER_DATA, 0, 0, 0, 0, 0])
    };
    if user {
        client.vcpu.enter_user(regs);
    } else {
        client.vcpu.enter_kernel(regs);
    }
    let stop = client.vcpu.run();
    client.memory.fill(at, 3, code::INT3);
    // If it was in the server view for something else than a call: the carrier is free for the next attempt.
    if pair.carrier(CARRIER).state == uapi::WORMHOLE_CARRIER_HOPPED {
        assert_eq!(pair.finish(CARRIER, 0), 0, "{offset:#x}");
        pair.client
            .user_hypercall(uapi::WORMHOLE_HC_RESUME, [stop.regs.rdi, 0, 0]);
    }
    stop
}

/// Where the gate leads to the server function: its first instruction, and those behind it that come before it takes the
/// lock off (see gate.rs of the module). Who starts at one of those calls the function as any call does, but has no
/// RSP saved.
fn leads_to_the_server(offset: u64) -> bool {
    const LAST: u64 = 0x211;
    (ENTRY..=LAST).contains(&offset)
}

/// Where ENTER's VMFUNC ends.
const ENTRY: u64 = 0x1da;

/// The attempts of the two tests below do what they mean to: at its one right offset it is a call.
fn gate_offset_of_enter() {
    let mut counter = Counter::new();
    counter.assert_works();
    counter.reset();
    let mut counter = counter.without_gate();
    // An interrupt of the host puts the client at ENTER again, where there is nothing here.
    let stop = (0..5)
        .map(|_| enter_at(&mut counter, ENTRY, true))
        .find(|stop| stop.regs.rip == HOME + 1);
    let stop = stop.expect("a call that comes home").expect(3);
    assert_eq!((stop.regs.rdi, stop.regs.rsp), (1, FRAME));
    assert_eq!(counter.get(), 1);
    counter.assert_works();
}

fn gate_offsets_from_user_mode() {
    let mut counter = Counter::new();
    counter.assert_works();
    let mut counter = counter.without_gate();
    let mut wrong = Vec::new();
    for offset in 0..PAGE {
        counter.reset();
        enter_at(&mut counter, offset, true);
        if counter.get() > u64::from(leads_to_the_server(offset)) {
            wrong.push(offset);
        }
    }
    assert!(
        wrong.is_empty(),
        "offsets that lead to the server: {wrong:x?}"
    );
    counter.assert_works();
}

fn gate_offsets_from_kernel_mode() {
    let mut counter = Counter::new();
    counter.assert_works();
    counter.reset();
    let mut counter = counter.without_gate();
    let mut wrong = Vec::new();
    for offset in 0..PAGE {
        enter_at(&mut counter, offset, false);
        if counter.get() != 0 {
            wrong.push(offset);
            counter.reset();
        }
    }
    assert!(
        wrong.is_empty(),
        "offsets that lead to the server: {wrong:x?}"
    );
    counter.assert_works();
}

/// The gate as it is, at CPL 0.
fn enter_from_kernel_mode() {
    let mut counter = Counter::new();
    // The vCPU has a carrier then, so that nothing but its mode stands in the way.
    counter.assert_works();
    counter.reset();
    counter
        .0
        .client
        .vcpu
        .enter_kernel(call_regs([SERVER_DATA, 0, 0, 0, 0, 0]));
    let stop = counter.0.client.vcpu.run();
    assert!(!stop.is(AT_HOME), "{stop:x?}");
    assert_eq!(counter.get(), 0);
    counter.assert_works();
}
