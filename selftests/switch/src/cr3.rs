// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client whose CR3 is one of the guest-physical addresses that the views use: there CR3 would name the host's page
//! tables, the gate's own pages, or memory of the server's.

use std::time::Duration;

use kvm_bindings::kvm_regs;

use crate::device::Device;
use crate::guest_code as code;
use crate::layout::*;
use crate::memory::Memory;
use crate::modes::pages_of_the_views;
use crate::pair::{bind, call_regs, open, write_gate, Pair};
use crate::vm::Guest;

crate::tests! {
    cr3_at_pages_of_the_views
    cr3_at_pages_of_the_views_without_memory
}

const CALL: [u64; 6] = [SERVER_DATA, 0, 0, 0, 0, 0];
/// Where VMFUNC ends, as in the gate's listings: at the start of the gate, at the server's landing, on the way back.
const ENDS: [u64; 3] = [0x1da, 0x223, 0x300];
/// EPTP indices: the client's, the gate's, the server's, and two that are never used.
const INDICES: [u64; 5] = [0, 1, 2, 3, 511];

fn counter(pair: &Pair) -> u64 {
    pair.server.memory.get(SERVER_DATA_PAGES)
}

/// A call, after which the gate is open and the vCPU has a carrier.
#[track_caller]
fn assert_works(pair: &mut Pair) {
    write_gate(&pair.client.memory, code::guest_home(), code::guest_pad());
    pair.server.memory.set(SERVER_DATA_PAGES, 0);
    assert_eq!(pair.result(CALL), 1);
    pair.server.memory.set(SERVER_DATA_PAGES, 0);
}

/// The client's kernel loads CR3 and goes on with a VMFUNC, at CPL 0 or 3. INT3 is all else at the gate.
fn prepare(pair: &mut Pair, cr3: u64, user: bool, end: u64, index: u64) {
    let client = &mut pair.client;
    client.memory.fill(GATE_PAGE, PAGE, code::INT3);
    client.memory.write(GATE_PAGE + end - 3, &code::VMFUNC);
    let regs = kvm_regs {
        rip: GATE + end - 3,
        rcx: index,
        r11: cr3,
        r12: GATE + end - 3,
        ..call_regs(CALL)
    };
    if user {
        client.vcpu.enter_user(regs);
        client.vcpu.begin_at(code::guest_cr3_iretq());
    } else {
        client.vcpu.enter_kernel(kvm_regs {
            rip: code::guest_cr3_jump(),
            ..regs
        });
    }
}

/// The VM has memory there, with a copy of the bound process's page table: in the default view CR3 is as good as that
/// process's, in the others it names what the host has there.
fn cr3_at_pages_of_the_views() {
    // The VM's, so dropped after it.
    let pages: Vec<_> = pages_of_the_views()
        .map(|gpa| (gpa, Memory::new(PAGE)))
        .collect();
    let mut pair = Pair::ready(code::guest_counter());
    let root = pair.client.memory.read(PML4, PAGE);
    for (slot, (gpa, memory)) in (1..).zip(&pages) {
        memory.write(0, &root);
        pair.client.add_memory(slot, *gpa, memory);
    }
    let mut wrong = Vec::new();
    for (cr3, _) in &pages {
        assert_works(&mut pair);
        for (user, end, index) in attempts() {
            prepare(&mut pair, *cr3, user, end, index);
            let stop = pair.client.vcpu.run();
            let case = format!("CR3 {cr3:#x}, user {user}, {end:#x}, index {index}: {stop:x?}");
            assert_eq!(pair.client.vcpu.sregs().cr3, *cr3, "{case}");
            if counter(&pair) != 0 {
                wrong.push(case);
                pair.server.memory.set(SERVER_DATA_PAGES, 0);
            } else if index == 0 {
                assert_eq!(
                    (stop.is(3), stop.regs.rip),
                    (true, GATE + end + 1),
                    "{case}"
                );
            }
            pair.client.vcpu.set_cr3(PML4);
        }
        assert_works(&mut pair);
    }
    assert!(wrong.is_empty(), "they led to the server: {wrong:#?}");
}

fn attempts() -> impl Iterator<Item = (bool, u64, u64)> {
    [true, false].into_iter().flat_map(|user| {
        ENDS.into_iter()
            .flat_map(move |end| INDICES.map(|index| (user, end, index)))
    })
}

/// Nothing is there in the default view: not even exceptions have handlers, so the VM can do nothing more, alone.
fn cr3_at_pages_of_the_views_without_memory() {
    let mut pair = Pair::ready(code::guest_counter());
    let (mut client, mut server) = (Guest::new(), Guest::new());
    let device = Device::open().expect("/dev/wormhole opens");
    let pairing = device.pair(&client, &server, "other").expect("PAIR");
    open(&mut server, code::guest_counter());
    bind(&mut client);
    let mut other = Pair {
        client,
        server,
        pairing,
    };
    for (number, cr3) in (1..).zip(pages_of_the_views()) {
        for user in [true, false] {
            assert_works(&mut pair);
            prepare(&mut pair, cr3, user, ENDS[0], 1);
            let end = pair.client.vcpu.run_to_any_end(Duration::from_millis(20));
            assert_eq!(counter(&pair), 0, "CR3 {cr3:#x}, user {user}: {end}");
            pair.client.vcpu.set_cr3(PML4);
        }
        assert_eq!(other.result(CALL), number);
    }
}
