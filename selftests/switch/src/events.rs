// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts of the client while a call is under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::layout::*;
use crate::memory::Memory;
use crate::pair::{result_of, Pair};
use crate::vm::{signal, Event, Stop};

crate::tests! {
    device_interrupt
    nmi
    timer_interrupt
    signal_to_user_space
    registers_during_a_signal
    interrupts_between_calls
}

/// As in an MSI.
const NMI: u32 = 0x400;
const LOOP: [u64; 6] = [SERVER_DATA, 100, 0, 0, 0, 0];

/// Waits until `guest_loop_until` has gone round since now.
pub fn wait_until_it_loops(server: &Memory) {
    let start = Instant::now();
    let before = server.get(SERVER_DATA_PAGES + 8);
    while server.get(SERVER_DATA_PAGES + 8) == before {
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "the server function does not run"
        );
        thread::sleep(Duration::from_micros(200));
    }
}

/// Lets `guest_loop_until` end, with 7 + n.
pub fn end_the_loop(server: &Memory) {
    server.set(SERVER_DATA_PAGES, 7);
}

/// Starts a call of `guest_loop_until` and stops it by an NMI; gives its token.
#[track_caller]
pub fn stop_a_call(pair: &mut Pair) -> u64 {
    pair.start(LOOP);
    let stop = thread::scope(|scope| {
        let (vm, server) = (&pair.client.vm, &pair.server.memory);
        scope.spawn(move || {
            wait_until_it_loops(server);
            signal(vm, NMI);
        });
        pair.client.vcpu.run()
    })
    .expect(2);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_INTERRUPTED));
    stop.regs.rdi
}

/// It is the process that was interrupted, in the client's own memory, not the server.
#[track_caller]
fn assert_at_pad(stop: &Stop) {
    assert_eq!(stop.regs.rip, PAD, "{stop:x?}");
    assert_eq!(stop.cs, u64::from(USER_CS));
    assert_eq!(stop.regs.rsp, FRAME);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_INTERRUPTED));
    assert_eq!(stop.regs.rbx, 0, "the server's RBX");
}

/// Sends an MSI into a call; the guest must see it as `vector`, and the call's result be right afterwards.
fn interrupt_a_call(data: u32, vector: u8) {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    for _ in 0..5 {
        let stop = thread::scope(|scope| {
            let (vm, server) = (&pair.client.vm, &pair.server.memory);
            scope.spawn(move || {
                wait_until_it_loops(server);
                signal(vm, data);
            });
            pair.client.vcpu.run()
        });
        assert_at_pad(&stop.expect(vector));
    }
    end_the_loop(&pair.server.memory);
    assert_eq!(result_of(pair.client.vcpu.run()), 107);
    assert!(pair.pads(uapi::WORMHOLE_PAD_INTERRUPTED) >= 5);
}

fn device_interrupt() {
    interrupt_a_call(DEVICE.into(), DEVICE);
}

fn nmi() {
    interrupt_a_call(NMI, 2);
}

fn timer_interrupt() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    pair.client.vcpu.set_timer(2_000_000);
    let mut during = 0;
    for _ in 0..100 {
        let stop = pair.client.vcpu.run().expect(TIMER);
        if stop.regs.rip == PAD {
            assert_at_pad(&stop);
            during += 1;
        }
        if during == 5 {
            break;
        }
    }
    assert_eq!(during, 5, "interrupts during the call");
    pair.client.vcpu.set_timer(0);
    end_the_loop(&pair.server.memory);
    let mut stop = pair.client.vcpu.run();
    while stop.is(TIMER) {
        stop = pair.client.vcpu.run();
    }
    assert_eq!(result_of(stop), 107);
}

/// A signal ends KVM_RUN; the next one goes on with the call.
fn signal_to_user_space() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    for _ in 0..5 {
        let stop = pair.client.vcpu.run_until(Duration::from_millis(20));
        assert!(stop.is_none(), "{stop:x?}");
    }
    assert_ne!(pair.server.memory.get(SERVER_DATA_PAGES + 8), 0);
    end_the_loop(&pair.server.memory);
    assert_eq!(result_of(pair.client.vcpu.run()), 107);
}

/// User space sees the client's registers, never the server's.
fn registers_during_a_signal() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    let mut during = 0;
    for _ in 0..50 {
        let stop = pair.client.vcpu.run_until(Duration::from_millis(20));
        assert!(stop.is_none(), "{stop:x?}");
        let regs = pair.client.vcpu.regs();
        assert_ne!(regs.rbx, code::KEPT, "{regs:x?}");
        assert!(
            !(SERVER_CODE..SERVER_CODE + PAGE).contains(&regs.rip),
            "{regs:x?}"
        );
        let xsave = pair.client.vcpu.xsave();
        let mark = code::KEPT.to_le_bytes();
        assert!(!xsave.chunks_exact(8).any(|word| word == mark), "XMM9");
        assert_eq!(pair.client.vcpu.sregs().cr3 & !0xfff, PML4);
        if regs.rip == PAD {
            during += 1;
            assert_eq!(regs.rsp, FRAME);
        }
    }
    assert_ne!(during, 0, "signals during the call");
    end_the_loop(&pair.server.memory);
    assert_eq!(result_of(pair.client.vcpu.run()), 107);
}

/// Interrupts at any place of the way there and back: none is lost, no call goes wrong or is made twice.
fn interrupts_between_calls() {
    const CALLS: u64 = 500_000;
    let mut pair = Pair::ready(code::guest_counter());
    pair.start_many(CALLS, [SERVER_DATA, 5, 0, 0, 0, 0]);
    let done = AtomicBool::new(false);
    let mut interrupts = 0;
    let stop = thread::scope(|scope| {
        let (vm, done) = (&pair.client.vm, &done);
        scope.spawn(move || {
            let start = Instant::now();
            while !done.load(Ordering::SeqCst) && start.elapsed() < Duration::from_secs(20) {
                signal(vm, DEVICE.into());
                thread::sleep(Duration::from_micros(200));
            }
        });
        let stop = loop {
            let stop = pair.client.vcpu.run_until(Duration::from_secs(8));
            match stop {
                Some(stop) if stop.is(DEVICE) => interrupts += 1,
                stop => break stop,
            }
        };
        done.store(true, Ordering::SeqCst);
        stop
    });
    let stop = stop.expect("it ends");
    assert_eq!(stop.event, Event::Vector(DONE), "{stop:x?}");
    assert_ne!(interrupts, 0);
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES), CALLS);
    let expected = (1..=CALLS).map(|n| n + 5).sum::<u64>();
    assert_eq!(pair.client.memory.get(FRAME + FRAME_SUM), expected);
}
