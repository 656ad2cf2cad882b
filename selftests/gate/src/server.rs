// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the page in the server view does, from where a client arrives.

use crate::gate::{self, server_image};
use crate::listing::{decode, Image, ADDRESS};
use crate::registers::{Registers, Value};
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register};

const GPRS: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// The instructions from `offset` up to and with the first of `last`, jumps followed, branches
/// not taken.
fn run(image: &Image, mut offset: u64, last: Mnemonic) -> Vec<Instruction> {
    let mut found = Vec::new();
    loop {
        let instruction = decode(image, offset);
        assert!(!instruction.is_invalid(), "{offset:#x}");
        found.push(instruction);
        if instruction.mnemonic() == last {
            return found;
        }
        offset = match instruction.mnemonic() {
            Mnemonic::Jmp => instruction.near_branch64(),
            _ => instruction.next_ip(),
        } - ADDRESS;
        assert!(found.len() < 100);
    }
}

/// What is in the registers before the last instruction.
fn registers_before_last(code: &[Instruction]) -> Registers {
    let mut registers = Registers::new();
    for instruction in &code[..code.len() - 1] {
        registers.step(instruction);
    }
    registers
}

/// What the code up to the first branch does, in words; `None` if only RCX and flags change.
fn effect_before_the_check(image: &Image) -> Option<String> {
    let code = run(image, gate::LANDING, Mnemonic::Jne);
    for instruction in code {
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(&instruction);
        if !info.used_memory().is_empty() {
            return Some(format!("{instruction} has memory"));
        }
        for used in info.used_registers() {
            let register = used.register().full_register();
            if used.access() != OpAccess::Read
                && ![Register::RCX, Register::RIP].contains(&register)
            {
                return Some(format!("{instruction} writes {register:?}"));
            }
        }
    }
    None
}

#[test]
fn nothing_happens_before_the_check_of_the_privilege_level() {
    assert_eq!(effect_before_the_check(&server_image()), None);

    let check: Vec<_> = run(&server_image(), gate::LANDING, Mnemonic::Jne)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(check[..3], ["mov ecx,cs", "not ecx", "test cl,3"]);
}

#[test]
fn an_effect_before_the_check_is_found() {
    for (bytes, what) in [
        (&[0x8b, 0x00][..], "memory"), // mov eax, [rax]
        (&[0x51, 0x90], "memory"),     // push rcx
        (&[0x8c, 0xc8], "RAX"),        // mov eax, cs
        (&[0x8e, 0xd8], "DS"),         // mov ds, eax
    ] {
        let mut image = server_image();
        image[gate::LANDING as usize..][..2].copy_from_slice(bytes);
        let effect = effect_before_the_check(&image).expect("an effect");
        assert!(effect.contains(what), "{effect}");
    }
}

#[test]
fn both_checks_lead_to_a_trap() {
    let code = run(&server_image(), gate::LANDING, Mnemonic::Call);
    let branches: Vec<_> = code
        .iter()
        .filter(|instruction| instruction.mnemonic() == Mnemonic::Jne)
        .collect();

    assert_eq!(branches.len(), 2);
    for branch in branches {
        let target = decode(&server_image(), branch.near_branch64() - ADDRESS);
        assert_eq!(target.mnemonic(), Mnemonic::Ud2);
    }
}

/// The gate's arguments are in RDI, RSI, RDX, R10, R8 and R9.
#[test]
fn arguments_are_where_the_function_has_them() {
    let code = run(&server_image(), gate::LANDING, Mnemonic::Call);
    let registers = registers_before_last(&code);

    for (register, argument) in [
        (Register::RDI, Register::RDI),
        (Register::RSI, Register::RSI),
        (Register::RDX, Register::RDX),
        (Register::RCX, Register::R10),
        (Register::R8, Register::R8),
        (Register::R9, Register::R9),
    ] {
        assert_eq!(registers.get(register), Value::Initial(argument));
    }
    assert_eq!(registers.get(Register::RBP), Value::Known(0));
    let call = code.last().expect("the call");
    assert_eq!(call.next_ip() - ADDRESS, gate::CALL_RETURN);
}

/// Names the registers that have neither a constant nor, as RDI does, the result.
fn left_by_the_server(image: &Image) -> Vec<Register> {
    let code = run(image, gate::CALL_RETURN, Mnemonic::Vmfunc);
    let registers = registers_before_last(&code);
    let is_clean = |register| match register {
        Register::RAX => registers.get(register) == Value::Known(0),
        Register::RCX => registers.get(register) == Value::Known(gate::VIEW_GATE.into()),
        Register::RDI => registers.get(register) == Value::Initial(Register::RAX),
        _ => registers.get(register) == Value::Known(0),
    };
    GPRS.into_iter()
        .filter(|register| !is_clean(*register))
        .collect()
}

/// RSP is E's to set.
#[test]
fn registers_are_clean_on_the_way_back() {
    assert_eq!(left_by_the_server(&server_image()), [Register::RSP]);
}

#[test]
fn a_register_that_was_left_is_found() {
    let mut image = server_image();
    let code = run(&image, gate::CALL_RETURN, Mnemonic::Vmfunc);
    let zeroes_r13 = |instruction: &&Instruction| instruction.to_string() == "xor r13d,r13d";
    let found = code.iter().find(zeroes_r13).expect("the instruction");
    let offset = (found.ip() - ADDRESS) as usize;
    image[offset..][..found.len()].fill(0x90);

    assert_eq!(left_by_the_server(&image), [Register::RSP, Register::R13]);
}

/// Both ways: everything but PKRU.
#[test]
fn extended_state_is_initialized() {
    for (start, last) in [
        (gate::LANDING, Mnemonic::Call),
        (gate::CALL_RETURN, Mnemonic::Vmfunc),
    ] {
        let code = run(&server_image(), start, last);
        let at = code
            .iter()
            .position(|instruction| instruction.mnemonic() == Mnemonic::Xrstor64)
            .expect("an xrstor64");
        let registers = registers_before_last(&code[..=at]);

        assert_eq!(registers.get(Register::RAX), Value::Known(0xffff_fdff));
        assert_eq!(registers.get(Register::RDX), Value::Known(0xffff_ffff));
        assert_eq!(
            code[at].ip_rel_memory_address(),
            gate::REGION + gate::CARRIER + gate::CARRIER_XSAVE
        );
    }
}

#[test]
fn image_has_one_vmfunc() {
    let image = server_image();
    let found: Vec<_> = (0..image.len() as u64)
        .filter(|offset| decode(&image, *offset).mnemonic() == Mnemonic::Vmfunc)
        .collect();

    assert_eq!(found, [gate::V_VMFUNC]);
    let code = run(&image, gate::CALL_RETURN, Mnemonic::Vmfunc);
    let vmfunc = code.last().expect("the vmfunc");
    assert_eq!(vmfunc.ip() - ADDRESS, gate::V_VMFUNC);
    assert_eq!(vmfunc.next_ip() - ADDRESS, gate::E_RETURN);
}
