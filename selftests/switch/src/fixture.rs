// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the other tests rest on: the guests and their code, with nothing of Wormhole.

use std::thread;
use std::time::Duration;

use kvm_bindings::kvm_regs;

use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{call_regs, map_gate, write_gate};
use crate::registers::{assert_clean, full};
use crate::vm::{signal, Guest};

crate::tests! {
    guest_code_runs
    guest_interrupts
    guest_gate_page
    server_functions_run
    server_function_stores_registers
}

fn guest_code_runs() {
    let mut guest = Guest::new();
    assert_ne!(guest.vcpu.features() & 3, 0);
    for _ in 0..2 {
        guest.vcpu.enter_user(kvm_regs {
            rip: code::guest_home(),
            rsp: FRAME,
            rdi: 4711,
            ..Default::default()
        });
        let stop = guest.vcpu.run().expect(AT_HOME);
        assert_eq!((stop.regs.rsp, stop.regs.rdi), (FRAME, 4711));
        assert_eq!(stop.cs, u64::from(USER_CS));
    }
    // an INT3 at the gate, CPL 3 and 0
    map_gate(&mut guest);
    let regs = kvm_regs {
        rip: ENTER,
        rsp: FRAME,
        ..Default::default()
    };
    guest.vcpu.enter_user(regs);
    assert_eq!(guest.vcpu.run().expect(3).regs.rip, ENTER + 1);
    guest.vcpu.enter_kernel(regs);
    assert_eq!(guest.vcpu.run().expect(3).regs.rip, ENTER + 1);
    // an exception with an error code
    guest.vcpu.enter_user(kvm_regs {
        rip: SERVER_CODE,
        rsp: FRAME,
        ..Default::default()
    });
    let stop = guest.vcpu.run().expect(14);
    assert_eq!((stop.regs.rip, stop.error_code & 4), (SERVER_CODE, 4));
    assert_eq!(guest.vcpu.sregs().cr2, SERVER_CODE);
}

/// Interrupts, an NMI, the timer and signals, while the guest spins.
fn guest_interrupts() {
    let mut guest = Guest::new();
    guest.vcpu.enter_user(kvm_regs {
        rip: code::guest_spin(),
        rsp: FRAME,
        ..Default::default()
    });
    assert!(guest.vcpu.run_until(Duration::from_millis(20)).is_none());
    for (data, vector) in [
        (0x400, 2),
        (u32::from(DEVICE), DEVICE),
        (u32::from(DEVICE), DEVICE),
    ] {
        let count = guest.memory.get(FRAME);
        let stop = thread::scope(|scope| {
            let vm = &guest.vm;
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(10));
                signal(vm, data);
            });
            guest.vcpu.run()
        });
        let stop = stop.expect(vector);
        assert_eq!((stop.cs, stop.regs.rsp), (USER_CS.into(), FRAME));
        assert_ne!(guest.memory.get(FRAME), count);
    }
    guest.vcpu.set_timer(2_000_000);
    for _ in 0..3 {
        guest.vcpu.run().expect(TIMER);
    }
    guest.vcpu.set_timer(0);
    let mut stop = guest.vcpu.run_until(Duration::from_millis(20));
    if stop.is_some() {
        stop = guest.vcpu.run_until(Duration::from_millis(20));
    }
    assert!(stop.is_none(), "{stop:x?}");
}

/// The client's stubs: HOME and PAD go where they should, without a register changed.
fn guest_gate_page() {
    let mut guest = Guest::new();
    map_gate(&mut guest);
    write_gate(&guest.memory, code::guest_home(), code::guest_pad());
    for (rip, vector) in [(HOME, AT_HOME), (PAD, AT_PAD)] {
        guest.memory.fill(FRAME, 0x100, 0);
        guest.vcpu.enter_user(kvm_regs {
            rip,
            rax: 4,
            rdi: 4711,
            ..call_regs([1, 2, 3, 4, 5, 6])
        });
        let stop = guest.vcpu.run().expect(vector);
        assert_eq!((stop.regs.rax, stop.regs.rdi), (4, 4711));
        assert_eq!((stop.regs.rsi, stop.regs.r9), (2, 6));
        let pads = u64::from(vector == AT_PAD);
        assert_eq!(guest.memory.get(FRAME + FRAME_PADS + 4 * 8), pads);
    }
    // ENTER does nothing but VMFUNC
    guest.vcpu.enter_user(call_regs([0; 6]));
    let stop = guest.vcpu.run().expect(6);
    assert_eq!((stop.regs.rip, stop.regs.rcx), (ENTER + 7, 1));
}

/// A VM with what the server registers in its own page tables too.
fn server() -> Guest {
    let mut guest = Guest::new();
    guest.memory.write(SERVER_CODE_PAGE, code::server());
    let areas = [
        (SERVER_CODE, SERVER_CODE_PAGE, 1),
        (SERVER_DATA, SERVER_DATA_PAGES, SERVER_DATA_COUNT),
        (SERVER_STACK, SERVER_STACK_PAGES, SERVER_STACK_COUNT),
    ];
    for (address, gpa, count) in areas {
        for page in (0..count).map(|page| page * PAGE) {
            guest.tables.map(&guest.memory, address + page, gpa + page);
        }
    }
    guest
}

/// Calls a server function in its own VM.
fn call(guest: &mut Guest, function: u64, [rdi, rsi, rdx, rcx, r8, r9]: [u64; 6]) -> kvm_regs {
    let top = SERVER_STACK_COUNT * PAGE - 8;
    guest
        .memory
        .set(SERVER_STACK_PAGES + top, code::guest_home());
    guest.vcpu.enter_user(kvm_regs {
        rip: function,
        rsp: SERVER_STACK + top,
        rdi,
        rsi,
        rdx,
        rcx,
        r8,
        r9,
        ..Default::default()
    });
    guest.vcpu.run().expect(AT_HOME).regs
}

fn server_functions_run() {
    let mut guest = server();
    let data = SERVER_DATA;
    for n in 1..3 {
        let regs = call(&mut guest, code::guest_counter(), [data, 100, 0, 0, 0, 0]);
        assert_eq!(regs.rax, n + 100);
        assert_eq!(guest.memory.get(SERVER_DATA_PAGES), n);
    }
    let regs = call(&mut guest, code::guest_digits(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(regs.rax, 123_456);
    guest.memory.set(SERVER_DATA_PAGES + 8, 40);
    let regs = call(&mut guest, code::guest_checksum(), [data, 2, 0, 0, 0, 0]);
    assert_eq!(regs.rax, 42);
    let regs = call(&mut guest, code::guest_read(), [data + 8, 0, 0, 0, 0, 0]);
    assert_eq!((regs.rax, regs.rbx), (40, code::KEPT + 3));
    call(&mut guest, code::guest_write(), [data, 7, 0, 0, 0, 0]);
    assert_eq!(guest.memory.get(SERVER_DATA_PAGES), 7);
    let arguments = [data, 100, 0, 0, 0, 0];
    let regs = call(&mut guest, code::guest_loop_until(), arguments);
    assert_eq!(regs.rax, 107);
}

fn server_function_stores_registers() {
    let mut guest = server();
    let features = guest.vcpu.features();
    guest
        .memory
        .write(SERVER_DATA_PAGES + code::LEFT_XSAVE, &full(features, 0x5e));
    guest.vcpu.set_xsave(&full(features, 0));
    guest.vcpu.set_bases(0x1000, 0x2000);
    let regs = call(
        &mut guest,
        code::guest_registers(),
        [SERVER_DATA, 1, 2, 3, 4, 5],
    );
    assert_eq!((regs.rax, regs.r15), (4711, code::KEPT + 15));
    let seen = |number: u64| guest.memory.get(SERVER_DATA_PAGES + number * 8);
    assert_eq!([seen(7), seen(6), seen(2), seen(1)], [SERVER_DATA, 1, 2, 3]);
    assert_eq!((seen(17), seen(18)), (0x1000, 0x2000));
    let area = guest
        .memory
        .read(SERVER_DATA_PAGES + code::SEEN_XSAVE, PAGE);
    assert_clean(&area, features);
    // the leavings, as user space sees them
    let left = guest.vcpu.xsave();
    assert!(left[160..416].iter().all(|byte| *byte == 0x5e), "XMM");
    let marked = features & (1 << 2) == 0 || left[576..832].iter().all(|byte| *byte == 0x5e);
    assert!(marked, "YMM");
}
