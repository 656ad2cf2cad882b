// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two VMs that are paired: the fixture of the tests.

use std::os::fd::OwnedFd;

use kvm_bindings::kvm_regs;
use rustix::io::Errno;
use wormhole_uapi as uapi;
use wormhole_uapi::{wormhole_carrier, wormhole_mapping};

use crate::device::Device;
use crate::guest_code as code;
use crate::layout::*;
use crate::memory::Memory;
use crate::observe::fdinfo;
use crate::vm::{Guest, Stop, Vcpu};

pub const SESSION: u64 = 3;
pub const CARRIER: u64 = 0;

pub const READ: u64 = uapi::WORMHOLE_MAP_READ as u64;
pub const WRITE: u64 = uapi::WORMHOLE_MAP_WRITE as u64;
pub const EXECUTE: u64 = uapi::WORMHOLE_MAP_EXECUTE as u64;

/// What a hypercall returns that is refused.
pub fn refused(error: Errno) -> i64 {
    -i64::from(error.raw_os_error())
}

/// The fields are dropped in this order.
pub struct Pair {
    pub client: Guest,
    pub server: Guest,
    pub pairing: OwnedFd,
}

impl Pair {
    /// Paired, and nothing set up.
    pub fn paired() -> Self {
        let (client, server) = (Guest::new(), Guest::new());
        let device = Device::open().expect("/dev/wormhole opens");
        let pairing = device.pair(&client, &server, "switch").expect("PAIR");
        Self {
            client,
            server,
            pairing,
        }
    }

    /// Ready for calls of `function`.
    pub fn ready(function: u64) -> Self {
        let mut pair = Self::paired();
        pair.open(function);
        pair.bind();
        pair
    }

    /// The server's part.
    pub fn open(&mut self, function: u64) {
        open(&mut self.server, function);
    }

    /// MAP.
    pub fn map(&mut self, mappings: &[wormhole_mapping]) -> i64 {
        map(&mut self.server, mappings)
    }

    /// Gives the session a carrier, each with a stack of one page.
    pub fn add_carrier(&mut self, number: u64) {
        add_carrier(&mut self.server, number);
    }

    /// The client's part.
    pub fn bind(&mut self) {
        bind(&mut self.client);
    }

    /// One call. Ends at HOME, or at PAD unless it was interrupted, in which case it is resumed.
    #[track_caller]
    pub fn call(&mut self, arguments: [u64; 6]) -> Stop {
        self.start(arguments);
        self.client.vcpu.run()
    }

    /// Puts the client at ENTER.
    pub fn start(&mut self, arguments: [u64; 6]) {
        let memory = &self.client.memory;
        memory.fill(FRAME, 0x100, 0);
        self.client.vcpu.enter_user(call_regs(arguments));
    }

    /// One call that comes home.
    #[track_caller]
    pub fn result(&mut self, arguments: [u64; 6]) -> u64 {
        result_of(self.call(arguments))
    }

    /// Puts the client at the start of `count` calls, with the sum of their results in FRAME_SUM at the end.
    pub fn start_many(&mut self, count: u64, arguments: [u64; 6]) {
        let memory = &self.client.memory;
        write_gate(memory, code::guest_calls_home(), code::guest_pad());
        start_calls(&mut self.client.vcpu, memory, FRAME, count, arguments);
    }

    /// How often the client was at PAD with this RAX since the start of the last call.
    pub fn pads(&self, reason: u32) -> u64 {
        self.client
            .memory
            .get(FRAME + FRAME_PADS + u64::from(reason) * 8)
    }

    /// A carrier's page as it is now.
    pub fn carrier(&self, number: u64) -> wormhole_carrier {
        let bytes = self.server.memory.read(carrier_page(number), PAGE);
        // SAFETY: It is a structure of integers, and not longer than a page.
        unsafe { bytes.as_ptr().cast::<wormhole_carrier>().read_unaligned() }
    }

    /// What the carrier's thread does when it has finished the call natively.
    pub fn finish(&mut self, number: u64, result: u64) -> i64 {
        let page = carrier_page(number);
        let cause = self.server.memory.get(page) & !0xffff_ffff;
        self.server
            .memory
            .set(page, cause | u64::from(uapi::WORMHOLE_CARRIER_PARKED));
        self.server
            .hypercall(uapi::WORMHOLE_HC_RETURN, [SESSION, number, result])
    }

    /// Exits of the client that no interrupt of the host caused, so far.
    pub fn client_exits(&self) -> u64 {
        let info = fdinfo(&self.pairing);
        let value = |key: &str| info[key].parse::<u64>().expect("a number");
        value("client-exits") - value("client-interrupt-exits")
    }
}

/// The part of the server, with one carrier.
pub fn open(server: &mut Guest, function: u64) {
    open_with(server, function, CARRIER, SERVER_DATA_PAGES);
}

/// The same, with this carrier, and the process's data there.
pub fn open_with(server: &mut Guest, function: u64, carrier: u64, data: u64) {
    assert_eq!(
        server.hypercall(uapi::WORMHOLE_HC_OPEN, [SESSION, function, 0]),
        0,
        "OPEN"
    );
    server.memory.write(SERVER_CODE_PAGE, code::server());
    let pages = |address: u64, gpa: u64, count: u64, rights: u64| {
        (0..count).map(move |page| wormhole_mapping {
            address: (address + page * PAGE) | rights,
            gpa: gpa + page * PAGE,
        })
    };
    let mappings: Vec<_> = pages(SERVER_CODE, SERVER_CODE_PAGE, 1, READ | EXECUTE)
        .chain(pages(SERVER_DATA, data, SERVER_DATA_COUNT, READ | WRITE))
        .chain(pages(
            SERVER_STACK,
            SERVER_STACK_PAGES,
            SERVER_STACK_COUNT,
            READ | WRITE,
        ))
        .chain(pages(SERVER_READ_ONLY, SERVER_READ_ONLY_PAGE, 1, READ))
        .collect();
    assert_eq!(map(server, &mappings), mappings.len() as i64, "MAP");
    add_carrier(server, carrier);
}

pub fn map(server: &mut Guest, mappings: &[wormhole_mapping]) -> i64 {
    for (at, mapping) in (MAPPINGS..).step_by(16).zip(mappings) {
        server.memory.set(at, mapping.address);
        server.memory.set(at + 8, mapping.gpa);
    }
    server.hypercall(
        uapi::WORMHOLE_HC_MAP,
        [SESSION, MAPPINGS, mappings.len() as u64],
    )
}

pub fn add_carrier(server: &mut Guest, number: u64) {
    assert!(number < SERVER_STACK_COUNT);
    let page = carrier_page(number);
    server.memory.fill(page, PAGE, 0);
    let stack = SERVER_STACK + (number + 1) * PAGE;
    server.memory.set(page + 8, stack);
    server.memory.set(page + 16, SERVER_DATA + 0x800);
    assert_eq!(
        server.hypercall(uapi::WORMHOLE_HC_CARRIER, [SESSION, number, page]),
        0,
        "CARRIER"
    );
}

/// The part of the client.
pub fn bind(client: &mut Guest) {
    map_gate(client);
    write_gate(&client.memory, code::guest_home(), code::guest_pad());
    let bound = client.hypercall(uapi::WORMHOLE_HC_BIND, [SESSION, PML4, 0]);
    assert_eq!(bound, 0, "BIND");
}

/// Puts a vCPU of the client at the start of `count` calls, with its variables at `frame`.
pub fn start_calls(vcpu: &mut Vcpu, memory: &Memory, frame: u64, count: u64, arguments: [u64; 6]) {
    memory.fill(frame, 0x100, 0);
    memory.set(frame + FRAME_LEFT, count);
    for (at, argument) in (frame + FRAME_ARGUMENTS..).step_by(8).zip(arguments) {
        memory.set(at, argument);
    }
    go_on_calling(vcpu, frame);
}

/// Makes the call at `frame` that has not been made again.
pub fn go_on_calling(vcpu: &mut Vcpu, frame: u64) {
    vcpu.enter_user(kvm_regs {
        rip: code::guest_calls(),
        rsp: frame,
        ..Default::default()
    });
}

pub fn carrier_page(number: u64) -> u64 {
    CARRIERS + number * PAGE
}

pub fn call_regs([rdi, rsi, rdx, r10, r8, r9]: [u64; 6]) -> kvm_regs {
    kvm_regs {
        rip: ENTER,
        rsp: FRAME,
        rdi,
        rsi,
        rdx,
        r10,
        r8,
        r9,
        ..Default::default()
    }
}

#[track_caller]
pub fn result_of(stop: Stop) -> u64 {
    let stop = stop.expect(AT_HOME);
    assert_eq!(stop.regs.rsp, FRAME, "RSP at HOME");
    stop.regs.rdi
}

/// Maps the client's gate page and the one before it.
pub fn map_gate(client: &mut Guest) {
    let memory = &client.memory;
    client.tables.map(memory, GATE - PAGE, BEFORE_GATE_PAGE);
    client.tables.map(memory, GATE, GATE_PAGE);
    memory.fill(BEFORE_GATE_PAGE, 2 * PAGE, code::INT3);
}

/// The client's gate page as the ABI has it, with what comes at HOME and PAD elsewhere.
pub fn write_gate(memory: &Memory, home: u64, pad: u64) {
    memory.fill(GATE_PAGE, PAGE, code::INT3);
    memory.write(
        GATE_PAGE + u64::from(uapi::WORMHOLE_GATE_ENTER),
        code::gate_enter(),
    );
    memory.write(
        GATE_PAGE + u64::from(uapi::WORMHOLE_GATE_HOME),
        &code::jump(home),
    );
    memory.write(
        GATE_PAGE + u64::from(uapi::WORMHOLE_GATE_PAD),
        &code::jump(pad),
    );
}
