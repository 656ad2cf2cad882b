// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two client VMs of one server VM: they have nothing in common but that.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::device::Device;
use crate::events::{end_the_loop, wait_until_it_loops};
use crate::guest_code as code;
use crate::hypercalls::mapping;
use crate::layout::*;
use crate::pair::{bind, call_regs, map, open_with, refused, result_of, READ, SESSION, WRITE};
use crate::reset::{firmware, reset};
use crate::teardown::{assert_over, LOOP};
use crate::vm::{Guest, Stop};

crate::tests! {
    each_client_calls_its_own_session
    a_vm_names_its_own_pairings_alone
    one_client_goes_during_the_call_of_another
    the_end_of_a_call_leaves_the_other_client
    a_page_of_two_sessions_leaves_one
    the_server_resets
}

const KEYS: [u32; 2] = [0x1234_5678, 0];
const FOREIGN: u32 = 0x1234_5679;
/// Where the sessions' data is, in the server VM.
const DATA: [u64; 2] = [SERVER_DATA_PAGES, SPARE];

/// A page of both.
const SHARED: u64 = 0x5_7000;

/// Each client's session has the same number, and its data at the same address.
struct Tenants {
    clients: [Guest; 2],
    server: Guest,
    pairings: [Option<OwnedFd>; 2],
}

impl Tenants {
    fn paired() -> Self {
        let device = Device::open().expect("/dev/wormhole opens");
        let server = Guest::new();
        let clients = KEYS.map(|key| {
            let mut client = Guest::new();
            client.key = key;
            client
        });
        let pairings = [0, 1].map(|at: usize| {
            let pairing = device.pair_by(KEYS[at], &clients[at], &server, "tenants");
            Some(pairing.expect("PAIR"))
        });
        Self {
            clients,
            server,
            pairings,
        }
    }

    /// Ready for calls of these functions.
    fn ready(functions: [u64; 2]) -> Self {
        let mut tenants = Self::paired();
        for (at, function) in functions.into_iter().enumerate() {
            tenants.server.key = KEYS[at];
            open_with(&mut tenants.server, function, at as u64, DATA[at]);
            bind(&mut tenants.clients[at]);
        }
        tenants
    }

    /// A hypercall of the server, to that pairing.
    fn server(&mut self, at: usize, number: u32, arguments: [u64; 3]) -> i64 {
        self.server.key = KEYS[at];
        self.server.hypercall(number, arguments)
    }

    fn count(&mut self, at: usize) -> u64 {
        result_of(call(&mut self.clients[at], [SERVER_DATA, 0, 0, 0, 0, 0]))
    }
}

fn call(client: &mut Guest, arguments: [u64; 6]) -> Stop {
    client.vcpu.enter_user(call_regs(arguments));
    client.vcpu.run()
}

fn each_client_calls_its_own_session() {
    let mut tenants = Tenants::ready([code::guest_counter(); 2]);
    for (at, counted) in [(0, 1), (0, 2), (1, 1), (0, 3), (1, 2)] {
        assert_eq!(tenants.count(at), counted, "client {at}");
    }
    assert_eq!(DATA.map(|data| tenants.server.memory.get(data)), [3, 2]);
    // What one session has ended with, the other has not.
    assert_eq!(
        tenants.server(1, uapi::WORMHOLE_HC_CLOSE, [SESSION, 0, 0]),
        0
    );
    let stop = call(&mut tenants.clients[1], [SERVER_DATA, 0, 0, 0, 0, 0]);
    assert_eq!(
        stop.expect(AT_PAD).regs.rax,
        u64::from(uapi::WORMHOLE_PAD_ERROR)
    );
    assert_eq!(tenants.count(0), 4);
}

fn a_vm_names_its_own_pairings_alone() {
    let mut tenants = Tenants::ready([code::guest_counter(); 2]);
    let version = i64::from(uapi::WORMHOLE_HYPERCALL_VERSION);
    for at in 0..2 {
        assert_eq!(tenants.server(at, uapi::WORMHOLE_HC_INFO, [0; 3]), version);
        let client = &mut tenants.clients[at];
        assert_eq!(client.hypercall(uapi::WORMHOLE_HC_INFO, [0; 3]), version);
        for key in [KEYS[1 - at], FOREIGN] {
            client.key = key;
            for number in [
                uapi::WORMHOLE_HC_INFO,
                uapi::WORMHOLE_HC_BIND,
                uapi::WORMHOLE_HC_UNBIND,
            ] {
                let got = client.hypercall(number, [SESSION, PML4, 0]);
                assert_eq!(got, refused(Errno::OPNOTSUPP), "{number} {key:#x}");
            }
        }
    }
    tenants.server.key = FOREIGN;
    for number in uapi::WORMHOLE_HC_INFO..=uapi::WORMHOLE_HC_RETURN {
        let got = tenants.server.hypercall(number, [SESSION, 0, 0]);
        assert_eq!(got, refused(Errno::OPNOTSUPP), "{number}");
    }
    // None of it has changed anything.
    assert_eq!([0, 1].map(|at| tenants.count(at)), [1, 1]);
}

/// The loop goes on while all of another client's ends, and that of the client that loops leaves the other alone.
fn one_client_goes_during_the_call_of_another() {
    let mut tenants = Tenants::ready([code::guest_loop_until(), code::guest_counter()]);
    assert_eq!(tenants.count(1), 1);
    let Tenants {
        clients: [mut first, second],
        server,
        pairings: [_first_pairing, second_pairing],
    } = tenants;
    first.vcpu.enter_user(call_regs(LOOP));
    let stop = thread::scope(|scope| {
        let memory = &server.memory;
        scope.spawn(move || {
            wait_until_it_loops(memory);
            drop(second_pairing);
            drop(second);
            wait_until_it_loops(memory);
            end_the_loop(memory);
        });
        first.vcpu.run()
    });
    assert_eq!(result_of(stop), 107);
    assert_eq!(server.memory.get(DATA[1]), 1);
}

fn the_end_of_a_call_leaves_the_other_client() {
    let mut tenants = Tenants::ready([code::guest_loop_until(), code::guest_counter()]);
    let Tenants {
        clients: [first, second],
        server,
        pairings: [first_pairing, _],
    } = &mut tenants;
    first.vcpu.enter_user(call_regs(LOOP));
    thread::scope(|scope| {
        let looping = scope.spawn(|| first.vcpu.run());
        wait_until_it_loops(&server.memory);
        let mut count = |numbers: Range<u64>| {
            for counted in numbers {
                let stop = call(second, [SERVER_DATA, 0, 0, 0, 0, 0]);
                assert_eq!(result_of(stop), counted);
            }
        };
        count(1..50);
        scope.spawn(|| drop(first_pairing.take()));
        count(50..100);
        assert_over(looping.join().expect("the first client's thread"));
    });
    assert_eq!(tenants.count(1), 100);
}

/// The same page of the server's memory in both sessions.
fn a_page_of_two_sessions_leaves_one() {
    let mut tenants = Tenants::ready([code::guest_counter(); 2]);
    let address = SERVER_DATA + PAGE;
    for at in 0..2 {
        assert_eq!(
            tenants.server(at, uapi::WORMHOLE_HC_UNMAP, [SESSION, address, 1]),
            0
        );
        let page = [mapping(address | READ | WRITE, SHARED)];
        assert_eq!(map(&mut tenants.server, &page), 1);
    }
    let arguments = [address, 0, 0, 0, 0, 0];
    for (at, counted) in [(0, 1), (1, 2)] {
        assert_eq!(
            result_of(call(&mut tenants.clients[at], arguments)),
            counted
        );
    }
    assert_eq!(
        tenants.server(0, uapi::WORMHOLE_HC_UNMAP, [SESSION, address, 1]),
        0
    );
    let stop = call(&mut tenants.clients[0], arguments).expect(AT_PAD);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_HOPPED));
    assert_eq!(result_of(call(&mut tenants.clients[1], arguments)), 3);
}

/// The server's reset ends the sessions of all its clients.
fn the_server_resets() {
    let mut tenants = Tenants::ready([code::guest_counter(); 2]);
    assert_eq!([0, 1].map(|at| tenants.count(at)), [1, 1]);
    let _firmware = firmware(&tenants.server);
    reset(&mut tenants.server.vcpu);
    for client in &mut tenants.clients {
        let stop = call(client, [SERVER_DATA, 0, 0, 0, 0, 0]).expect(AT_PAD);
        assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_ERROR));
    }
    assert_eq!(DATA.map(|data| tenants.server.memory.get(data)), [1, 1]);
}
