// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Carriers that the server takes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::concurrent::make_calls;
use crate::events::{end_the_loop, wait_until_it_loops};
use crate::guest_code as code;
use crate::hops::{hop_again, resume};
use crate::layout::*;
use crate::observe::fdinfo;
use crate::pair::{
    add_carrier, carrier_page, refused, result_of, write_gate, Pair, CARRIER, SESSION,
};
use crate::teardown::LOOP;
use crate::vm::Guest;

crate::tests! {
    a_carrier_that_nobody_wants_is_given_back
    a_carrier_in_a_call_stays
    a_carrier_whose_call_has_hopped_stays
    calls_while_carriers_come_and_go
}

/// RETIRE.
fn ask(server: &mut Guest, carrier: u64) -> i64 {
    server.hypercall(uapi::WORMHOLE_HC_RETIRE, [SESSION, carrier, 0])
}

/// What nobody has called with since it was asked for is gone; a call finds none then, and one that is given later.
fn a_carrier_that_nobody_wants_is_given_back() {
    let mut pair = Pair::ready(code::guest_counter());
    let arguments = [SERVER_DATA, 0, 0, 0, 0, 0];
    for called in 1..4 {
        // The vCPU had it, and is out of guest mode: it loses it, but not the server.
        assert_eq!(pair.result(arguments), called);
        assert_eq!(ask(&mut pair.server, CARRIER), refused(Errno::BUSY));
    }
    assert_eq!(ask(&mut pair.server, CARRIER), 0);
    assert_eq!(ask(&mut pair.server, CARRIER), refused(Errno::NOENT));
    let stop = pair.call(arguments).expect(AT_PAD);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_ERROR));
    assert_eq!(stop.regs.rdi, Errno::AGAIN.raw_os_error() as u64);
    // What was its page is the server's own again.
    pair.server.memory.fill(carrier_page(CARRIER), PAGE, 0x5a);
    pair.add_carrier(CARRIER);
    assert_eq!(pair.result(arguments), 4);
    // As many times as you like, without more memory.
    let table_bytes = |pair: &Pair| fdinfo(&pair.pairing)["table-bytes"].clone();
    let before = table_bytes(&pair);
    for _ in 0..100 {
        while ask(&mut pair.server, CARRIER) != 0 {}
        pair.add_carrier(CARRIER);
    }
    assert_eq!(table_bytes(&pair), before);
    assert_eq!(pair.result(arguments), 5);
}

/// On a vCPU, and stopped.
fn a_carrier_in_a_call_stays() {
    let mut pair = Pair::ready(code::guest_loop_until());
    pair.start(LOOP);
    let stop = thread::scope(|scope| {
        let server = &mut pair.server;
        scope.spawn(move || {
            for _ in 0..20 {
                wait_until_it_loops(&server.memory);
                assert_eq!(ask(server, CARRIER), refused(Errno::BUSY));
            }
            end_the_loop(&server.memory);
        });
        pair.client.vcpu.run()
    });
    assert_eq!(result_of(stop), 107);
}

fn a_carrier_whose_call_has_hopped_stays() {
    let mut pair = Pair::ready(code::guest_read());
    let busy = |pair: &mut Pair| {
        for _ in 0..3 {
            assert_eq!(ask(&mut pair.server, CARRIER), refused(Errno::BUSY));
        }
    };
    let token = hop_again(&mut pair, [SERVER_UNREGISTERED, 0]);
    busy(&mut pair);
    assert_eq!(pair.finish(CARRIER, 4711), 0);
    // The client has yet to ask for the result.
    busy(&mut pair);
    assert_eq!(resume(&mut pair, token), 4711);
    assert_eq!(ask(&mut pair.server, CARRIER), refused(Errno::BUSY));
    assert_eq!(ask(&mut pair.server, CARRIER), 0);
}

/// No call is lost or made twice, although both carriers go and come all the time.
fn calls_while_carriers_come_and_go() {
    const CALLS: u64 = 20_000;
    let mut pair = Pair::ready(code::guest_counter());
    pair.add_carrier(CARRIER + 1);
    let memory = &pair.client.memory;
    write_gate(memory, code::guest_calls_home(), code::guest_pad());
    let over = AtomicBool::new(false);
    let taken = thread::scope(|scope| {
        let (server, over) = (&mut pair.server, &over);
        let server = scope.spawn(move || {
            let mut taken = 0;
            while !over.load(Ordering::Relaxed) {
                for carrier in [CARRIER, CARRIER + 1] {
                    if ask(server, carrier) == 0 {
                        taken += 1;
                        add_carrier(server, carrier);
                    }
                }
            }
            taken
        });
        let arguments = [SERVER_DATA, 0];
        make_calls(&mut pair.client.vcpu, memory, FRAME, CALLS, arguments);
        over.store(true, Ordering::Relaxed);
        server.join().expect("the server's thread")
    });
    assert!(taken > 0);
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES), CALLS);
}
