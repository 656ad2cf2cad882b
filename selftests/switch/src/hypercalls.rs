// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the hypercalls take and refuse.

use rustix::io::Errno;
use wormhole_uapi as uapi;
use wormhole_uapi::wormhole_mapping;

use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{carrier_page, refused, Pair, CARRIER, EXECUTE, READ, SESSION, WRITE};
use crate::vm::Guest;

crate::tests! {
    info
    info_without_a_pairing
    hypercall_from_user_mode
    unknown_hypercall
    hypercall_of_the_other_role
    open_refuses
    close
    map_refuses
    map_returns_how_many
    map_refuses_vmfunc
    unmap
    carrier_refuses
    return_refuses
    retire_refuses
    bind_refuses
    bind_after_a_refused_one
    resume_refuses
}

const TOO_LARGE: u64 = uapi::WORMHOLE_MAX_SESSIONS as u64;
/// Not memory of the VM.
const NOWHERE: u64 = 1 << 36;

pub fn mapping(address: u64, gpa: u64) -> wormhole_mapping {
    wormhole_mapping { address, gpa }
}

/// A pairing with the session opened, and nothing else.
fn opened() -> Pair {
    let mut pair = Pair::paired();
    let opened = pair
        .server
        .hypercall(uapi::WORMHOLE_HC_OPEN, [SESSION, code::guest_counter(), 0]);
    assert_eq!(opened, 0, "OPEN");
    pair
}

fn info() {
    let mut pair = Pair::paired();
    let version = i64::from(uapi::WORMHOLE_HYPERCALL_VERSION);
    for guest in [&mut pair.client, &mut pair.server] {
        assert_eq!(guest.hypercall(uapi::WORMHOLE_HC_INFO, [0; 3]), version);
    }
}

fn info_without_a_pairing() {
    const KVM_ENOSYS: i64 = 1000;
    let mut guest = Guest::new();
    assert_eq!(guest.hypercall(uapi::WORMHOLE_HC_INFO, [0; 3]), -KVM_ENOSYS);
    let mut pair = Pair::paired();
    assert!(pair.client.hypercall(uapi::WORMHOLE_HC_INFO, [0; 3]) > 0);
    // The pairing's end takes it away again.
    let Pair {
        mut client,
        server,
        pairing,
    } = pair;
    drop(pairing);
    assert_eq!(
        client.hypercall(uapi::WORMHOLE_HC_INFO, [0; 3]),
        -KVM_ENOSYS
    );
    drop(client);
    drop(server);
}

fn hypercall_from_user_mode() {
    let mut pair = opened();
    for (guest, number) in [
        (&mut pair.server, uapi::WORMHOLE_HC_INFO),
        (&mut pair.client, uapi::WORMHOLE_HC_INFO),
    ] {
        let stop = guest.user_hypercall(number, [0; 3]).expect(AFTER_HYPERCALL);
        assert_eq!(stop.regs.rax as i64, refused(Errno::PERM));
    }
    for number in uapi::WORMHOLE_HC_OPEN..=uapi::WORMHOLE_HC_RETURN {
        let stop = pair
            .server
            .user_hypercall(number, [SESSION, 0, 0])
            .expect(AFTER_HYPERCALL);
        assert_eq!(stop.regs.rax as i64, refused(Errno::PERM), "{number}");
    }
    for number in [uapi::WORMHOLE_HC_BIND, uapi::WORMHOLE_HC_UNBIND] {
        let stop = pair
            .client
            .user_hypercall(number, [SESSION, PML4, 0])
            .expect(AFTER_HYPERCALL);
        assert_eq!(stop.regs.rax as i64, refused(Errno::PERM), "{number}");
    }
}

fn unknown_hypercall() {
    let mut pair = Pair::paired();
    for guest in [&mut pair.client, &mut pair.server] {
        for number in [8, 15, 19, 0xffff] {
            assert_eq!(
                guest.hypercall(number, [0; 3]),
                refused(Errno::INVAL),
                "{number}"
            );
        }
    }
}

fn hypercall_of_the_other_role() {
    let mut pair = opened();
    for number in uapi::WORMHOLE_HC_OPEN..=uapi::WORMHOLE_HC_RETURN {
        let got = pair.client.hypercall(number, [SESSION + 1, 0, 0]);
        assert_eq!(got, refused(Errno::OPNOTSUPP), "{number}");
    }
    for number in [uapi::WORMHOLE_HC_BIND, uapi::WORMHOLE_HC_UNBIND] {
        let got = pair.server.hypercall(number, [SESSION, PML4, 0]);
        assert_eq!(got, refused(Errno::OPNOTSUPP), "{number}");
    }
}

fn open_refuses() {
    let mut pair = opened();
    let entry = code::guest_counter();
    let mut open = |session, entry| {
        pair.server
            .hypercall(uapi::WORMHOLE_HC_OPEN, [session, entry, 0])
    };
    assert_eq!(open(SESSION, entry), refused(Errno::EXIST));
    assert_eq!(open(TOO_LARGE, entry), refused(Errno::INVAL));
    assert_eq!(open(u64::MAX, entry), refused(Errno::INVAL));
    // not an address of a process
    for bad in [KERNEL_BASE, 1 << 47, u64::MAX] {
        assert_eq!(open(SESSION + 1, bad), refused(Errno::INVAL), "{bad:#x}");
    }
    assert_eq!(open(TOO_LARGE - 1, entry), 0);
    assert_eq!(open(0, entry), 0);
}

fn close() {
    let mut pair = opened();
    let mut close = |session| {
        pair.server
            .hypercall(uapi::WORMHOLE_HC_CLOSE, [session, 0, 0])
    };
    assert_eq!(close(SESSION + 1), refused(Errno::NOENT));
    assert_eq!(close(TOO_LARGE), refused(Errno::INVAL));
    assert_eq!(close(SESSION), 0);
    assert_eq!(close(SESSION), refused(Errno::NOENT));
    pair.open(code::guest_counter());
    pair.bind();
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
}

fn map_refuses() {
    let mut pair = opened();
    let cases = [
        // rights
        (SERVER_DATA | WRITE | EXECUTE, SPARE, Errno::INVAL),
        (SERVER_DATA | READ | WRITE | EXECUTE, SPARE, Errno::INVAL),
        (SERVER_DATA, SPARE, Errno::INVAL),
        (SERVER_DATA | READ | (1 << 3), SPARE, Errno::INVAL),
        // addresses
        (KERNEL_BASE | READ, SPARE, Errno::INVAL),
        ((1 << 47) | READ, SPARE, Errno::INVAL),
        (GATE | READ, SPARE, Errno::INVAL),
        (uapi::WORMHOLE_GATE_REGION | READ, SPARE, Errno::INVAL),
        (SERVER_DATA | READ, SPARE + 8, Errno::INVAL),
        (SERVER_DATA | READ, NOWHERE, Errno::FAULT),
        (SERVER_DATA | READ, MEMORY_SIZE, Errno::FAULT),
        (SERVER_DATA | READ, !0xfff, Errno::FAULT),
    ];
    for (address, gpa, error) in cases {
        assert_eq!(
            pair.map(&[mapping(address, gpa)]),
            refused(error),
            "{address:#x} {gpa:#x}"
        );
    }
    // the list
    assert_eq!(pair.map(&[mapping(SERVER_READ_ONLY | READ, SPARE)]), 1);
    let mut map = |session, list, count| {
        pair.server
            .hypercall(uapi::WORMHOLE_HC_MAP, [session, list, count])
    };
    assert_eq!(map(SESSION + 1, MAPPINGS, 1), refused(Errno::NOENT));
    assert_eq!(map(TOO_LARGE, MAPPINGS, 1), refused(Errno::INVAL));
    assert_eq!(map(SESSION, NOWHERE, 1), refused(Errno::FAULT));
    assert_eq!(map(SESSION, MAPPINGS, 257), refused(Errno::INVAL));
    assert_eq!(map(SESSION, MAPPINGS + 0xff8, 1), refused(Errno::INVAL));
    assert_eq!(map(SESSION, MAPPINGS, u64::MAX), refused(Errno::INVAL));
    // twice
    let good = [mapping(SERVER_DATA | READ, SPARE)];
    assert_eq!(pair.map(&good), 1);
    assert_eq!(pair.map(&good), refused(Errno::EXIST));
}

fn map_returns_how_many() {
    let mut pair = opened();
    let list = [
        mapping(SERVER_DATA | READ, SPARE),
        mapping((SERVER_DATA + PAGE) | READ | WRITE, SPARE + PAGE),
        mapping((SERVER_DATA + 2 * PAGE) | READ, NOWHERE),
        mapping((SERVER_DATA + 3 * PAGE) | READ, SPARE),
    ];
    assert_eq!(pair.map(&list), 2);
    assert_eq!(pair.map(&list[2..]), refused(Errno::FAULT));
    assert_eq!(pair.map(&list[3..]), 1);
}

/// VMFUNC's bytes in executable pages, at every kind of place.
fn map_refuses_vmfunc() {
    let mut pair = opened();
    let code = SERVER_CODE | READ | EXECUTE;
    let memory = |pair: &Pair, at: u64, bytes: &[u8]| {
        pair.server.memory.fill(SPARE, 2 * PAGE, 0x90);
        pair.server.memory.write(SPARE + at, bytes);
    };
    for at in [0, 1, 7, 0x7fe, PAGE - 3] {
        memory(&pair, at, &code::VMFUNC);
        assert_eq!(
            pair.map(&[mapping(code, SPARE)]),
            refused(Errno::PERM),
            "{at:#x}"
        );
    }
    // as data it is data
    assert_eq!(pair.map(&[mapping(SERVER_DATA | READ, SPARE)]), 1);
    // across the boundary of two pages, whichever comes second
    for at in [PAGE - 2, PAGE - 1] {
        memory(&pair, at, &code::VMFUNC);
        let pages = [mapping(code, SPARE), mapping(code + PAGE, SPARE + PAGE)];
        for (first, second) in [(0, 1), (1, 0)] {
            assert_eq!(pair.map(&[pages[first]]), 1, "{at:#x}");
            assert_eq!(
                pair.map(&[pages[second]]),
                refused(Errno::PERM),
                "{at:#x} {second}"
            );
            let unmapped = pair.server.hypercall(
                uapi::WORMHOLE_HC_UNMAP,
                [SESSION, pages[first].address & !0xfff, 1],
            );
            assert!(unmapped >= 0, "UNMAP: {unmapped}");
        }
    }
    // not quite VMFUNC
    memory(&pair, 0, &[0x0f, 0x01, 0xd5, 0x0f, 0x01]);
    assert_eq!(pair.map(&[mapping(code, SPARE)]), 1);
}

fn unmap() {
    let mut pair = Pair::ready(code::guest_counter());
    let arguments = [SERVER_DATA + PAGE, 0, 0, 0, 0, 0];
    assert_eq!(pair.result(arguments), 1);
    let mut unmap = |session, address, count| {
        pair.server
            .hypercall(uapi::WORMHOLE_HC_UNMAP, [session, address, count])
    };
    assert_eq!(unmap(SESSION + 1, SERVER_DATA, 1), refused(Errno::NOENT));
    assert_eq!(unmap(TOO_LARGE, SERVER_DATA, 1), refused(Errno::INVAL));
    assert!(unmap(SESSION, SERVER_DATA + PAGE, 1) >= 0);
    // The call finds it gone, and hops home.
    let stop = pair.call(arguments).expect(AT_PAD);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_HOPPED));
    assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES + PAGE), 1);
    assert_eq!(pair.finish(CARRIER, 0), 0);
    // It can come back, elsewhere.
    let again = mapping((SERVER_DATA + PAGE) | READ | WRITE, SPARE);
    assert_eq!(pair.map(&[again]), 1);
    let stop = pair
        .client
        .user_hypercall(uapi::WORMHOLE_HC_RESUME, [stop.regs.rdi, 0, 0]);
    assert_eq!(
        stop.expect(AT_PAD).regs.rax,
        u64::from(uapi::WORMHOLE_PAD_RESULT)
    );
    assert_eq!(pair.result(arguments), 1);
    assert_eq!(pair.server.memory.get(SPARE), 1);
}

fn carrier_refuses() {
    let mut pair = opened();
    pair.server.memory.fill(SPARE, PAGE, 0);
    let stack = SERVER_STACK + PAGE;
    pair.server.memory.set(SPARE + 8, stack);
    let mut carrier = |session, number, gpa| {
        pair.server
            .hypercall(uapi::WORMHOLE_HC_CARRIER, [session, number, gpa])
    };
    assert_eq!(carrier(SESSION + 1, 0, SPARE), refused(Errno::NOENT));
    assert_eq!(carrier(TOO_LARGE, 0, SPARE), refused(Errno::INVAL));
    assert_eq!(
        carrier(SESSION, uapi::WORMHOLE_MAX_CARRIERS.into(), SPARE),
        refused(Errno::INVAL)
    );
    assert_eq!(carrier(SESSION, 0, SPARE + 8), refused(Errno::INVAL));
    assert_eq!(carrier(SESSION, 0, NOWHERE), refused(Errno::FAULT));
    assert_eq!(carrier(SESSION, 0, SPARE), 0);
    assert_eq!(carrier(SESSION, 0, SPARE), refused(Errno::EXIST));
    // stacks and FS bases that cannot be
    for (stack, fs_base) in [
        (stack + 8, 0),
        (1 << 63, 0),
        (KERNEL_BASE, 0),
        (stack, 1 << 63),
    ] {
        pair.server.memory.set(SPARE + 8, stack);
        pair.server.memory.set(SPARE + 16, fs_base);
        let got = pair
            .server
            .hypercall(uapi::WORMHOLE_HC_CARRIER, [SESSION, 1, SPARE]);
        assert_eq!(got, refused(Errno::INVAL), "{stack:#x} {fs_base:#x}");
    }
}

fn return_refuses() {
    let mut pair = Pair::ready(code::guest_counter());
    let mut finish = |session, carrier| {
        pair.server
            .hypercall(uapi::WORMHOLE_HC_RETURN, [session, carrier, 0])
    };
    assert_eq!(finish(SESSION + 1, CARRIER), refused(Errno::NOENT));
    assert_eq!(finish(TOO_LARGE, CARRIER), refused(Errno::INVAL));
    assert_eq!(finish(SESSION, CARRIER + 1), refused(Errno::NOENT));
    assert!(finish(SESSION, 1 << 32) < 0);
    // no call of it has hopped home
    assert!(finish(SESSION, CARRIER) < 0);
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
    assert!(pair.finish(CARRIER, 7) < 0);
    assert_eq!(pair.carrier(CARRIER).state, uapi::WORMHOLE_CARRIER_PARKED);
    assert_eq!(pair.server.memory.get(carrier_page(CARRIER) + 24), 0);
}

fn retire_refuses() {
    let mut pair = Pair::ready(code::guest_counter());
    let mut retire = |session, carrier| {
        pair.server
            .hypercall(uapi::WORMHOLE_HC_RETIRE, [session, carrier, 0])
    };
    assert_eq!(retire(SESSION + 1, CARRIER), refused(Errno::NOENT));
    assert_eq!(retire(TOO_LARGE, CARRIER), refused(Errno::INVAL));
    assert_eq!(retire(SESSION, CARRIER + 1), refused(Errno::NOENT));
    assert!(retire(SESSION, 1 << 32) < 0);
    // It is there, and may be wanted.
    assert_eq!(retire(SESSION, CARRIER), refused(Errno::BUSY));
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
}

fn bind_refuses() {
    let mut pair = opened();
    let mut client = |number, session, cr3| pair.client.hypercall(number, [session, cr3, 0]);
    let (bind, unbind) = (uapi::WORMHOLE_HC_BIND, uapi::WORMHOLE_HC_UNBIND);
    assert_eq!(client(bind, SESSION + 1, PML4), refused(Errno::NOENT));
    assert_eq!(client(bind, TOO_LARGE, PML4), refused(Errno::INVAL));
    // not where page tables can be
    for (cr3, error) in [
        (PML4 + 8, Errno::INVAL),
        (u64::MAX, Errno::INVAL),
        (1 << 40, Errno::FAULT),
    ] {
        assert_eq!(client(bind, SESSION, cr3), refused(error), "{cr3:#x}");
    }
    assert_eq!(client(unbind, SESSION, 0), refused(Errno::NOENT));
    assert_eq!(client(unbind, TOO_LARGE, 0), refused(Errno::INVAL));
    assert_eq!(client(bind, SESSION, PML4), 0);
    assert_eq!(client(bind, SESSION, PML4), refused(Errno::EXIST));
    assert_eq!(client(unbind, SESSION, 0), 0);
    assert_eq!(client(unbind, SESSION, 0), refused(Errno::NOENT));
    assert_eq!(client(bind, SESSION, PML4), 0);
}

/// The first BIND makes what all calls need: one that is refused must not leave it half made.
fn bind_after_a_refused_one() {
    let mut pair = Pair::paired();
    pair.open(code::guest_counter());
    let refused_bind = pair
        .client
        .hypercall(uapi::WORMHOLE_HC_BIND, [SESSION, 1 << 40, 0]);
    assert_eq!(refused_bind, refused(Errno::FAULT));
    pair.bind();
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
}

fn resume_refuses() {
    let mut pair = Pair::ready(code::guest_counter());
    for token in [0, 1, 0x1234, u64::MAX] {
        let stop = pair
            .client
            .user_hypercall(uapi::WORMHOLE_HC_RESUME, [token, 0, 0])
            .expect(AFTER_HYPERCALL);
        assert_eq!(stop.regs.rax as i64, refused(Errno::NOENT), "{token:#x}");
    }
    assert_eq!(pair.result([SERVER_DATA, 0, 0, 0, 0, 0]), 1);
}
