// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hostile kernel of the client: control registers, descriptor tables, page tables and addresses that the gate
//! does not expect.

use kvm_bindings::kvm_regs;
use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{call_regs, refused, Pair, SESSION};
use crate::vm::{Access, Stop};

crate::tests! {
    null_calls
    calls_with_smep_and_smap
    enter_from_kernel_mode_without_protection
    single_step_into_the_gate
    lidt_into_the_lower_half
    lidt_between_calls
    lstar_in_the_lower_half
    mov_to_cr3_between_calls
    cr3_without_flush_of_another_page
    la57
    amx
    view_addresses_in_the_default_view
    bind_of_an_address_that_is_not_memory
}

const CALL: [u64; 6] = [SERVER_DATA, 0, 0, 0, 0, 0];

fn counter(pair: &Pair) -> u64 {
    pair.server.memory.get(SERVER_DATA_PAGES)
}

/// The call was refused because of the vCPU's state.
#[track_caller]
fn assert_unsupported(stop: Stop) {
    let stop = stop.expect(AT_PAD);
    let pad = (stop.regs.rax, stop.regs.rdi as i64);
    let error = u64::from(uapi::WORMHOLE_PAD_ERROR);
    assert_eq!(pad, (error, -refused(Errno::OPNOTSUPP)), "{stop:x?}");
}

/// There was no call.
#[track_caller]
fn assert_no_call(stop: Stop) {
    if !stop.is(6) && !stop.is(14) {
        let stop = stop.expect(AT_PAD);
        assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_ERROR));
    }
}

fn null_calls() {
    let mut pair = Pair::ready(code::guest_null());
    for value in [0, 4711, u64::MAX] {
        assert_eq!(pair.result([value, 0, 0, 0, 0, 0]), value);
    }
}

fn calls_with_smep_and_smap() {
    let mut pair = Pair::ready(code::guest_counter());
    let vcpu = &mut pair.client.vcpu;
    let wanted = [(7, 20), (20, 21)]; // CPUID.7.EBX, CR4
    let bits = wanted.iter().fold(0, |bits, (cpuid, cr4)| {
        bits | (u64::from(vcpu.cpuid_bit(7, 1, *cpuid)) << cr4)
    });
    if bits == 0 {
        return crate::skip("no SMEP, no SMAP");
    }
    vcpu.change_sregs(|sregs| sregs.cr4 |= bits);
    assert_eq!(pair.result(CALL), 1);
    pair.client.vcpu.change_sregs(|sregs| sregs.cr4 &= !bits);
    assert_eq!(pair.result(CALL), 2);
}

/// CR0.WP, SMEP and SMAP off.
fn enter_from_kernel_mode_without_protection() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result(CALL), 1);
    pair.client.vcpu.change_sregs(|sregs| {
        sregs.cr0 &= !(1 << 16);
        sregs.cr4 &= !(3 << 20);
    });
    for _ in 0..2 {
        pair.client.vcpu.enter_kernel(call_regs(CALL));
        let stop = pair.client.vcpu.run();
        assert!(!stop.is(AT_HOME), "{stop:x?}");
        assert_eq!(counter(&pair), 1);
    }
    // The process's calls work, and cannot write what is read-only.
    assert_eq!(pair.result(CALL), 2);
    let stop = pair.call([SERVER_READ_ONLY, 0, 0, 0, 0, 0]).expect(AT_PAD);
    assert_eq!(stop.regs.rax, u64::from(uapi::WORMHOLE_PAD_HOPPED));
    assert_eq!(pair.server.memory.get(SERVER_READ_ONLY_PAGE), 0);
}

/// The client's process sets TF and calls. What it sees of the way is the client's, and never the server's.
fn single_step_into_the_gate() {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result(CALL), 1);
    pair.start(CALL);
    pair.client.vcpu.set_user_flags(0x302);
    let mut steps = 0;
    let stop = loop {
        let stop = pair.client.vcpu.run();
        if !stop.is(1) {
            break stop;
        }
        assert_eq!(stop.cs, u64::from(USER_CS), "{stop:x?}");
        assert_eq!(stop.regs.rsp, FRAME, "{stop:x?}");
        let page = stop.regs.rip & !0xfff;
        assert!(page == GATE || page == USER_CODE, "{stop:x?}");
        let value = stop.regs.rbx | stop.regs.rbp | stop.regs.r12;
        assert_eq!(value, 0, "{stop:x?}");
        steps += 1;
        assert!(steps < 1000, "{stop:x?}");
    };
    assert_ne!(steps, 0);
    assert!(stop.is(AT_PAD) || stop.is(AT_HOME), "{stop:x?}");
    assert_eq!(stop.cs, u64::from(USER_CS));
    // What the call came to before it was stopped is not specified.
    if stop.is(AT_PAD) && stop.regs.rax == u64::from(uapi::WORMHOLE_PAD_HOPPED) {
        panic!("TF reached the server: {stop:x?}");
    }
    let before = counter(&pair);
    assert_eq!(pair.result(CALL), before + 1);
}

/// The guest's kernel does LIDT.
fn lidt(pair: &mut Pair, base: u64) {
    let memory = &pair.client.memory;
    let mut table = [0; 10];
    table[..2].copy_from_slice(&4095_u16.to_le_bytes());
    table[2..].copy_from_slice(&base.to_le_bytes());
    memory.write(SPARE, &table);
    pair.client.vcpu.enter_kernel(kvm_regs {
        rip: code::guest_kernel_lidt(),
        rdi: SPARE,
        ..Default::default()
    });
    pair.client.vcpu.run();
    assert_eq!(pair.client.vcpu.sregs().idt.base, base);
}

fn lidt_into_the_lower_half() {
    let mut pair = Pair::ready(code::guest_counter());
    for n in 1..=2 {
        lidt(&mut pair, IDT);
        for _ in 0..2 {
            let stop = pair.call(CALL);
            assert_unsupported(stop);
        }
        assert_eq!(counter(&pair), n - 1);
        // It overlaps the lower half, or wraps.
        lidt(&mut pair, KERNEL_BASE + IDT);
        assert_eq!(pair.result(CALL), n);
    }
}

/// To where it is already: calls go on.
fn lidt_between_calls() {
    let mut pair = Pair::ready(code::guest_counter());
    for n in 1..=10 {
        lidt(&mut pair, KERNEL_BASE + IDT);
        assert_eq!(pair.result(CALL), n);
    }
}

fn lstar_in_the_lower_half() {
    const MSR_LSTAR: u32 = 0xc000_0082;
    let mut pair = Pair::ready(code::guest_counter());
    for n in 1..=2 {
        for bad in [0, USER_CODE, GATE, SERVER_CODE] {
            pair.client.vcpu.set_msr(MSR_LSTAR, bad);
            let stop = pair.call(CALL);
            assert_unsupported(stop);
        }
        assert_eq!(counter(&pair), n - 1);
        pair.client.vcpu.set_msr(MSR_LSTAR, code::guest_syscall());
        assert_eq!(pair.result(CALL), n);
    }
}

/// The guest's kernel does MOV CR3.
fn mov_to_cr3(pair: &mut Pair, cr3: u64) {
    pair.client.vcpu.enter_kernel(kvm_regs {
        rip: code::guest_kernel_cr3(),
        rdi: cr3,
        ..Default::default()
    });
    let stop = pair.client.vcpu.run();
    assert_eq!(stop.event, crate::vm::Event::Hypercall, "{stop:x?}");
}

fn copy_tables(pair: &Pair) {
    for at in (0..PAGE).step_by(8) {
        let entry = pair.client.memory.get(PML4 + at);
        pair.client.memory.set(PML4_COPY + at, entry);
    }
}

fn mov_to_cr3_between_calls() {
    let mut pair = Pair::ready(code::guest_counter());
    copy_tables(&pair);
    for n in 1..=5 {
        assert_eq!(pair.result(CALL), n);
        mov_to_cr3(&mut pair, PML4_COPY);
        let stop = pair.call(CALL);
        assert_no_call(stop);
        assert_eq!(counter(&pair), n);
        mov_to_cr3(&mut pair, PML4);
    }
}

/// Tagged translations of the views must not serve another process.
fn cr3_without_flush_of_another_page() {
    const NO_FLUSH: u64 = 1 << 63;
    let mut pair = Pair::ready(code::guest_counter());
    if !pair.client.vcpu.cpuid_bit(1, 2, 17) {
        return crate::skip("no PCID");
    }
    copy_tables(&pair);
    pair.client.vcpu.change_sregs(|sregs| sregs.cr4 |= 1 << 17);
    for n in 1..=5 {
        assert_eq!(pair.result(CALL), n);
        // the same tag, and another
        for tag in [0, 1] {
            mov_to_cr3(&mut pair, PML4_COPY | tag | NO_FLUSH);
            for _ in 0..2 {
                let stop = pair.call(CALL);
                assert_no_call(stop);
            }
            assert_eq!(counter(&pair), n, "PCID {tag}");
        }
        mov_to_cr3(&mut pair, PML4 | NO_FLUSH);
    }
    // The bound process under another tag is the bound process.
    mov_to_cr3(&mut pair, PML4 | 7);
    assert_eq!(pair.result(CALL), 6);
}

fn la57() {
    let mut pair = Pair::ready(code::guest_counter());
    if !pair.client.vcpu.cpuid_bit(7, 2, 16) {
        return crate::skip("no 5-level paging");
    }
    let unbound = pair
        .client
        .hypercall(uapi::WORMHOLE_HC_UNBIND, [SESSION, 0, 0]);
    assert_eq!(unbound, 0);
    let memory = &pair.client.memory;
    memory.fill(PML4_COPY, PAGE, 0);
    for entry in [0, 511] {
        memory.set(PML4_COPY + entry * 8, PML4 | 7);
    }
    pair.client.vcpu.change_sregs(|sregs| {
        sregs.cr4 |= 1 << 12;
        sregs.cr3 = PML4_COPY;
    });
    let bound = pair
        .client
        .hypercall(uapi::WORMHOLE_HC_BIND, [SESSION, PML4_COPY, 0]);
    if bound == 0 {
        let stop = pair.call(CALL);
        assert_unsupported(stop);
    }
    assert_eq!(counter(&pair), 0);
}

fn amx() {
    let pair = Pair::ready(code::guest_counter());
    if !pair.client.vcpu.cpuid_bit(7, 3, 24) {
        return crate::skip("no AMX");
    }
    crate::skip("AMX is there, but this test does not know how to get it for a VM");
}

/// Guest-physical addresses that the views use, and some between these that they do not.
pub fn pages_of_the_views() -> impl Iterator<Item = u64> {
    const GIB: u64 = 1 << 30;
    const BASE: u64 = 256 * GIB;
    let gate = [0x1234_5000, 0x190b_3000, 0x183c_2000, 0x1234_b000];
    let tables = (0..8).map(|page| GIB + page * PAGE);
    let registered = (0..10).map(|page| 2 * GIB + page * PAGE);
    let hole = [128 * GIB, 129 * GIB];
    let offsets = gate.into_iter().chain([0, PAGE]).chain(tables);
    let offsets = offsets.chain(registered).chain(hole);
    offsets.map(|offset| BASE + offset)
}

/// The views are at guest-physical addresses that the client's own view does not have.
fn view_addresses_in_the_default_view() {
    const WINDOW: u64 = 0x1000_0000_0000;
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result(CALL), 1);
    for (page, gpa) in (0..).zip(pages_of_the_views()) {
        let address = WINDOW + page * PAGE;
        let client = &mut pair.client;
        client.tables.map(&client.memory, address, gpa);
        for (rip, expected) in [
            (code::guest_user_read(), Access::Read(gpa)),
            (code::guest_user_write(), Access::Write(gpa)),
        ] {
            client.vcpu.enter_user(kvm_regs {
                rip,
                rsp: FRAME,
                rdi: address,
                rsi: 0,
                ..Default::default()
            });
            let (access, stop) = client.vcpu.access();
            assert_eq!(access, expected, "{stop:x?}");
            let (access, stop) = client.vcpu.access();
            assert_eq!(access, Access::Stop);
            let stop = stop.expect("a stop").expect(AFTER_HYPERCALL);
            if let Access::Read(_) = expected {
                assert_eq!(stop.regs.rax, 0x5a5a_5a5a_5a5a_5a5a, "{gpa:#x}");
            }
        }
    }
    assert_eq!(pair.result(CALL), 2);
}

/// No process can have its page table there.
fn bind_of_an_address_that_is_not_memory() {
    let mut pair = Pair::ready(code::guest_counter());
    let mut client = |number, cr3| pair.client.hypercall(number, [SESSION, cr3, 0]);
    assert_eq!(client(uapi::WORMHOLE_HC_UNBIND, 0), 0);
    let views = [256 << 30, 257 << 30, 258 << 30, 384 << 30];
    for cr3 in [MEMORY_SIZE, 1 << 36, (256 << 30) - PAGE]
        .into_iter()
        .chain(views)
    {
        assert_eq!(client(uapi::WORMHOLE_HC_BIND, cr3), refused(Errno::FAULT));
    }
    pair.bind();
    assert_eq!(pair.result(CALL), 1);
}
