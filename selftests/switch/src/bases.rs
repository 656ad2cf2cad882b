// SPDX-License-Identifier: Apache-2.0 OR MIT
//! FS and GS base of a client: at HOME and at PAD, a signal handler that needs them may run at once.

use std::time::Duration;

use kvm_bindings::kvm_regs;
use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::events::{end_the_loop, wait_until_it_loops};
use crate::guest_code as code;
use crate::hops::{hop_again, resume};
use crate::layout::*;
use crate::pair::{call_regs, Pair, CARRIER, SESSION};
use crate::vm::{signal, signal_to, Stop, Vcpu};

crate::tests! {
    bases_after_a_call
    bases_after_an_interrupt
    bases_while_user_space_looks
    bases_on_another_vcpu
    bases_after_a_hop
    bases_after_a_refused_entry
    bases_after_a_breakpoint_on_the_way_back
    base_that_is_no_address
}

/// FS and GS base: odd, of the upper half, all zeros, all ones.
const BASES: [(u64, u64); 4] = [
    (0x7f12_3456_7741, 0x1234_5678),
    (0xffff_8000_0000_0001, 0x7fff_ffff_ffff),
    (0, 0x7f00_0000_0000),
    (u64::MAX, 0),
];
const FS_AND_GS: (u64, u64) = BASES[0];

const LOOP: [u64; 6] = [SERVER_DATA, 100, 0, 0, 0, 0];

fn set(vcpu: &mut Vcpu, (fs, gs): (u64, u64)) {
    vcpu.set_bases(fs, gs);
}

fn get(vcpu: &Vcpu) -> (u64, u64) {
    let sregs = vcpu.sregs();
    (sregs.fs.base, sregs.gs.base)
}

#[track_caller]
fn assert_bases(vcpu: &Vcpu, expected: (u64, u64)) {
    let found = get(vcpu);
    assert_eq!(found, expected, "{found:x?}, not {expected:x?}");
}

#[track_caller]
fn assert_error(stop: &Stop, error: Errno) {
    let found = (stop.regs.rax, stop.regs.rdi);
    let number = error.raw_os_error() as u64;
    assert_eq!(found, (u64::from(uapi::WORMHOLE_PAD_ERROR), number));
}

/// The server has others, by `server_has_its_carrier`.
fn bases_after_a_call() {
    let mut pair = Pair::ready(code::guest_null());
    for bases in BASES {
        set(&mut pair.client.vcpu, bases);
        assert_eq!(pair.result([4711, 0, 0, 0, 0, 0]), 4711);
        assert_bases(&pair.client.vcpu, bases);
    }
}

/// An interrupt of the client's, after which it goes on by RESUME: at PAD, and at HOME.
fn bases_after_an_interrupt() {
    let mut pair = Pair::ready(code::guest_loop_until());
    for bases in BASES {
        set(&mut pair.client.vcpu, bases);
        pair.start(LOOP);
        pair.server.memory.set(SERVER_DATA_PAGES, 0);
        for _ in 0..2 {
            let stop = std::thread::scope(|scope| {
                let (vm, server) = (&pair.client.vm, &pair.server.memory);
                scope.spawn(move || {
                    wait_until_it_loops(server);
                    signal(vm, DEVICE.into());
                });
                pair.client.vcpu.run()
            });
            assert_eq!(stop.expect(DEVICE).regs.rip, PAD);
            assert_bases(&pair.client.vcpu, bases);
        }
        end_the_loop(&pair.server.memory);
        assert_eq!(pair.client.vcpu.run().expect(AT_HOME).regs.rdi, 107);
        assert_bases(&pair.client.vcpu, bases);
    }
}

/// An interrupt of the host's, after which the call goes on by itself; with bases that are other ones by then, as a
/// debugger may set them.
fn bases_while_user_space_looks() {
    let mut pair = Pair::ready(code::guest_loop_until());
    set(&mut pair.client.vcpu, BASES[0]);
    pair.start(LOOP);
    let mut now = BASES[0];
    let mut during = 0;
    for _ in 0..50 {
        let stop = pair.client.vcpu.run_until(Duration::from_millis(20));
        assert!(stop.is_none(), "{stop:x?}");
        if pair.client.vcpu.regs().rip == PAD {
            assert_bases(&pair.client.vcpu, now);
            during += 1;
            now = BASES[during % BASES.len()];
            set(&mut pair.client.vcpu, now);
        }
    }
    assert_ne!(during, 0, "signals during the call");
    end_the_loop(&pair.server.memory);
    assert_eq!(pair.client.vcpu.run().expect(AT_HOME).regs.rdi, 107);
    assert_bases(&pair.client.vcpu, now);
}

/// They are those of whoever resumes the call.
fn bases_on_another_vcpu() {
    const NMI: u32 = 0x400;
    let mut pair = Pair::paired();
    let mut other = pair.client.second_vcpu();
    pair.open(code::guest_loop_until());
    pair.bind();
    let (vm, server) = (pair.client.vm.clone(), pair.server.memory.clone());
    set(&mut pair.client.vcpu, BASES[0]);
    set(&mut other, BASES[1]);
    pair.start(LOOP);
    let mut vcpus = [&mut pair.client.vcpu, &mut other];
    for turn in 0..6 {
        let at = turn % 2;
        let stop = std::thread::scope(|scope| {
            let (vm, server) = (&vm, &server);
            scope.spawn(move || {
                wait_until_it_loops(server);
                signal_to(vm, at as u32, NMI);
            });
            vcpus[at].run()
        });
        let stop = stop.expect(2);
        assert_eq!(stop.regs.rip, PAD, "{stop:x?}");
        assert_bases(vcpus[at], BASES[at]);
        vcpus[1 - at].enter_user(kvm_regs {
            rip: code::guest_user_hypercall(),
            rsp: FRAME,
            rax: u64::from(uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RESUME),
            rdi: stop.regs.rdi,
            ..Default::default()
        });
    }
    end_the_loop(&server);
    assert_eq!(vcpus[0].run().expect(AT_HOME).regs.rdi, 107);
    assert_bases(vcpus[0], BASES[0]);
    assert_bases(vcpus[1], BASES[1]);
}

/// At PAD when it has hopped, and when the result is there.
fn bases_after_a_hop() {
    let mut pair = Pair::ready(code::guest_ud2_inside());
    for bases in BASES {
        set(&mut pair.client.vcpu, bases);
        let token = hop_again(&mut pair, [0, 0]);
        assert_bases(&pair.client.vcpu, bases);
        let carrier = pair.carrier(CARRIER);
        let hopped = (carrier.hopped_fs_base, carrier.hopped_gs_base);
        assert_eq!(hopped, (carrier.fs_base, 0), "the call's own");
        assert_eq!(pair.finish(CARRIER, 4711), 0);
        assert_eq!(resume(&mut pair, token), 4711);
        assert_bases(&pair.client.vcpu, bases);
    }
}

fn bases_after_a_refused_entry() {
    let mut pair = Pair::ready(code::guest_ud2_inside());
    set(&mut pair.client.vcpu, FS_AND_GS);
    // The only carrier is in use.
    hop_again(&mut pair, [0, 0]);
    assert_error(&pair.call([0; 6]).expect(AT_PAD), Errno::AGAIN);
    assert_bases(&pair.client.vcpu, FS_AND_GS);
    // An INT3 of the gate view.
    let (vmfunc, offset) = (code::VMFUNC, 0x100);
    let at = GATE_PAGE + offset - vmfunc.len() as u64;
    pair.client.memory.write(at, &vmfunc);
    pair.client.vcpu.enter_user(kvm_regs {
        rip: GATE + offset - vmfunc.len() as u64,
        rcx: 1,
        ..call_regs([0; 6])
    });
    let stop = pair.client.vcpu.run().expect(AT_PAD);
    assert_error(&stop, Errno::FAULT);
    assert_eq!(stop.regs.rsp, FRAME);
    assert_bases(&pair.client.vcpu, FS_AND_GS);
    let unbound = pair
        .client
        .hypercall(uapi::WORMHOLE_HC_UNBIND, [SESSION, 0, 0]);
    assert_eq!(unbound, 0);
    let stop = pair.call([0; 6]);
    // Whether the gate is still open at the first entry.
    if stop.is(6) {
        assert_eq!(stop.regs.rip, ENTER + 7);
    } else {
        assert_error(&stop.expect(AT_PAD), Errno::NOENT);
    }
    assert_bases(&pair.client.vcpu, FS_AND_GS);
}

/// Where RSP is the server's too.
fn bases_after_a_breakpoint_on_the_way_back() {
    const E_RETURN: u64 = 0x300;
    let mut pair = Pair::ready(code::guest_null());
    assert_eq!(pair.result([1, 0, 0, 0, 0, 0]), 1);
    set(&mut pair.client.vcpu, FS_AND_GS);
    pair.client.vcpu.set_breakpoint(GATE + E_RETURN);
    let stop = pair.call([1, 0, 0, 0, 0, 0]).expect(AT_PAD);
    assert_error(&stop, Errno::FAULT);
    assert_eq!(stop.regs.rsp, FRAME);
    assert_bases(&pair.client.vcpu, FS_AND_GS);
}

/// Goes through the gate from where it stores R14 as FS base, with one that is no address.
fn enter_with_wrong_base(pair: &mut Pair, arguments: [u64; 6]) {
    const STORE: u64 = 0x1ef;
    let vmfunc = code::VMFUNC;
    let at = STORE - vmfunc.len() as u64;
    pair.client.memory.write(GATE_PAGE + at, &vmfunc);
    pair.client.memory.fill(FRAME, 0x100, 0);
    pair.client.vcpu.enter_user(kvm_regs {
        rip: GATE + at,
        rcx: 1,
        r14: 1 << 62,
        ..call_regs(arguments)
    });
}

/// What a client can put into the slot does not get into the VMCS.
fn base_that_is_no_address() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.server.memory.set(SERVER_DATA_PAGES, 7);
    assert_eq!(pair.result(LOOP), 107);
    set(&mut pair.client.vcpu, FS_AND_GS);
    // Comes back, unless it was interrupted, which is the case below.
    enter_with_wrong_base(&mut pair, LOOP);
    let stop = pair.client.vcpu.run();
    if pair.pads(uapi::WORMHOLE_PAD_INTERRUPTED) == 0 && !stop.is(AT_HOME) {
        assert_error(&stop.expect(AT_PAD), Errno::FAULT);
    }
    // Stopped on the way: the host has it.
    pair.server.memory.set(SERVER_DATA_PAGES, 0);
    set(&mut pair.client.vcpu, FS_AND_GS);
    enter_with_wrong_base(&mut pair, LOOP);
    let stop = std::thread::scope(|scope| {
        let (vm, server) = (&pair.client.vm, &pair.server.memory);
        scope.spawn(move || {
            wait_until_it_loops(server);
            signal(vm, DEVICE.into());
        });
        pair.client.vcpu.run()
    });
    assert_eq!(stop.expect(DEVICE).regs.rip, PAD);
    assert_eq!(get(&pair.client.vcpu).0, 0, "FS base");
    end_the_loop(&pair.server.memory);
    assert_eq!(pair.client.vcpu.run().expect(AT_HOME).regs.rdi, 107);
    // All is as before.
    set(&mut pair.client.vcpu, FS_AND_GS);
    assert_eq!(pair.result(LOOP), 107);
    assert_bases(&pair.client.vcpu, FS_AND_GS);
}
