// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How many calls there were, as the pairing's fdinfo has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::hops::{hop_again, resume, resume_error};
use crate::layout::*;
use crate::observe::{debugfs, fdinfo};
use crate::pair::{refused, write_gate, Pair, CARRIER};
use crate::vm::signal;

crate::tests! {
    calls_are_counted
    hops_are_counted_with_their_result
    interrupted_calls_are_counted_once
}

fn calls(pair: &Pair) -> u64 {
    fdinfo(&pair.pairing)["calls"].parse().expect("a number")
}

/// Makes 1,000 calls, which read 5 each.
fn thousand(pair: &mut Pair) {
    pair.server.memory.set(SERVER_DATA_PAGES, 5);
    pair.start_many(1000, [SERVER_DATA, 0, 0, 0, 0, 0]);
    pair.client.vcpu.run().expect(DONE);
    assert_eq!(pair.client.memory.get(FRAME + FRAME_SUM), 5000);
    write_gate(&pair.client.memory, code::guest_home(), code::guest_pad());
}

fn calls_are_counted() {
    let mut pair = Pair::ready(code::guest_read());
    assert_eq!(calls(&pair), 0);
    for expected in [1000, 2000] {
        thousand(&mut pair);
        assert_eq!(calls(&pair), expected);
    }
    let id = &fdinfo(&pair.pairing)["id"];
    assert_eq!(debugfs(id, "calls"), "2000");
}

/// Not when it hops, and not when it has failed.
fn hops_are_counted_with_their_result() {
    let mut pair = Pair::ready(code::guest_read());
    thousand(&mut pair);
    for hops in 1..=3 {
        let token = hop_again(&mut pair, [SERVER_UNREGISTERED, 0]);
        assert_eq!(resume_error(&mut pair, token), refused(Errno::AGAIN));
        let stop = pair.call([SERVER_DATA, 0, 0, 0, 0, 0]).expect(AT_PAD);
        assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_ERROR));
        assert_eq!(calls(&pair), 1000 + hops - 1);
        assert_eq!(pair.finish(CARRIER, 6), 0);
        assert_eq!(resume(&mut pair, token), 6);
        assert_eq!(calls(&pair), 1000 + hops);
    }
    thousand(&mut pair);
    assert_eq!(calls(&pair), 2003);
}

/// At any place of the way there and back.
fn interrupted_calls_are_counted_once() {
    const CALLS: u64 = 300_000;
    let mut pair = Pair::ready(code::guest_counter());
    pair.start_many(CALLS, [SERVER_DATA, 5, 0, 0, 0, 0]);
    let done = AtomicBool::new(false);
    let mut interrupts = 0;
    let stop = thread::scope(|scope| {
        let (vm, done) = (&pair.client.vm, &done);
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                signal(vm, DEVICE.into());
                thread::sleep(Duration::from_micros(200));
            }
        });
        let stop = loop {
            match pair.client.vcpu.run_until(Duration::from_secs(8)) {
                Some(stop) if stop.is(DEVICE) => interrupts += 1,
                stop => break stop,
            }
        };
        done.store(true, Ordering::SeqCst);
        stop
    });
    stop.expect("it ends").expect(DONE);
    assert_ne!(interrupts, 0);
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES), CALLS);
    assert_eq!(calls(&pair), CALLS);
}
