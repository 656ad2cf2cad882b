// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client vCPU that is not in 64-bit mode. Linear addresses have 32 bits there, so its VMFUNC is at the gate's address
//! cut off to these; the page tables have what the attacker could hope for there.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::events::{end_the_loop, stop_a_call};
use crate::guest_code as code;
use crate::layout::*;
use crate::memory::Memory;
use crate::pair::{carrier_page, refused, result_of, Pair, CARRIER};
use crate::vm::{segment, Event, Stop, LIMIT};

crate::tests! {
    protected_mode_without_paging
    protected_mode_with_32_bit_paging
    protected_mode_with_pae_paging
    compatibility_mode
    resume_from_compatibility_mode
    xcr0_without_sse
    cet
}

const CALL: [u64; 6] = [SERVER_DATA, 0, 0, 0, 0, 0];

const CUT_GATE: u64 = GATE & 0xffff_ffff;
/// Where a VMFUNC ends that goes on at ENTER's, the server's landing and the way back of the gate.
const ENDS: [u64; 3] = [0x1da, 0x223, 0x300];
/// EPTP indices: the client's, the gate's, the server's, and the first that is never used.
const INDICES: [u32; 4] = [0, 1, 2, 3];

// In SPARE: a page each.
const DESCRIPTORS: u64 = SPARE;
const TSS_32: u64 = SPARE + 0x100;
const IDT_32: u64 = SPARE + PAGE;
const TABLE: u64 = SPARE + 2 * PAGE;
const DIRECTORY: u64 = SPARE + 3 * PAGE;
const HIGH_DIRECTORY: u64 = SPARE + 4 * PAGE;
const STACK_TOP: u64 = SPARE + 7 * PAGE;

const PRESENT_WRITABLE_USER: u64 = 7;
const LARGE: u64 = 1 << 7;

const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME_LMA: u64 = (1 << 10) | (1 << 8);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Paging {
    Off,
    /// Two levels.
    Legacy,
    /// Three, the first of which is in registers.
    Pae,
}

/// All that a call could change in the server's memory.
fn server_memory(pair: &Pair) -> Vec<u64> {
    let pages = |start: u64, count: u64| (start..start + count * PAGE).step_by(8);
    let words = pages(SERVER_CODE_PAGE, 1)
        .chain(pages(SERVER_DATA_PAGES, SERVER_DATA_COUNT))
        .chain(pages(SERVER_STACK_PAGES, SERVER_STACK_COUNT))
        .chain(pages(SERVER_READ_ONLY_PAGE, 1))
        .chain(pages(carrier_page(CARRIER), 1));
    words.map(|at| pair.server.memory.get(at)).collect()
}

/// XOR EAX, EAX; MOV ECX, `index`; VMFUNC: the same in 32-bit and in 64-bit code.
fn vmfunc(index: u32) -> [u8; 10] {
    let [a, b, c, d] = index.to_le_bytes();
    let [e, f, g] = code::VMFUNC;
    [0x31, 0xc0, 0xb9, a, b, c, d, e, f, g]
}

/// Where the attacker's VMFUNC is, after which he goes on at `end` of the page at the gate's address. INT3 is all else there.
fn write_vmfunc(memory: &Memory, page: u64, end: u64, index: u32) -> u64 {
    let bytes = vmfunc(index);
    memory.fill(page, PAGE, code::INT3);
    memory.write(page + end - bytes.len() as u64, &bytes);
    CUT_GATE + end - bytes.len() as u64
}

fn write_entry(memory: &Memory, table: u64, index: u64, size: u64, value: u64) {
    if size == 8 {
        memory.set(table + index * 8, value);
    } else {
        memory.write(table + index * 4, &(value as u32).to_le_bytes());
    }
}

/// Page tables at `root`: all memory at 0, the gate's page at [`CUT_GATE`].
fn write_tables(memory: &Memory, root: u64, paging: Paging) {
    let (size, shift) = match paging {
        Paging::Off => return,
        Paging::Legacy => (4, 22),
        Paging::Pae => (8, 21),
    };
    let entries = PAGE / size;
    memory.fill(TABLE, 3 * PAGE, 0);
    memory.fill(root, PAGE, 0);
    let (directory, high) = if paging == Paging::Pae {
        // The attacker has the other two registers name the host's tables of the views.
        for (index, table) in [DIRECTORY, HIGH_DIRECTORY, 257 << 30, 258 << 30]
            .into_iter()
            .enumerate()
        {
            memory.set(root + index as u64 * 8, table | 1);
        }
        (DIRECTORY, HIGH_DIRECTORY)
    } else {
        (root, root)
    };
    for gpa in (0..memory.size()).step_by(1 << shift) {
        let leaf = gpa | LARGE | PRESENT_WRITABLE_USER;
        write_entry(memory, directory, gpa >> shift, size, leaf);
    }
    let index = |address: u64, shift: u32| (address >> shift) % entries;
    let table = TABLE | PRESENT_WRITABLE_USER;
    write_entry(memory, high, index(CUT_GATE, shift), size, table);
    for (address, page) in [(CUT_GATE - PAGE, BEFORE_GATE_PAGE), (CUT_GATE, GATE_PAGE)] {
        let leaf = page | PRESENT_WRITABLE_USER;
        write_entry(memory, TABLE, index(address, 12), size, leaf);
    }
}

/// GDT, TSS and IDT for protected mode, with the selectors and the handlers of 64-bit mode.
fn write_descriptors(memory: &Memory) {
    memory.fill(DESCRIPTORS, PAGE, 0);
    for (selector, descriptor) in [
        (KERNEL_CS, 0x00cf_9b00_0000_ffff_u64),
        (KERNEL_SS, 0x00cf_9300_0000_ffff),
        (USER_SS, 0x00cf_f300_0000_ffff),
        (USER_CS, 0x00cf_fb00_0000_ffff),
    ] {
        memory.set(DESCRIPTORS + u64::from(selector & !7), descriptor);
    }
    memory.write(TSS_32 + 4, &(STACK_TOP as u32).to_le_bytes());
    memory.write(TSS_32 + 8, &KERNEL_SS.to_le_bytes());
    for vector in 0..256 {
        let handler = KERNEL_CODE + vector * 16;
        let gate =
            handler & 0xffff | (u64::from(KERNEL_CS) << 16) | (0xee << 40) | (handler >> 16 << 48);
        memory.set(IDT_32 + vector * 8, gate);
    }
}

/// Runs the client from `rip` on in protected mode, until an exception. Returns it with CS:RIP, and is back in 64-bit mode.
fn run_in_protected_mode(pair: &mut Pair, paging: Paging, cpl: u16, rip: u64) -> (u8, u16, u64) {
    let memory = pair.client.memory.clone();
    let table = |base: u64, limit: u16| kvm_dtable {
        base,
        limit,
        ..Default::default()
    };
    let (cs, ss) = if cpl == 0 {
        (KERNEL_CS, KERNEL_SS)
    } else {
        (USER_CS, USER_SS)
    };
    // The bound process's own CR3, with other tables in it.
    let root = memory.read(PML4, PAGE);
    write_tables(&memory, PML4, paging);
    let vcpu = &mut pair.client.vcpu;
    let before = vcpu.sregs();
    vcpu.change_sregs(|sregs| {
        sregs.cs = segment(cs, 11);
        sregs.ss = segment(ss, 3);
        sregs.tr = kvm_segment {
            base: TSS_32,
            limit: 103,
            s: 0,
            g: 0,
            db: 0,
            ..segment(TR & !3, 11)
        };
        sregs.gdt = table(DESCRIPTORS, 6 * 8 - 1);
        sregs.idt = table(IDT_32, 256 * 8 - 1);
        sregs.efer &= !EFER_LME_LMA;
        sregs.cr4 |= CR4_PSE;
        match paging {
            Paging::Off => sregs.cr0 &= !CR0_PG,
            Paging::Legacy => sregs.cr4 &= !CR4_PAE,
            Paging::Pae => {}
        }
    });
    vcpu.set_regs(&kvm_regs {
        rip,
        rsp: STACK_TOP - PAGE,
        rflags: 2,
        ..Default::default()
    });
    let port = vcpu.run_to_port(LIMIT).expect("an exception");
    assert_eq!(port, PORT_VECTOR.into(), "{:x?}", vcpu.regs());
    let regs = vcpu.regs();
    vcpu.change_sregs(|sregs| *sregs = before);
    memory.write(PML4, &root);

    let vector = u8::try_from((regs.rip - KERNEL_CODE) / 16).expect("one of the stubs");
    let mut frame = regs.rsp;
    if matches!(vector, 8 | 10..=14 | 17) {
        frame += 4;
    }
    let bytes = memory.read(frame, 8);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (vector, word(4) as u16, word(0).into())
}

/// Each VMFUNC is #UD, but that to the view that the vCPU is in.
fn protected_mode(paging: Paging) {
    const BP: u8 = 3;
    const UD: u8 = 6;
    // Without paging the address is a physical one.
    let high = Memory::new(2 * PAGE);
    let mut pair = Pair::ready(code::guest_counter());
    pair.client.add_memory(1, CUT_GATE - PAGE, &high);
    high.fill(0, PAGE, code::INT3);
    assert_eq!(pair.result(CALL), 1);
    write_descriptors(&pair.client.memory);
    let gate = pair.client.memory.read(GATE_PAGE, PAGE);
    let before = server_memory(&pair);
    for cpl in [3, 0] {
        for (end, index) in ENDS
            .iter()
            .flat_map(|end| INDICES.map(|index| (*end, index)))
        {
            let rip = if paging == Paging::Off {
                write_vmfunc(&high, PAGE, end, index)
            } else {
                write_vmfunc(&pair.client.memory, GATE_PAGE, end, index)
            };
            let stop = run_in_protected_mode(&mut pair, paging, cpl, rip);
            let expected = if index == 0 {
                (BP, CUT_GATE + end + 1)
            } else {
                (UD, CUT_GATE + end - 3)
            };
            let case = format!("CPL {cpl}, {end:#x}, index {index}");
            assert_eq!((stop.0, stop.2), expected, "{case}");
            assert_eq!(stop.1 & 3, cpl, "{case}");
            assert!(server_memory(&pair) == before, "{case}");
        }
    }
    pair.client.memory.write(GATE_PAGE, &gate);
    assert_eq!(pair.result(CALL), 2);
    drop(pair);
    drop(high);
}

fn protected_mode_without_paging() {
    protected_mode(Paging::Off);
}

fn protected_mode_with_32_bit_paging() {
    protected_mode(Paging::Legacy);
}

/// With PDPTE registers that VMFUNC would keep.
fn protected_mode_with_pae_paging() {
    protected_mode(Paging::Pae);
}

/// Runs the client from `rip` on in 32-bit code of 64-bit mode's page tables and descriptors.
fn run_in_compatibility_mode(pair: &mut Pair, cpl: u16, regs: kvm_regs) -> Stop {
    let vcpu = &mut pair.client.vcpu;
    let (cs, ss) = if cpl == 0 {
        (KERNEL_CS, KERNEL_SS)
    } else {
        (USER_CS, USER_SS)
    };
    let before = vcpu.sregs();
    vcpu.change_sregs(|sregs| {
        sregs.cs = segment(cs, 11);
        sregs.ss = segment(ss, 3);
    });
    vcpu.set_regs(&kvm_regs { rflags: 2, ..regs });
    let stop = vcpu.run();
    vcpu.change_sregs(|sregs| {
        (sregs.cs, sregs.ss) = (before.cs, before.ss);
    });
    stop
}

/// The gate is open in it, for whether CS is one of 64-bit code is the process's choice: but the gate's page is at no
/// address of 32 bits.
fn compatibility_mode() {
    let mut pair = Pair::ready(code::guest_counter());
    let client = &mut pair.client;
    for (address, page) in [(CUT_GATE - PAGE, BEFORE_GATE_PAGE), (CUT_GATE, GATE_PAGE)] {
        client.tables.map(&client.memory, address, page);
    }
    assert_eq!(pair.result(CALL), 1);
    let gate = pair.client.memory.read(GATE_PAGE, PAGE);
    let before = server_memory(&pair);
    for cpl in [3, 0] {
        for (end, index) in ENDS
            .iter()
            .flat_map(|end| INDICES.map(|index| (*end, index)))
        {
            let rip = write_vmfunc(&pair.client.memory, GATE_PAGE, end, index);
            pair.client
                .memory
                .write(PAD - GATE + GATE_PAGE, &code::jump(code::guest_pad()));
            let regs = kvm_regs {
                rip,
                rsp: FRAME,
                ..Default::default()
            };
            let stop = run_in_compatibility_mode(&mut pair, cpl, regs);
            let case = format!("CPL {cpl}, {end:#x}, index {index}: {stop:x?}");
            match index {
                0 => {
                    assert!(stop.is(3), "{case}");
                    assert_eq!(stop.regs.rip, CUT_GATE + end + 1, "{case}");
                }
                1 => {
                    assert!(stop.is(AT_PAD), "{case}");
                    let pad = (stop.regs.rax, stop.regs.rdi as i64);
                    let error = u64::from(uapi::WORMHOLE_PAD_ERROR);
                    assert_eq!(pad, (error, -refused(Errno::FAULT)), "{case}");
                }
                _ => {
                    assert!(stop.is(6), "{case}");
                    assert_eq!(stop.regs.rip, CUT_GATE + end - 3, "{case}");
                }
            }
            assert!(server_memory(&pair) == before, "{case}");
        }
    }
    pair.client.memory.write(GATE_PAGE, &gate);
    assert_eq!(pair.result(CALL), 2);
}

/// Its pad, and the server's code, are 64-bit code.
fn resume_from_compatibility_mode() {
    let mut pair = Pair::ready(code::guest_loop_until());
    let token = stop_a_call(&mut pair);
    let count = pair.server.memory.get(SERVER_DATA_PAGES + 8);
    for _ in 0..2 {
        let regs = kvm_regs {
            rip: code::guest_user_hypercall(),
            rsp: FRAME,
            rax: u64::from(uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RESUME),
            rdi: token,
            ..Default::default()
        };
        let stop = run_in_compatibility_mode(&mut pair, 3, regs).expect(AFTER_HYPERCALL);
        assert_eq!(stop.regs.rax as i64, refused(Errno::OPNOTSUPP), "{stop:x?}");
        assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES + 8), count);
    }
    // In 64-bit mode it goes on.
    end_the_loop(&pair.server.memory);
    let stop = pair
        .client
        .user_hypercall(uapi::WORMHOLE_HC_RESUME, [token, 0, 0]);
    assert_eq!(result_of(stop), 107);
}

/// The call was refused because of the vCPU's state.
#[track_caller]
fn assert_unsupported(pair: &mut Pair) {
    let before = server_memory(pair);
    for _ in 0..2 {
        let stop = pair.call(CALL).expect(AT_PAD);
        let pad = (stop.regs.rax, stop.regs.rdi as i64);
        let error = u64::from(uapi::WORMHOLE_PAD_ERROR);
        assert_eq!(pad, (error, -refused(Errno::OPNOTSUPP)), "{stop:x?}");
    }
    assert!(server_memory(pair) == before);
}

fn xcr0_without_sse() {
    const X87: u64 = 1;
    let mut pair = Pair::ready(code::guest_counter());
    let features = pair.client.vcpu.features();
    pair.client.vcpu.set_features(X87);
    assert_unsupported(&mut pair);
    pair.client.vcpu.set_features(features);
    assert_eq!(pair.result(CALL), 1);
    pair.client.vcpu.set_features(X87);
    assert_unsupported(&mut pair);
    pair.client.vcpu.set_features(features);
    assert_eq!(pair.result(CALL), 2);
}

/// The guest's kernel sets CR4.CET while the gate is open, to which KVM gives way where it can.
fn cet() {
    const CR4_CET: u64 = 1 << 23;
    let mut pair = Pair::ready(code::guest_counter());
    let vcpu = &pair.client.vcpu;
    if !vcpu.cpuid_bit(7, 2, 7) && !vcpu.cpuid_bit(7, 3, 20) {
        return crate::skip("KVM has no shadow stacks and no indirect-branch tracking here");
    }
    let mov_to_cr4 = |pair: &mut Pair, cr4: u64| {
        // MOV CR4, RDI; OUT PORT_HYPERCALL, AL
        let bytes = [0x0f, 0x22, 0xe7, 0xe6, PORT_HYPERCALL];
        pair.client.memory.write(SPARE, &bytes);
        pair.client.vcpu.enter_kernel(kvm_regs {
            rip: KERNEL_BASE + SPARE,
            rdi: cr4,
            ..Default::default()
        });
        assert_eq!(pair.client.vcpu.run().event, Event::Hypercall);
        assert_eq!(pair.client.vcpu.sregs().cr4, cr4);
    };
    let cr4 = pair.client.vcpu.sregs().cr4;
    for n in 1..=2 {
        assert_eq!(pair.result(CALL), n);
        mov_to_cr4(&mut pair, cr4 | CR4_CET);
        assert_unsupported(&mut pair);
        mov_to_cr4(&mut pair, cr4);
    }
    assert_eq!(pair.result(CALL), 3);
}
