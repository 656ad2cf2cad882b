// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Every way to execute the page in the gate view: a client can go on at any of its bytes.

use crate::gate::{self, gate_image};
use crate::listing::{decode, Image, ADDRESS};
use crate::registers::Registers;
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, Register,
};
use std::collections::BTreeSet;

const SLOT: u64 = gate::REGION + gate::SLOT;
const SAVED_RSP: u64 = SLOT + gate::SLOT_RSP;
const SAVED_FS_BASE: u64 = SLOT + gate::SLOT_FS_BASE;
const SAVED_GS_BASE: u64 = SLOT + gate::SLOT_GS_BASE;
const CALLS: u64 = SLOT + gate::SLOT_CALLS;
const LIST_SERVER: u64 = gate::REGION + gate::LIST + 8 * gate::VIEW_SERVER as u64;

/// What stands in for the words of memory that the gate has in its view, and the registers.
#[derive(Clone)]
struct State {
    /// The server view's entry in the EPTP list is valid.
    open: bool,
    /// The words of the slot that may have bit 0 set.
    present: BTreeSet<u64>,
    registers: Registers,
}

impl State {
    fn of_client() -> Self {
        Self {
            open: false,
            present: BTreeSet::new(),
            registers: Registers::new(),
        }
    }

    /// After the VMFUNC in V: that had function 0 and view 1, or would not have led here.
    fn of_server() -> Self {
        use crate::registers::Value;

        let mut registers = Registers::new();
        registers.set(Register::RAX, Value::Known(0));
        registers.set(Register::RCX, Value::Known(gate::VIEW_GATE.into()));
        Self {
            open: true,
            present: BTreeSet::new(),
            registers,
        }
    }
}

/// How straight-line execution ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// An exception: a VM exit by itself, or by the IDT, which no view has.
    Fault,
    /// In V, from the VMFUNC for it.
    Server,
    /// By the VMFUNC at this offset while the server view was closed, so not in V.
    NotServer(u64),
}

/// Opcodes that are undefined in 64-bit mode (SDM vol. 2, A.3). 0xd5 is one only on CPUs without
/// APX.
const UNDEFINED: [u8; 4] = [0x06, 0x07, 0xd4, 0xd6];
const REX2: u8 = 0xd5;

/// The instructions that the page may have, at whatever byte one starts. None of them changes
/// control flow, selectors, control registers or the flags DF, IF, AC and TF.
const ALLOWED: [Mnemonic; 18] = [
    Mnemonic::Add,
    Mnemonic::And,
    Mnemonic::Btr,
    Mnemonic::Bts,
    Mnemonic::Clc,
    Mnemonic::Fst,
    Mnemonic::Lea,
    Mnemonic::Mov,
    Mnemonic::Neg,
    Mnemonic::Or,
    Mnemonic::Rdfsbase,
    Mnemonic::Rdgsbase,
    Mnemonic::Sar,
    Mnemonic::Shl,
    Mnemonic::Stc,
    Mnemonic::Sub,
    Mnemonic::Wrfsbase,
    Mnemonic::Wrgsbase,
];

fn is_undefined(image: &Image, offset: u64) -> bool {
    const REX: std::ops::RangeInclusive<u8> = 0x40..=0x4f;

    let bytes = match &image[offset as usize..] {
        [rex, rest @ ..] if REX.contains(rex) => rest,
        bytes => bytes,
    };
    let (mode, extension) = (|byte: u8| byte >> 6, |byte: u8| (byte >> 3) & 7);
    match *bytes {
        // With APX this is a prefix, and undefined before an undefined opcode of map 0.
        [REX2, payload, opcode, ..] => payload & 0x80 == 0 && UNDEFINED.contains(&opcode),
        // Without F3, RDFSBASE and its like (SDM vol. 2, table A-6).
        [0x0f, 0xae, byte, ..] => mode(byte) == 3 && extension(byte) < 4,
        // MOV is /0, XABORT and XBEGIN are F8.
        [0xc6 | 0xc7, byte, ..] => extension(byte) != 0 && byte != 0xf8,
        // INC and DEC are /0 and /1.
        [0xfe, byte, ..] => extension(byte) > 1,
        // Table A-8.
        [0xd9, byte, ..] => mode(byte) != 3 && extension(byte) == 1,
        [opcode, ..] => UNDEFINED.contains(&opcode),
        [] => false,
    }
}

/// Whether an instruction is SCASB, which is in RDFSBASE and its like, and leads to an exception
/// at once. So what it has read at RDI cannot be seen but in the flags at an interrupt in between,
/// where the host clears them.
fn is_scasb_before_a_fault(image: &Image, instruction: &Instruction) -> bool {
    let next = instruction.next_ip() - ADDRESS;
    let after = decode(image, next);
    instruction.mnemonic() == Mnemonic::Scasb
        && instruction.len() == 1
        && (after.mnemonic() == Mnemonic::Int3 || after.is_invalid() && is_undefined(image, next))
}

/// Executes the page from `offset` on.
fn follow(image: &Image, mut offset: u64, mut state: State) -> Result<End, String> {
    let start = offset;
    loop {
        let instruction = decode(image, offset);
        let error = |what: &str| {
            let mnemonic = instruction.mnemonic();
            Err(format!("{start:#x}: {mnemonic:?} at {offset:#x}: {what}"))
        };

        if instruction.is_invalid() {
            return if is_undefined(image, offset) {
                Ok(End::Fault)
            } else {
                error("not known to be undefined")
            };
        }
        if instruction.mnemonic() == Mnemonic::Int3 {
            return Ok(End::Fault);
        }
        if instruction.mnemonic() == Mnemonic::Vmfunc {
            let rax = state.registers.get32(Register::RAX);
            let rcx = state.registers.get32(Register::RCX);
            if !state.present.is_empty() {
                return error("a word of the slot has bit 0");
            }
            if !state.open {
                // It may have led to E itself: whatever follows is another start.
                return Ok(End::NotServer(offset));
            }
            if rax != Some(0) || rcx != Some(gate::VIEW_SERVER) {
                return error("not to the server, with the server view open");
            }
            return if offset == gate::E_VMFUNC_SERVER {
                Ok(End::Server)
            } else {
                error("to another place in V than its landing")
            };
        }

        if is_scasb_before_a_fault(image, &instruction) {
            return Ok(End::Fault);
        }
        if instruction.flow_control() != FlowControl::Next {
            return error("changes control flow");
        }
        if !ALLOWED.contains(&instruction.mnemonic()) && !is_xor(&instruction) {
            return error("not an allowed instruction");
        }
        if instruction.is_privileged()
            || instruction.is_stack_instruction()
            || instruction.is_string_instruction()
            || instruction.is_save_restore_instruction()
            || instruction.has_lock_prefix()
        {
            return error("privileged, of the stack, of strings, of states or locked");
        }

        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(&instruction);
        for used in info.used_registers() {
            let register = used.register();
            let harmless = register.is_gpr() || register.is_st() || register.is_ip();
            if !harmless && used.access() != OpAccess::Read {
                return error("writes another kind of register");
            }
        }
        for used in info.used_memory() {
            if !instruction.is_ip_rel_memory_operand() {
                return error("memory at an address from a register");
            }
            if ![Register::DS, Register::SS, Register::CS, Register::ES].contains(&used.segment()) {
                return error("memory at an address from a segment");
            }
            let size = used.memory_size();
            let word = matches!(
                size,
                MemorySize::UInt64 | MemorySize::UInt32 | MemorySize::Int64 | MemorySize::Int32
            );
            if !word {
                return error("memory of another size");
            }
            let address = instruction.ip_rel_memory_address();
            let bit = || {
                let bits = if size.size() == 8 { 64 } else { 32 };
                u32::from(instruction.immediate8()) % bits
            };
            match (used.access(), instruction.mnemonic(), address) {
                (OpAccess::Read, Mnemonic::Mov, SAVED_RSP | SAVED_FS_BASE | SAVED_GS_BASE) => {}
                (OpAccess::Write, Mnemonic::Mov, SAVED_RSP | SAVED_FS_BASE | SAVED_GS_BASE) => {
                    state.present.insert(address);
                }
                (OpAccess::ReadWrite, Mnemonic::Btr, SAVED_RSP) if bit() == 0 => {
                    state.present.remove(&address);
                }
                (OpAccess::ReadWrite, Mnemonic::Shl, SAVED_FS_BASE | SAVED_GS_BASE)
                    if instruction.immediate8() == 1 =>
                {
                    state.present.remove(&address);
                }
                (OpAccess::ReadWrite, Mnemonic::Add, CALLS)
                    if instruction.immediate(1) % 2 == 0 => {}
                (OpAccess::ReadWrite, Mnemonic::Btr, LIST_SERVER) if bit() == gate::INVALID_BIT => {
                    state.open = true;
                }
                (OpAccess::ReadWrite, Mnemonic::Bts, LIST_SERVER) if bit() == gate::INVALID_BIT => {
                    state.open = false;
                }
                (access, ..) => return error(&format!("memory: {access:?} of {address:#x}")),
            }
        }

        state.registers.step(&instruction);
        offset = instruction.next_ip() - ADDRESS;
        if offset >= gate::PAGE_SIZE as u64 {
            // No page of the gate view follows.
            return Ok(End::Fault);
        }
    }
}

/// Allowed where it is of registers and constants.
fn is_xor(instruction: &iced_x86::Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Xor
}

/// All ends, by start.
fn ends(image: &Image) -> Result<Vec<(u64, End)>, String> {
    (0..image.len() as u64)
        .map(|offset| Ok((offset, follow(image, offset, State::of_client())?)))
        .collect()
}

/// The way back must close the server view and lead to the client.
fn way_back(image: &Image) -> Result<(), String> {
    let mut offset = gate::E_RETURN;
    let mut registers = State::of_server().registers;
    let end = follow(image, offset, State::of_server())?;
    if end != End::NotServer(gate::E_VMFUNC_HOME) {
        return Err(format!("{end:?}"));
    }
    while offset != gate::E_VMFUNC_HOME {
        let instruction = decode(image, offset);
        registers.step(&instruction);
        offset = instruction.next_ip() - ADDRESS;
    }
    let view = registers.get32(Register::RCX);
    match (registers.get32(Register::RAX), view) {
        (Some(0), Some(gate::VIEW_CLIENT)) => Ok(()),
        _ => Err(format!("to view {view:?}")),
    }
}

/// Whatever a client does with this page, it gets into V only at the landing.
fn check(image: &Image) -> Result<(), String> {
    ends(image)?;
    way_back(image)
}

#[test]
fn every_byte_leads_to_a_fault_or_the_landing_or_not_to_the_server() {
    check(&gate_image()).expect("the gate");
}

/// So that one sees which of the misaligned ways get through, and that most of them do not.
#[test]
fn starts_that_reach_the_server() {
    let ends = ends(&gate_image()).expect("the gate");
    let starts = |wanted: fn(End) -> bool| -> Vec<u64> {
        let found = ends.iter().filter(|(_, end)| wanted(*end));
        found.map(|(offset, _)| *offset).collect()
    };

    assert_eq!(
        starts(|end| end == End::Server),
        [
            0x1da, 0x1db, 0x1dc, 0x1e1, 0x1e2, 0x1e4, 0x1e9, 0x1ea, 0x1ef, 0x1f0, 0x1f1, 0x1f6,
            0x1f7, 0x1f8, 0x1fd, 0x202, 0x203, 0x204, 0x209, 0x20a, 0x20b, 0x210, 0x211
        ]
    );
    assert_eq!(
        starts(|end| end == End::NotServer(gate::E_VMFUNC_SERVER)),
        [0x213, 0x218, 0x219, 0x21a, 0x21b, 0x21c, 0x21d, 0x21e, 0x21f, 0x220]
    );
    assert_eq!(
        starts(|end| end == End::NotServer(gate::E_VMFUNC_HOME)),
        [
            0x300, 0x301, 0x303, 0x308, 0x309, 0x30a, 0x30b, 0x310, 0x311, 0x312, 0x317, 0x318,
            0x31a, 0x31f, 0x320, 0x321, 0x326, 0x327, 0x328, 0x329, 0x32e, 0x32f, 0x330, 0x335,
            0x336, 0x337, 0x338, 0x339, 0x33a
        ]
    );
}

/// All memory operands that any start leads to: the gate's own, and their 32-bit forms.
#[test]
fn memory_that_any_byte_leads_to() {
    let image = gate_image();
    let mut found = Vec::new();
    for offset in 0..image.len() as u64 {
        let instruction = decode(&image, offset);
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(&instruction);
        if !info.used_memory().is_empty() && instruction.mnemonic() != Mnemonic::Int3 {
            found.push((offset, instruction.mnemonic()));
        }
    }

    assert_eq!(
        found,
        [
            (0x1da, Mnemonic::Mov),
            (0x1db, Mnemonic::Mov), // ESP: only this VM's own, and the btr follows
            (0x1e1, Mnemonic::Btr),
            (0x1e2, Mnemonic::Btr),
            (0x1ed, Mnemonic::Scasb),
            (0x1ef, Mnemonic::Mov),
            (0x1f0, Mnemonic::Mov), // ESI, and the shl follows
            (0x1f6, Mnemonic::Shl),
            (0x1f7, Mnemonic::Shl),
            (0x200, Mnemonic::Scasb),
            (0x202, Mnemonic::Mov),
            (0x203, Mnemonic::Mov), // ESP, and the shl follows
            (0x209, Mnemonic::Shl),
            (0x20a, Mnemonic::Shl),
            (0x210, Mnemonic::Btr),
            (0x211, Mnemonic::Btr),
            (0x300, Mnemonic::Bts),
            (0x301, Mnemonic::Bts),
            (0x308, Mnemonic::Mov), // 0x309 with a REX prefix that is ignored
            (0x309, Mnemonic::Mov),
            (0x30a, Mnemonic::Mov), // to ESP
            (0x310, Mnemonic::Mov),
            (0x311, Mnemonic::Mov), // to ESI
            (0x31d, Mnemonic::Scasb),
            (0x31f, Mnemonic::Mov),
            (0x320, Mnemonic::Mov), // to ECX
            (0x32c, Mnemonic::Scasb),
            (0x32e, Mnemonic::Add),
            (0x32f, Mnemonic::Add),
        ]
    );
}

#[test]
fn image_has_its_two_vmfuncs_only() {
    let image = gate_image();
    let found: Vec<_> = (0..image.len() as u64)
        .filter(|offset| decode(&image, *offset).mnemonic() == Mnemonic::Vmfunc)
        .collect();
    assert_eq!(found, [gate::E_VMFUNC_SERVER, gate::E_VMFUNC_HOME]);
}

mod a_wrong_gate_is_found {
    use super::*;

    fn with(offset: u64, bytes: &[u8]) -> Image {
        let mut image = gate_image();
        image[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        image
    }

    #[track_caller]
    fn refused(image: &Image, what: &str) {
        let error = check(image).expect_err("a wrong gate");
        assert!(error.contains(what), "{error}");
    }

    #[test]
    fn store_through_a_register() {
        // nop; nop; mov [rcx], rax
        refused(
            &with(0x800, &[0x90, 0x90, 0x48, 0x89, 0x01]),
            "Nop at 0x800: not an allowed",
        );
        refused(
            &with(0x800, &[0xf8, 0x48, 0x89, 0x01]),
            "Mov at 0x801: memory at an address from a register",
        );
        // mov gs:[rip + disp], rax
        refused(
            &with(0x800, &[0x65, 0x48, 0x89, 0x05, 0, 0, 0, 0]),
            "from a segment",
        );
    }

    #[test]
    fn bit_from_a_register() {
        // btr [rip + disp], rcx, in place of the one of a constant
        refused(
            &with(0x210, &[0x48, 0x0f, 0xb3, 0x0d]),
            "Btr at 0x210: memory",
        );
    }

    #[test]
    fn wrong_bit() {
        refused(&with(0x218, &[0x4a]), "Btr at 0x210: memory: ReadWrite");
        refused(&with(0x308, &[0x4c]), "memory: ReadWrite");
    }

    #[test]
    fn list_is_stored_to() {
        // mov [rip + disp], rax of the btr's address
        let mut image = gate_image();
        let displacement = i32::from_le_bytes(image[0x214..0x218].try_into().expect("4 bytes"));
        let displacement = displacement + 0x219 - 0x807;
        image[0x800..0x803].copy_from_slice(&[0x48, 0x89, 0x05]);
        image[0x803..0x807].copy_from_slice(&displacement.to_le_bytes());
        refused(&image, "Mov at 0x800: memory: Write");
    }

    #[test]
    fn vmfunc_elsewhere_after_the_btr() {
        let vmfunc = [0x0f, 0x01, 0xd4];
        refused(&with(0x219, &vmfunc), "with the server view open");
        // Without one clc, and so one byte early; without both.
        refused(
            &with(0x219, &[0x31, 0xc0, 0x8d, 0x48, 2, 0xf8, 0x0f, 0x01, 0xd4]),
            "to another place in V",
        );
        refused(
            &with(0x219, &[0x31, 0xc0, 0x8d, 0x48, 2, 0x0f, 0x01, 0xd4]),
            "to another place in V",
        );
    }

    #[test]
    fn other_view_after_the_btr() {
        refused(
            &with(0x21e, &[0]),
            "not to the server, with the server view open",
        );
        // ECX as the client left it: clc in place of the lea.
        refused(&with(0x21c, &[0xf8; 3]), "not to the server");
    }

    #[test]
    fn server_view_stays_open() {
        // A bts that is a btr.
        refused(&with(0x303, &[0x35]), "with the server view open");
    }

    #[test]
    fn way_home_leads_elsewhere() {
        refused(&with(0x338, &[1]), "to view Some(1)");
    }

    #[test]
    fn slot_keeps_bit_0() {
        for (offset, length) in [(0x1e1, 9), (0x1f6, 7), (0x209, 7)] {
            let clc = &[0xf8; 9][..length];
            refused(&with(offset, clc), "a word of the slot has bit 0");
        }
        refused(&with(0x335, &[0x41]), "Add at 0x32e: memory: ReadWrite");
    }

    /// Which could be odd then.
    #[test]
    fn base_is_stored_over_the_count() {
        let mut image = gate_image();
        let difference = (gate::SLOT_CALLS - gate::SLOT_GS_BASE) as u8;
        image[0x205] += difference;
        refused(&image, "Mov at 0x202: memory: Write");
    }

    #[test]
    fn way_out_by_other_means() {
        for (bytes, what) in [
            (&[0xc3][..], "changes control flow"),               // ret
            (&[0xff, 0xe0], "changes control flow"),             // jmp rax
            (&[0x0f, 0x05], "changes control flow"),             // syscall
            (&[0xeb, 0x10], "changes control flow"),             // jmp
            (&[0xcd, 0x80], "changes control flow"),             // int
            (&[0x50], "not an allowed"),                         // push rax
            (&[0xfd], "not an allowed"),                         // std
            (&[0xfa], "not an allowed"),                         // cli
            (&[0xaa], "not an allowed"),                         // stosb
            (&[0x0f, 0x22, 0xd8], "privileged"),                 // mov cr3, rax
            (&[0x0f, 0x23, 0xf8], "privileged"),                 // mov dr7, rax
            (&[0x8e, 0xd8], "writes another kind"),              // mov ds, eax
            (&[0x0f, 0x01, 0x18], "not an allowed"),             // lidt [rax]
            (&[0x0f, 0xae, 0x20], "not an allowed"),             // xsave [rax]
            (&[0xf3, 0x48, 0x0f, 0xae, 0xd0], "Scasb at 0x803"), // wrfsbase rax
            (&[0x0f, 0x01, 0xf8], "not an allowed"),             // swapgs
            (&[0xf4], "not an allowed"),                         // hlt
            (&[0x8b, 0x01], "from a register"),                  // mov eax, [rcx]
            (&[0x62, 0xcc], "not known to be undefined"),        // EVEX
        ] {
            refused(&with(0x800, bytes), what);
        }
    }

    /// The encodings that one would write down first.
    #[test]
    fn obvious_encodings() {
        // xor eax, eax; mov ecx, 2: 00 00 is add [rax], al.
        refused(
            &with(0x219, &[0x31, 0xc0, 0xb9, 2, 0, 0, 0]),
            "from a register",
        );
        // xor eax, eax; xor ecx, ecx: c0 31 c9 is a shift of [rcx].
        refused(&with(0x336, &[0x31, 0xc0, 0x31, 0xc9]), "Sal at 0x337");
        // rdfsbase rax, and the store of it: c0 48 89 05 is a rotation of [rax - 0x77].
        let through_rax = [0xf3, 0x48, 0x0f, 0xae, 0xc0, 0x48, 0x89, 0x05];
        refused(&with(0x1ea, &through_rax), "Scasb at 0x1ed");
        // add of 2: 02 8d is add cl, [rbp + ...].
        refused(&with(0x335, &[2]), "Add at 0x335: memory");
        // btr of bit 11: 0b 31 is or esi, [rcx].
        refused(&with(0x218, &[11]), "Or at 0x218: memory");
    }
}
