// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hostile kernel of the client: what the CPU looks at by itself points into the views, and events come at any place
//! of the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kvm_bindings::{kvm_regs, kvm_segment};
use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::concurrent::make_calls;
use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{call_regs, refused, write_gate, Pair, CARRIER};
use crate::vm::signal;

crate::tests! {
    breakpoints_in_the_gate
    breakpoints_in_the_server
    descriptor_tables_at_an_address_of_the_server
    nmis_between_calls
    attacks_from_another_vcpu
}

const CALL: [u64; 6] = [SERVER_DATA, 0, 0, 0, 0, 0];
/// DR7: breakpoint 0 is on, for execution.
const EXECUTION: u64 = 0x402;
/// The same, for writing of 8 bytes.
const WRITE: u64 = EXECUTION | (0b1001 << 16);

fn counter(pair: &Pair) -> u64 {
    pair.server.memory.get(SERVER_DATA_PAGES)
}

/// On any instruction of the gate on the way there, the client's call has failed, and nobody sees a #DB.
fn breakpoints_in_the_gate() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result(CALL), 1);
    for offset in [0x1da, 0x1ea, 0x210, 0x220] {
        pair.client
            .vcpu
            .set_breakpoints([GATE + offset, 0, 0, 0], EXECUTION);
        let stop = pair.call(CALL).expect(AT_PAD);
        let pad = (stop.regs.rax, stop.regs.rdi as i64);
        let error = u64::from(uapi::WORMHOLE_PAD_ERROR);
        assert_eq!(pad, (error, -refused(Errno::FAULT)), "{offset:#x}");
        assert_eq!(counter(&pair), 1, "{offset:#x}");
    }
    pair.client.vcpu.set_breakpoints([0; 4], 0);
    assert_eq!(pair.result(CALL), 2);
}

/// The call hops home, with the registers that it had there.
fn breakpoints_in_the_server() {
    let entry = code::guest_counter();
    // The landing, the function's first instruction, and its write: that one is a trap.
    for (address, dr7, rip, count) in [
        (GATE + 0x223, EXECUTION, None, 0),
        (entry, EXECUTION, Some(entry), 0),
        (SERVER_DATA, WRITE, None, 1),
    ] {
        let mut pair = Pair::ready(entry);
        pair.client.vcpu.set_breakpoints([address, 0, 0, 0], dr7);
        let stop = pair.call(CALL).expect(AT_PAD);
        let hopped = u64::from(uapi::WORMHOLE_PAD_HOPPED);
        assert_eq!(stop.regs.rax, hopped, "{address:#x}: {stop:x?}");
        assert_eq!(stop.regs.rsp, FRAME);
        let carrier = pair.carrier(CARRIER);
        assert_eq!(carrier.cause, uapi::WORMHOLE_HOP_EXCEPTION, "{address:#x}");
        assert!(
            rip.is_none_or(|rip| rip == carrier.rip),
            "{:#x}",
            carrier.rip
        );
        assert_eq!(counter(&pair), count, "{address:#x}");
    }
}

/// GDT, LDT and TSS of the client at an address that means the server's memory in the server view.
fn descriptor_tables_at_an_address_of_the_server() {
    let mut pair = Pair::ready(code::guest_counter());
    let client = &mut pair.client;
    // The same tables, for the client's own use.
    let tables = client.memory.read(GDT, PAGE);
    client.memory.write(SPARE, &tables);
    client.tables.map(&client.memory, SERVER_DATA, SPARE);
    let before = client.vcpu.sregs();
    client.vcpu.change_sregs(|sregs| {
        sregs.gdt.base = SERVER_DATA;
        sregs.tr.base = SERVER_DATA + (TSS - GDT);
        sregs.ldt = kvm_segment {
            base: SERVER_DATA,
            limit: 0xfff,
            type_: 2,
            present: 1,
            ..Default::default()
        };
    });
    for n in 1..=2 {
        assert_eq!(pair.result(CALL), n);
    }
    // Accessed and busy bits, stacks and the like.
    let data = pair.server.memory.read(SERVER_DATA_PAGES + 8, PAGE - 8);
    assert!(data.iter().all(|byte| *byte == 0), "the CPU wrote there");
    pair.client.vcpu.change_sregs(|sregs| *sregs = before);
    assert_eq!(pair.result(CALL), 3);
}

/// At any place of the way there and back; the client's kernel finds its own process then.
fn nmis_between_calls() {
    const NMI: u32 = 0x400;
    const CALLS: u64 = 100_000;
    let mut pair = Pair::ready(code::guest_counter());
    pair.start_many(CALLS, [SERVER_DATA, 5, 0, 0, 0, 0]);
    let done = AtomicBool::new(false);
    let mut nmis = 0;
    let stop = thread::scope(|scope| {
        let (vm, done) = (&pair.client.vm, &done);
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                signal(vm, NMI);
                thread::sleep(Duration::from_micros(100));
            }
        });
        let stop = loop {
            let stop = pair.client.vcpu.run();
            if !stop.is(2) {
                break stop;
            }
            nmis += 1;
            let page = stop.regs.rip & !0xfff;
            let own = stop.cs == u64::from(USER_CS) && (page == USER_CODE || page == GATE);
            // The first may be at the IRETQ that starts it all, the others at handlers'.
            if !own && stop.regs.rip < KERNEL_BASE {
                break stop;
            }
        };
        done.store(true, Ordering::SeqCst);
        stop
    });
    stop.expect(DONE);
    assert_ne!(nmis, 0);
    assert_eq!(counter(&pair), CALLS);
    let expected = (1..=CALLS).map(|n| n + 5).sum::<u64>();
    assert_eq!(pair.client.memory.get(FRAME + FRAME_SUM), expected);
}

/// One vCPU calls, so that its views are open again and again; another one's kernel enters the gate, as it is and at
/// each fifth offset.
fn attacks_from_another_vcpu() {
    const CALLS: u64 = 10_000;
    const TARGET: u64 = SERVER_DATA + PAGE;
    const TARGET_PAGE: u64 = SERVER_DATA_PAGES + PAGE;
    const ATTACKER_FRAME: u64 = FRAME + 0x400;
    let mut pair = Pair::paired();
    let mut attacker = pair.client.second_vcpu();
    pair.open(code::guest_counter());
    pair.add_carrier(CARRIER + 1);
    pair.bind();
    let memory = pair.client.memory.clone();
    write_gate(&memory, code::guest_calls_home(), code::guest_pad());
    let gate = memory.read(GATE_PAGE, PAGE);
    // The attacker's vCPU has a carrier from a call, so that nothing but its mode stands in the way.
    make_calls(&mut attacker, &memory, ATTACKER_FRAME, 1, [TARGET, 5]);
    assert_eq!(pair.server.memory.get(TARGET_PAGE), 1);
    let done = AtomicBool::new(false);
    let mut wrong = Vec::new();
    thread::scope(|scope| {
        let (memory, done, vcpu) = (&memory, &done, &mut pair.client.vcpu);
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                make_calls(vcpu, memory, FRAME, CALLS, [SERVER_DATA, 5]);
            }
        });
        let server = &pair.server.memory;
        let mut attempt = |rip: u64, index: u64| {
            attacker.enter_kernel(kvm_regs {
                rip,
                rcx: index,
                ..call_regs([TARGET, 0, 0, 0, 0, 0])
            });
            let stop = attacker.run();
            if stop.is(DONE) || server.get(TARGET_PAGE) != 1 {
                wrong.push((rip, index));
                server.set(TARGET_PAGE, 1);
            }
        };
        for index in [1, 2] {
            attempt(ENTER + 7, index);
        }
        for at in (0..PAGE - 3).step_by(5) {
            let bytes = at as usize..at as usize + 3;
            // Not where the other one's own code is.
            if gate[bytes.clone()] != [code::INT3; 3] {
                continue;
            }
            memory.write(GATE_PAGE + at, &code::VMFUNC);
            for index in [1, 2] {
                attempt(GATE + at, index);
            }
            memory.write(GATE_PAGE + at, &gate[bytes]);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(wrong.is_empty(), "they led to the server: {wrong:x?}");
    assert_ne!(counter(&pair), 0);
}
