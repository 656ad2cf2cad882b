// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A VM that is reset while the client calls: what its guest has bound and registered is no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use wormhole_uapi as uapi;

use crate::events::{end_the_loop, wait_until_it_loops};
use crate::guest_code as code;
use crate::kills::rounds;
use crate::layout::*;
use crate::memory::Memory;
use crate::pair::{go_on_calling, start_calls, write_gate, Pair};
use crate::vm::{Guest, Stop, Vcpu, LIMIT};

crate::tests! {
    server_resets_while_the_client_calls
    server_resets_during_a_call
    client_resets_while_another_vcpu_calls
}

/// WORMHOLE_ROUNDS for more.
const ROUNDS: u64 = 3;

const CALLS: u64 = u64::MAX >> 1;
/// What it may take until calls end, after the vCPU has run.
const GRACE: Duration = Duration::from_millis(200);
/// Firmware's last page.
const FIRMWARE: u64 = 0xffff_f000;

pub fn firmware(guest: &Guest) -> Memory {
    let memory = Memory::new(PAGE);
    // at FFFF:0000, where the first instruction is: OUT PORT_HYPERCALL, AL; HLT
    memory.write(0xff0, &[0xe6, PORT_HYPERCALL, 0xf4]);
    guest.add_memory(1, FIRMWARE, &memory);
    memory
}

/// As QEMU's system_reset leaves the first vCPU; then it runs a little.
pub fn reset(vcpu: &mut Vcpu) {
    let data = kvm_segment {
        limit: 0xffff,
        type_: 3,
        present: 1,
        s: 1,
        ..Default::default()
    };
    let table = kvm_dtable {
        limit: 0xffff,
        ..Default::default()
    };
    vcpu.change_sregs(|sregs| {
        (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (0x6000_0010, 0, 0, 0);
        sregs.cs = kvm_segment {
            selector: 0xf000,
            base: 0xffff_0000,
            type_: 11,
            ..data
        };
        (sregs.ds, sregs.es, sregs.fs) = (data, data, data);
        (sregs.gs, sregs.ss) = (data, data);
        sregs.tr = kvm_segment {
            type_: 11,
            s: 0,
            ..data
        };
        sregs.ldt = kvm_segment {
            type_: 2,
            s: 0,
            ..data
        };
        (sregs.gdt, sregs.idt) = (table, table);
    });
    vcpu.set_regs(&kvm_regs {
        rip: 0xfff0,
        rdx: 0x806c1,
        rflags: 2,
        ..Default::default()
    });
    let port = vcpu.run_to_port(LIMIT);
    assert_eq!(port, Some(PORT_HYPERCALL.into()));
}

/// A call has failed: at once, or it was in the server's memory when that went, and its result is nobody's to give.
#[track_caller]
fn assert_failed(vcpu: &mut Vcpu, stop: Stop) {
    let stop = stop.expect(AT_PAD);
    if stop.regs.rax == u64::from(uapi::WORMHOLE_PAD_HOPPED) {
        let stop = vcpu
            .user_hypercall(uapi::WORMHOLE_HC_RESUME, [stop.regs.rdi, 0, 0])
            .expect(AFTER_HYPERCALL);
        assert!((stop.regs.rax as i64) < 0, "{stop:x?}");
    } else {
        let error = u64::from(uapi::WORMHOLE_PAD_ERROR);
        assert_eq!(stop.regs.rax, error, "{stop:x?}");
    }
}

/// The calls have ended with one that failed; so must more.
#[track_caller]
fn assert_calls_end(vcpu: &mut Vcpu, server: &Memory, stop: Stop) {
    assert!(!stop.is(DONE), "calls go on after the reset");
    // One that an interrupt had stopped is known no more.
    if stop.is(AFTER_HYPERCALL) {
        assert!((stop.regs.rax as i64) < 0, "{stop:x?}");
    } else {
        assert_failed(vcpu, stop);
    }
    let count = server.get(SERVER_DATA_PAGES);
    for _ in 0..10 {
        go_on_calling(vcpu, FRAME);
        let stop = vcpu.run();
        assert_failed(vcpu, stop);
    }
    assert_eq!(server.get(SERVER_DATA_PAGES), count, "calls that failed");
}

/// Returns when a call of `guest_exclusive` has been made since.
fn wait_for_calls(server: &Memory) {
    let before = server.get(SERVER_DATA_PAGES);
    let start = Instant::now();
    while server.get(SERVER_DATA_PAGES) == before {
        assert!(start.elapsed() < Duration::from_secs(8), "no calls");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Runs `caller`, which is in calls, while `before` waits, `vcpu` is reset, and `after` ends calls that go on nevertheless.
fn run_and_reset(
    caller: &mut Vcpu,
    vcpu: &mut Vcpu,
    before: impl FnOnce() + Send,
    after: impl Fn() + Send + Sync,
) -> Stop {
    let done = AtomicBool::new(false);
    let stop = thread::scope(|scope| {
        scope.spawn(|| {
            before();
            reset(vcpu);
            let start = Instant::now();
            while !done.load(Ordering::SeqCst) {
                if start.elapsed() > GRACE {
                    after();
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let stop = caller.run_until(LIMIT);
        done.store(true, Ordering::SeqCst);
        stop
    });
    stop.expect("it ends")
}

fn server_resets_while_the_client_calls() {
    rounds(ROUNDS, server_reset_while_the_client_calls);
}

fn server_reset_while_the_client_calls(delay: Duration) {
    let mut pair = Pair::ready(code::guest_exclusive());
    let firmware = firmware(&pair.server);
    let memory = pair.client.memory.clone();
    write_gate(&memory, code::guest_calls_home(), code::guest_pad());
    start_calls(
        &mut pair.client.vcpu,
        &memory,
        FRAME,
        CALLS,
        [SERVER_DATA, 0, 0, 0, 0, 0],
    );
    let server = &mut pair.server;
    let stop = run_and_reset(
        &mut pair.client.vcpu,
        &mut server.vcpu,
        || {
            wait_for_calls(&server.memory);
            thread::sleep(delay);
        },
        || memory.set(FRAME + FRAME_LEFT, 1),
    );
    assert_calls_end(&mut pair.client.vcpu, &pair.server.memory, stop);
    drop(pair);
    drop(firmware);
}

fn server_resets_during_a_call() {
    rounds(ROUNDS, server_reset_during_a_call);
}

/// A call that is in the server view then does not come home with a result.
fn server_reset_during_a_call(delay: Duration) {
    let mut pair = Pair::ready(code::guest_loop_until());
    let firmware = firmware(&pair.server);
    pair.start([SERVER_DATA, 100, 0, 0, 0, 0]);
    let server = &mut pair.server;
    let stop = run_and_reset(
        &mut pair.client.vcpu,
        &mut server.vcpu,
        || {
            wait_until_it_loops(&server.memory);
            thread::sleep(delay);
        },
        || end_the_loop(&server.memory),
    );
    if stop.is(AFTER_HYPERCALL) {
        assert!((stop.regs.rax as i64) < 0, "{stop:x?}");
    } else {
        assert_failed(&mut pair.client.vcpu, stop);
    }
    // Nobody runs in it any more.
    end_the_loop(&pair.server.memory);
    let count = pair.server.memory.get(SERVER_DATA_PAGES + 8);
    thread::sleep(Duration::from_millis(5));
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES + 8), count);
    drop(pair);
    drop(firmware);
}

fn client_resets_while_another_vcpu_calls() {
    rounds(ROUNDS, client_reset_while_another_vcpu_calls);
}

/// The bound process has gone with its kernel, whatever the other vCPUs say.
fn client_reset_while_another_vcpu_calls(delay: Duration) {
    let mut pair = Pair::paired();
    let mut other = pair.client.second_vcpu();
    pair.open(code::guest_exclusive());
    pair.bind();
    let firmware = firmware(&pair.client);
    let memory = pair.client.memory.clone();
    write_gate(&memory, code::guest_calls_home(), code::guest_pad());
    let arguments = [SERVER_DATA, 0, 0, 0, 0, 0];
    start_calls(&mut other, &memory, FRAME, CALLS, arguments);
    let stop = run_and_reset(
        &mut other,
        &mut pair.client.vcpu,
        || {
            wait_for_calls(&pair.server.memory);
            thread::sleep(delay);
        },
        || memory.set(FRAME + FRAME_LEFT, 1),
    );
    assert_calls_end(&mut other, &pair.server.memory, stop);
    drop(other);
    drop(pair);
    drop(firmware);
}
