// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls that come home.

use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{Pair, SESSION};

crate::tests! {
    result
    arguments_in_order
    server_memory
    read_only_memory_is_read
    thousand_calls
    calls_make_no_exits
    call_without_bind
    call_after_unbind
    call_after_close
    call_of_another_address_space
}

fn result() {
    let mut pair = Pair::ready(code::guest_counter());
    for n in 1..=3 {
        assert_eq!(pair.result([SERVER_DATA, 100, 0, 0, 0, 0]), n + 100);
        assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES), n);
    }
}

fn arguments_in_order() {
    let mut pair = Pair::ready(code::guest_digits());
    assert_eq!(pair.result([1, 2, 3, 4, 5, 6]), 123_456);
    assert_eq!(pair.result([9, 8, 7, 6, 5, 4]), 987_654);
}

fn server_memory() {
    let mut pair = Pair::ready(code::guest_checksum());
    let words = SERVER_DATA_COUNT * PAGE / 8;
    let mut sum = 0_u64;
    for n in 0..words {
        let value = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        pair.server.memory.set(SERVER_DATA_PAGES + n * 8, value);
        sum = sum.wrapping_add(value);
    }
    assert_eq!(pair.result([SERVER_DATA, words, 0, 0, 0, 0]), sum);
}

fn read_only_memory_is_read() {
    let mut pair = Pair::ready(code::guest_read());
    pair.server.memory.set(SERVER_READ_ONLY_PAGE, 4711);
    assert_eq!(pair.result([SERVER_READ_ONLY, 0, 0, 0, 0, 0]), 4711);
}

/// Makes `count` calls of `guest_counter`, which has been called `before` times, and checks the sum.
fn make_calls(pair: &mut Pair, before: u64, count: u64) {
    pair.start_many(count, [SERVER_DATA, 5, 0, 0, 0, 0]);
    pair.client.vcpu.run().expect(DONE);
    let expected: u64 = (before + 1..=before + count).map(|n| n + 5).sum();
    assert_eq!(pair.client.memory.get(FRAME + FRAME_SUM), expected);
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES), before + count);
}

fn thousand_calls() {
    let mut pair = Pair::ready(code::guest_counter());
    make_calls(&mut pair, 0, 1000);
}

/// The main point: the guest causes as many exits with 1,000 calls as with none.
fn calls_make_no_exits() {
    let mut pair = Pair::ready(code::guest_counter());
    // Whatever a first time costs.
    make_calls(&mut pair, 0, 10);
    let mut before = 10;
    let mut exits = [0; 2];
    for (count, exits) in [1, 1000].into_iter().zip(&mut exits) {
        let start = pair.client_exits();
        make_calls(&mut pair, before, count);
        before += count;
        // A call that an interrupt of the host stopped goes on by a hypercall.
        let resumed = pair.pads(uapi::WORMHOLE_PAD_INTERRUPTED);
        *exits = pair.client_exits() - start - resumed;
    }
    assert_eq!(exits[0], exits[1], "exits of 1 and of 1,000 calls");
}

/// ENTER where there is nothing to enter is #UD, or PAD with an error.
#[track_caller]
fn no_call(pair: &mut Pair) {
    let before = pair.server.memory.get(SERVER_DATA_PAGES);
    let stop = pair.call([SERVER_DATA, 0, 0, 0, 0, 0]);
    if !stop.is(6) {
        let stop = stop.expect(AT_PAD);
        assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_ERROR));
    }
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES), before);
}

fn call_without_bind() {
    let mut pair = Pair::ready(code::guest_counter());
    let unbound = pair
        .client
        .hypercall(uapi::WORMHOLE_HC_UNBIND, [SESSION, 0, 0]);
    assert_eq!(unbound, 0);
    no_call(&mut pair);
}

fn call_after_unbind() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    let unbound = pair
        .client
        .hypercall(uapi::WORMHOLE_HC_UNBIND, [SESSION, 0, 0]);
    assert_eq!(unbound, 0);
    no_call(&mut pair);
    pair.bind();
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 2);
}

fn call_after_close() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    let closed = pair
        .server
        .hypercall(uapi::WORMHOLE_HC_CLOSE, [SESSION, 0, 0]);
    assert_eq!(closed, 0);
    no_call(&mut pair);
}

/// A process of the client VM that is not bound has no way in, with the same gate page at the same address.
fn call_of_another_address_space() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    for at in (0..PAGE).step_by(8) {
        let entry = pair.client.memory.get(PML4 + at);
        pair.client.memory.set(PML4_COPY + at, entry);
    }
    pair.client.vcpu.set_cr3(PML4_COPY);
    no_call(&mut pair);
    pair.client.vcpu.set_cr3(PML4);
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 2);
}
