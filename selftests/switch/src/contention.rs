// SPDX-License-Identifier: Apache-2.0 OR MIT
//! More vCPUs than carriers, and the end of a pairing amid exits that only the host module can answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wormhole_uapi as uapi;

use crate::concurrent::make_calls;
use crate::device::Device;
use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{bind, carrier_page, go_on_calling, open, write_gate, Pair, CARRIER, SESSION};
use crate::vm::{Guest, VCPUS};

crate::tests! {
    four_vcpus_one_carrier
    four_vcpus_two_carriers
    unpair_with_answers_due
}

const CALLS: u64 = 10_000;

/// Each of a vCPU's calls has the result for its arguments, and no carrier is in two calls at once.
fn many_vcpus(carriers: u64) {
    let mut pair = Pair::paired();
    let mut others: Vec<_> = (1..VCPUS).map(|n| pair.client.another_vcpu(n)).collect();
    pair.open(code::guest_exclusive());
    for number in CARRIER + 1..carriers {
        pair.add_carrier(number);
    }
    pair.bind();
    let memory = pair.client.memory.clone();
    write_gate(&memory, code::guest_calls_home(), code::guest_pad());
    let frame = |vcpu: u64| FRAME + vcpu * 0x400;
    let argument = |vcpu: u64| 1_000 + vcpu;
    let again: u64 = thread::scope(|scope| {
        let memory = &memory;
        let vcpus = std::iter::once(&mut pair.client.vcpu);
        let threads: Vec<_> = vcpus
            .chain(&mut others)
            .zip(0..)
            .map(|(vcpu, n)| {
                let run =
                    move || make_calls(vcpu, memory, frame(n), CALLS, [SERVER_DATA, argument(n)]);
                // It must end before the vCPUs do.
                scope.spawn(run)
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a vCPU's thread"))
            .sum()
    });
    for vcpu in 0..VCPUS {
        let sum = memory.get(frame(vcpu) + FRAME_SUM);
        assert_eq!(sum, CALLS * argument(vcpu) * 3, "results of vCPU {vcpu}");
    }
    let counted = |word: u64| pair.server.memory.get(SERVER_DATA_PAGES + word * 8);
    assert_eq!(counted(1), 0, "calls on a stack in use");
    assert_eq!(counted(0), VCPUS * CALLS, "calls made");
    println!(
        "# {again} of {} calls found no carrier at first",
        VCPUS * CALLS
    );
}

fn four_vcpus_one_carrier() {
    many_vcpus(1);
}

fn four_vcpus_two_carriers() {
    many_vcpus(2);
}

/// RETURN for each call that has hopped home, until `done`. Says when these were `enough`.
fn finish_hops(server: &mut Guest, are_enough: &AtomicBool, enough: u64, done: &AtomicBool) {
    const PARKED: u32 = uapi::WORMHOLE_CARRIER_PARKED;
    let page = carrier_page(CARRIER);
    let mut count = 0;
    while !done.load(Ordering::SeqCst) {
        let word = server.memory.get(page);
        if word as u32 == uapi::WORMHOLE_CARRIER_HOPPED {
            server
                .memory
                .set(page, (word & !0xffff_ffff) | u64::from(PARKED));
            server.hypercall(uapi::WORMHOLE_HC_RETURN, [SESSION, CARRIER, 4711]);
            count += 1;
        } else {
            thread::sleep(Duration::from_micros(20));
        }
        are_enough.store(count >= enough, Ordering::SeqCst);
    }
}

/// Nearly all exits of a client whose every call hops home are the module's to answer. When it goes, none of them is
/// left to KVM, which would end KVM_RUN with what it does not know.
fn unpair_with_answers_due() {
    const ROUNDS: u64 = 100;
    const PATIENCE: Duration = Duration::from_secs(8);
    let (mut client, mut server) = (Guest::new(), Guest::new());
    let device = Device::open().expect("/dev/wormhole opens");
    for round in 0..ROUNDS {
        let pairing = device.pair(&client, &server, "answers").expect("PAIR");
        open(&mut server, code::guest_ud2_inside());
        bind(&mut client);
        write_gate(
            &client.memory,
            code::guest_home(),
            code::guest_pad_of_hops(),
        );
        go_on_calling(&mut client.vcpu, FRAME);
        let (enough, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let stop = thread::scope(|scope| {
            let (enough, done, server) = (&enough, &done, &mut server);
            scope.spawn(move || finish_hops(server, enough, 1 + round % 7, done));
            scope.spawn(move || {
                let start = Instant::now();
                while !enough.load(Ordering::SeqCst) && start.elapsed() < PATIENCE {
                    thread::yield_now();
                }
                // Somewhere in the next call.
                for _ in 0..round * 97 % 2000 {
                    std::hint::spin_loop();
                }
                drop(pairing);
            });
            let stop = client.vcpu.run_until(2 * PATIENCE);
            done.store(true, Ordering::SeqCst);
            stop
        });
        assert!(enough.load(Ordering::SeqCst), "round {round}: no hops");
        let stop = stop.expect("the calls end").expect(6);
        assert_eq!(stop.cs, u64::from(USER_CS), "{stop:x?}");
        assert_eq!(stop.regs.rip, ENTER + 7, "round {round}");
    }
}
