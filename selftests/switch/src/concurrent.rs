// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Several vCPUs, and many interrupts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm_bindings::kvm_regs;
use kvm_ioctls::VmFd;
use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::events::{end_the_loop, wait_until_it_loops};
use crate::guest_code as code;
use crate::layout::*;
use crate::memory::Memory;
use crate::pair::{go_on_calling, refused, start_calls, write_gate, Pair, CARRIER};
use crate::posted::device_event;
use crate::vm::{set_handler, signal_to, Stop, Vcpu};

crate::tests! {
    two_vcpus_two_carriers
    two_vcpus_one_carrier
    call_moves_to_another_vcpu
    ten_thousand_device_interrupts
    ten_thousand_timer_interrupts
    ten_thousand_interprocessor_interrupts
    timer_ticks_during_a_long_call
}

const LIMIT: Duration = Duration::from_secs(60);
const OTHER_FRAME: u64 = FRAME + 0x400;

fn two_vcpus(function: u64, carriers: u64) -> (Pair, Vcpu) {
    let mut pair = Pair::paired();
    let other = pair.client.second_vcpu();
    pair.open(function);
    for number in CARRIER + 1..carriers {
        pair.add_carrier(number);
    }
    pair.bind();
    (pair, other)
}

/// Makes `count` calls; those that find no carrier again. Returns how often that was.
pub fn make_calls(
    vcpu: &mut Vcpu,
    memory: &Memory,
    frame: u64,
    count: u64,
    [first, second]: [u64; 2],
) -> u64 {
    start_calls(vcpu, memory, frame, count, [first, second, 0, 0, 0, 0]);
    let mut again = 0;
    loop {
        let stop = vcpu.run_until(LIMIT).expect("it ends");
        if stop.is(DONE) {
            return again;
        }
        let stop = stop.expect(AT_PAD);
        let pad = (stop.regs.rax, stop.regs.rdi as i64);
        let error = u64::from(uapi::WORMHOLE_PAD_ERROR);
        assert_eq!(pad, (error, -refused(Errno::AGAIN)), "{stop:x?}");
        assert_eq!(stop.regs.rsp, frame);
        again += 1;
        thread::yield_now();
        go_on_calling(vcpu, frame);
    }
}

/// Both vCPUs call at once. Returns how often one found no carrier.
fn both_call(carriers: u64, count: u64) -> u64 {
    let (mut pair, mut other) = two_vcpus(code::guest_counter(), carriers);
    write_gate(
        &pair.client.memory,
        code::guest_calls_home(),
        code::guest_pad(),
    );
    let memory = pair.client.memory.clone();
    let again = thread::scope(|scope| {
        let (memory, other) = (&memory, &mut other);
        let second = scope
            .spawn(move || make_calls(other, memory, OTHER_FRAME, count, [SERVER_DATA + PAGE, 5]));
        let first = make_calls(
            &mut pair.client.vcpu,
            memory,
            FRAME,
            count,
            [SERVER_DATA, 5],
        );
        first + second.join().expect("the other vCPU's thread")
    });
    let expected: u64 = (1..=count).map(|n| n + 5).sum();
    for (frame, counter) in [
        (FRAME, SERVER_DATA_PAGES),
        (OTHER_FRAME, SERVER_DATA_PAGES + PAGE),
    ] {
        assert_eq!(pair.server.memory.get(counter), count, "calls made");
        assert_eq!(memory.get(frame + FRAME_SUM), expected, "results");
    }
    again
}

fn two_vcpus_two_carriers() {
    assert_eq!(both_call(2, 50_000), 0, "calls that found no carrier");
}

fn two_vcpus_one_carrier() {
    let again = both_call(1, 2_000);
    println!("# {again} of 4,000 calls found no carrier at first");
}

/// A vCPU that is in the call is interrupted.
fn interrupt(vm: &VmFd, server: &Memory, vcpu: &mut Vcpu, number: u32) -> Stop {
    const NMI: u32 = 0x400;
    thread::scope(|scope| {
        scope.spawn(move || {
            wait_until_it_loops(server);
            signal_to(vm, number, NMI);
        });
        vcpu.run()
    })
}

fn call_moves_to_another_vcpu() {
    let (mut pair, mut other) = two_vcpus(code::guest_loop_until(), 1);
    pair.start([SERVER_DATA, 100, 0, 0, 0, 0]);
    let (vm, server) = (pair.client.vm.clone(), pair.server.memory.clone());
    let vcpus = [&mut pair.client.vcpu, &mut other];
    let frames = [FRAME, OTHER_FRAME];
    let resume = |vcpu: &mut Vcpu, frame: u64, token: u64| {
        vcpu.enter_user(kvm_regs {
            rip: code::guest_user_hypercall(),
            rsp: frame,
            rax: u64::from(uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RESUME),
            rdi: token,
            ..Default::default()
        });
    };
    let (mut at, mut token) = (0, 0);
    for _ in 0..20 {
        let stop = interrupt(&vm, &server, vcpus[at], at as u32).expect(2);
        assert_eq!(stop.regs.rip, PAD, "{stop:x?}");
        assert_eq!(stop.regs.rsp, frames[at], "{stop:x?}");
        assert_eq!(
            stop.regs.rax,
            u64::from(uapi::WORMHOLE_PAD_INTERRUPTED),
            "{stop:x?}"
        );
        token = stop.regs.rdi;
        at = 1 - at;
        resume(vcpus[at], frames[at], token);
    }
    end_the_loop(&server);
    let mut stop = vcpus[at].run();
    while stop.is(2) {
        stop = vcpus[at].run();
    }
    let stop = stop.expect(AT_HOME);
    assert_eq!((stop.regs.rdi, stop.regs.rsp), (107, frames[at]));
    // The other one knows nothing of it any more.
    resume(vcpus[1 - at], frames[1 - at], token);
    let stop = vcpus[1 - at].run().expect(AFTER_HYPERCALL);
    assert_eq!(stop.regs.rax as i64, refused(Errno::NOENT));
}

/// Counters of the guest's handlers.
fn count(memory: &Memory, number: u64) -> u64 {
    memory.get(COUNTS + number * 8)
}

/// The client calls `guest_counter` while `disturb` does what it does, until that returns. All calls must be right.
fn calls_under_interrupts(
    mut pair: Pair,
    disturb: impl FnOnce(&VmFd, &Memory, &AtomicBool) + Send,
) -> Pair {
    const CALLS: u64 = u64::MAX >> 1;
    let memory = pair.client.memory.clone();
    set_handler(&memory, DEVICE, code::guest_count_device());
    set_handler(&memory, TIMER, code::guest_count_timer());
    pair.start_many(CALLS, [SERVER_DATA, 5, 0, 0, 0, 0]);
    let done = AtomicBool::new(false);
    // The timer is for one shot.
    let (vm, vcpu) = (pair.client.vm.clone(), &mut pair.client.vcpu);
    vcpu.set_msr(0x832, TIMER.into());
    vcpu.set_msr(0x83e, 0b1011); // by 1, of 1 GHz
    let stop = thread::scope(|scope| {
        let (vm, memory, done) = (&vm, &memory, &done);
        scope.spawn(move || {
            disturb(vm, memory, done);
            // The guest counts down by an instruction that may have read it already.
            while !done.load(Ordering::SeqCst) {
                memory.set(FRAME + FRAME_LEFT, 1);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let stop = vcpu.run_until(Duration::from_secs(150));
        done.store(true, Ordering::SeqCst);
        stop
    });
    let stop = stop.expect("it ends");
    assert!(stop.is(DONE), "{stop:x?}");
    let calls = pair.server.memory.get(SERVER_DATA_PAGES);
    let expected = (1..=calls).map(|n| n + 5).sum::<u64>();
    assert_eq!(memory.get(FRAME + FRAME_SUM), expected, "{calls} calls");
    assert_eq!(
        count(&memory, 2),
        0,
        "interrupts outside of the process's code, the last at {:#x}",
        count(&memory, 4)
    );
    println!(
        "# {calls} calls, {} at PAD",
        pair.pads(uapi::WORMHOLE_PAD_INTERRUPTED)
    );
    pair
}

const INTERRUPTS: u64 = 10_000;

/// Whether a vCPU cannot run while this program does something else.
pub fn one_cpu() -> bool {
    thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1)
}

fn ten_thousand_device_interrupts() {
    if one_cpu() {
        return crate::skip("on one CPU each of the 10,000 would wait for a time slice: needs two");
    }
    let pair = Pair::ready(code::guest_counter());
    let pair = calls_under_interrupts(pair, |vm, memory, done| {
        let event = device_event(vm);
        let mut random = 1_u64;
        for sent in 1..=INTERRUPTS {
            event.write(1).expect("eventfd");
            let start = Instant::now();
            while count(memory, 0) < sent && !done.load(Ordering::SeqCst) {
                assert!(start.elapsed() < Duration::from_secs(8), "lost: {sent}");
                thread::yield_now();
            }
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            for _ in 0..random % 2048 {
                std::hint::spin_loop();
            }
        }
        thread::sleep(Duration::from_millis(20));
    });
    assert_eq!(count(&pair.client.memory, 0), INTERRUPTS, "seen");
}

/// A handler starts the timer again each time: one that is lost would be the last.
fn ten_thousand_timer_interrupts() {
    let pair = Pair::ready(code::guest_counter());
    let pair = calls_under_interrupts(pair, |vm, memory, done| {
        let mut last = (0, Instant::now());
        while count(memory, 1) < INTERRUPTS && !done.load(Ordering::SeqCst) {
            // from 1 to 17 microseconds
            let random = (count(memory, 1) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
            memory.set(COUNTS + 0x18, 1_000 + random);
            if last.0 == 0 {
                // It is started as a device interrupt.
                signal_to(vm, 0, TIMER.into());
            }
            let now = count(memory, 1);
            if now != last.0 {
                last = (now, Instant::now());
            }
            assert!(
                last.1.elapsed() < Duration::from_secs(8),
                "it stopped at {now}"
            );
            thread::sleep(Duration::from_micros(500));
        }
        memory.set(COUNTS + 0x18, 0);
    });
    assert!(count(&pair.client.memory, 1) >= INTERRUPTS);
}

/// From another vCPU, whose kernel sends each when the one before has been counted.
fn ten_thousand_interprocessor_interrupts() {
    if one_cpu() {
        return crate::skip("on one CPU each of the 10,000 would wait for a time slice: needs two");
    }
    let (pair, mut sender) = two_vcpus(code::guest_counter(), 1);
    let pair = calls_under_interrupts(pair, |_, memory, _| {
        sender.enter_kernel(kvm_regs {
            rip: code::guest_send_interrupts(),
            rdi: INTERRUPTS,
            ..Default::default()
        });
        let stop = sender.run_until(LIMIT);
        let sent = count(memory, 0);
        assert!(stop.is_some(), "lost: the one after {sent}");
        thread::sleep(Duration::from_millis(20));
    });
    assert_eq!(count(&pair.client.memory, 0), INTERRUPTS, "seen");
}

/// The client's kernel goes on getting its ticks while its vCPU is in the server for seconds.
fn timer_ticks_during_a_long_call() {
    const LENGTH: Duration = Duration::from_secs(3);
    const TICK: u64 = 1_000_000;
    let mut pair = Pair::ready(code::guest_loop_until());
    let memory = pair.client.memory.clone();
    set_handler(&memory, TIMER, code::guest_count_timer());
    memory.set(COUNTS + 0x18, TICK);
    pair.start([SERVER_DATA, 100, 0, 0, 0, 0]);
    let (vm, vcpu) = (pair.client.vm.clone(), &mut pair.client.vcpu);
    vcpu.set_msr(0x832, TIMER.into());
    vcpu.set_msr(0x83e, 0b1011); // by 1, of 1 GHz
    let stop = thread::scope(|scope| {
        let (server, memory) = (&pair.server.memory, &memory);
        scope.spawn(move || {
            wait_until_it_loops(server);
            // It is started as a device interrupt.
            signal_to(&vm, 0, TIMER.into());
            let start = Instant::now();
            let mut last = (0, start);
            while start.elapsed() < LENGTH && last.1.elapsed() < Duration::from_secs(8) {
                thread::sleep(Duration::from_millis(50));
                let now = count(memory, 1);
                if now > last.0 {
                    last = (now, Instant::now());
                }
            }
            assert!(start.elapsed() >= LENGTH, "the ticks ended at {}", last.0);
            memory.set(COUNTS + 0x18, 0);
            end_the_loop(server);
        });
        vcpu.run_until(LIMIT)
    });
    let stop = stop.expect("it ends").expect(AT_HOME);
    assert_eq!((stop.regs.rdi, stop.regs.rsp), (107, FRAME));
    assert_eq!(count(&memory, 2), 0, "ticks outside of the process's code");
    println!("# {} ticks", count(&memory, 1));
}
