// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a call that is under way makes of the end of what it rests on.

use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::events::{end_the_loop, wait_until_it_loops};
use crate::guest_code as code;
use crate::kills::rounds;
use crate::layout::*;
use crate::observe::fdinfo;
use crate::pair::{call_regs, result_of, Pair, SESSION};
use crate::vm::{Guest, Stop};

crate::tests! {
    unpair_during_a_call
    unpair_and_call
    pair_again
    close_during_a_call
    close_between_calls
    unmap_during_a_call
    server_closed_during_a_call
    server_memory_gone_during_a_call
    unpair_with_all_closed
}

pub const LOOP: [u64; 6] = [SERVER_DATA, 100, 0, 0, 0, 0];

/// The call is over without a result: an error at PAD, or RESUME has failed.
#[track_caller]
pub fn assert_over(stop: Stop) {
    if stop.is(AFTER_HYPERCALL) {
        assert!((stop.regs.rax as i64) < 0, "{stop:x?}");
    } else {
        let stop = stop.expect(AT_PAD);
        assert_eq!(
            stop.regs.rax,
            u64::from(uapi::WORMHOLE_PAD_ERROR),
            "{stop:x?}"
        );
    }
}

/// VMFUNC is #UD.
#[track_caller]
fn assert_no_vmfunc(client: &mut Guest) {
    for _ in 0..2 {
        client.vcpu.enter_user(call_regs([0; 6]));
        client.vcpu.run().expect(6);
    }
}

fn unpair_during_a_call() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    let Pair {
        mut client,
        server,
        pairing,
    } = pair;
    let stop = thread::scope(|scope| {
        let memory = &server.memory;
        scope.spawn(move || {
            wait_until_it_loops(memory);
            drop(pairing);
        });
        client.vcpu.run()
    });
    assert_over(stop);
    // It runs no more.
    let count = server.memory.get(SERVER_DATA_PAGES + 8);
    assert_no_vmfunc(&mut client);
    assert_eq!(server.memory.get(SERVER_DATA_PAGES + 8), count);
}

fn unpair_and_call() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    let Pair {
        mut client,
        server,
        pairing,
    } = pair;
    drop(pairing);
    assert_no_vmfunc(&mut client);
    assert_eq!(server.memory.get(SERVER_DATA_PAGES), 1);
}

/// The same VMs in a new pairing know nothing of the old one.
fn pair_again() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    let Pair {
        client,
        server,
        pairing,
    } = pair;
    drop(pairing);
    let device = crate::device::Device::open().expect("/dev/wormhole opens");
    let pairing = device.pair(&client, &server, "again").expect("PAIR");
    let mut pair = Pair {
        client,
        server,
        pairing,
    };
    pair.open(code::guest_counter());
    pair.bind();
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 2);
}

/// A hypercall of the server's kernel while the client loops in a call.
fn server_does(number: u32, arguments: [u64; 3]) -> (Pair, Stop) {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    let stop = thread::scope(|scope| {
        let server = &mut pair.server;
        let other = scope.spawn(move || {
            wait_until_it_loops(&server.memory);
            server.hypercall(number, arguments)
        });
        let stop = pair.client.vcpu.run();
        assert!(other.join().expect("the server's thread") >= 0);
        stop
    });
    (pair, stop)
}

/// The call hops home, where it may hold something.
fn close_during_a_call() {
    let (pair, stop) = server_does(uapi::WORMHOLE_HC_CLOSE, [SESSION, 0, 0]);
    assert_over(stop);
    let carrier = pair.carrier(0);
    assert_eq!(carrier.state, uapi::WORMHOLE_CARRIER_HOPPED);
    assert_eq!(carrier.cause, uapi::WORMHOLE_HOP_CLIENT);
    assert_eq!(carrier.registers[3], code::KEPT);
    let count = pair.server.memory.get(SERVER_DATA_PAGES + 8);
    thread::sleep(Duration::from_millis(5));
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES + 8), count);
}

/// The session is gone then, wherever between two calls the client is: what it gets is no error of its own making.
fn close_between_calls() {
    rounds(10, |delay| {
        let mut pair = Pair::ready(code::guest_counter());
        pair.start_many(u64::MAX >> 1, [SERVER_DATA, 0, 0, 0, 0, 0]);
        let Pair { client, server, .. } = &mut pair;
        let stop = thread::scope(|scope| {
            scope.spawn(|| {
                let start = Instant::now();
                while server.memory.get(SERVER_DATA_PAGES) == 0 {
                    assert!(start.elapsed() < Duration::from_secs(8), "no calls");
                    thread::sleep(Duration::from_micros(200));
                }
                thread::sleep(delay);
                let closed = server.hypercall(uapi::WORMHOLE_HC_CLOSE, [SESSION, 0, 0]);
                assert_eq!(closed, 0, "CLOSE");
            });
            client.vcpu.run_until(Duration::from_secs(60))
        });
        let stop = stop.expect("calls end");
        assert_over(stop);
        // Unless one that an interrupt had stopped was asked for.
        if stop.is(AT_PAD) {
            let error = Errno::from_raw_os_error(stop.regs.rdi as i32);
            assert_eq!(error, Errno::NOENT);
        }
        assert_eq!(fdinfo(&pair.pairing)["refusals"], "0");
    });
}

/// The page that the function loops on goes: it hops home.
fn unmap_during_a_call() {
    let (pair, stop) = server_does(uapi::WORMHOLE_HC_UNMAP, [SESSION, SERVER_DATA, 1]);
    let stop = stop.expect(AT_PAD);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_HOPPED));
    let carrier = pair.carrier(0);
    assert_eq!(carrier.cause, uapi::WORMHOLE_HOP_MEMORY);
    assert_eq!(carrier.registers[3], code::KEPT);
}

/// The server VM's files are closed, but its memory is there: the call goes on.
fn server_closed_during_a_call() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    let Pair {
        mut client,
        server,
        pairing,
    } = pair;
    let memory = server.memory.clone();
    let stop = thread::scope(|scope| {
        let memory = &memory;
        scope.spawn(move || {
            wait_until_it_loops(memory);
            drop(server);
            wait_until_it_loops(memory);
            end_the_loop(memory);
        });
        client.vcpu.run()
    });
    assert_eq!(result_of(stop), 107);
    drop(client);
    drop(pairing);
}

/// The server VM's memory goes too. What the call does then is not specified, but it must not take the client with it.
fn server_memory_gone_during_a_call() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    let Pair {
        mut client,
        server,
        pairing,
    } = pair;
    let stop = thread::scope(|scope| {
        scope.spawn(move || {
            wait_until_it_loops(&server.memory);
            drop(server);
            // It may go on for as long as it is paired.
            thread::sleep(Duration::from_millis(20));
            drop(pairing);
        });
        client.vcpu.run()
    });
    if stop.is(AT_PAD) && stop.regs.rax == u64::from(uapi::WORMHOLE_PAD_HOPPED) {
        let stop = client.user_hypercall(uapi::WORMHOLE_HC_RESUME, [stop.regs.rdi, 0, 0]);
        assert!((stop.expect(AFTER_HYPERCALL).regs.rax as i64) < 0);
    } else {
        assert_over(stop);
    }
    assert_no_vmfunc(&mut client);
}

/// All files of both VMs are closed before the pairing is.
fn unpair_with_all_closed() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    let Pair {
        client,
        server,
        pairing,
    } = pair;
    drop(server);
    drop(client);
    drop(pairing);
}
