// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is known of the general-purpose registers after some straight-line code.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Known(u64),
    /// What this 64-bit register had at the start.
    Initial(Register),
    Unknown,
}

#[derive(Clone)]
pub struct Registers(HashMap<Register, Value>);

impl Registers {
    pub fn new() -> Self {
        Self(HashMap::new())
    }

    /// The value of a 64-bit register.
    pub fn get(&self, register: Register) -> Value {
        let value = self.0.get(&register);
        value.copied().unwrap_or(Value::Initial(register))
    }

    /// The lower 32 bits of a 64-bit register.
    pub fn get32(&self, register: Register) -> Option<u32> {
        match self.get(register) {
            Value::Known(value) => Some(value as u32),
            _ => None,
        }
    }

    pub fn set(&mut self, register: Register, value: Value) {
        self.0.insert(register, value);
    }

    /// Executes an instruction: what this does not understand makes what it writes unknown.
    pub fn step(&mut self, instruction: &Instruction) {
        let result = self.result(instruction);
        let mut factory = InstructionInfoFactory::new();
        for used in factory.info(instruction).used_registers() {
            let written = !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            );
            if written && used.register().is_gpr() {
                self.set(used.register().full_register(), Value::Unknown);
            }
        }
        if let Some(value) = result {
            self.set(instruction.op0_register().full_register(), value);
        }
    }

    /// What the instruction writes to all of its first operand, a register.
    fn result(&self, instruction: &Instruction) -> Option<Value> {
        let to = instruction.op0_register();
        if instruction.op0_kind() != OpKind::Register || !(to.is_gpr32() || to.is_gpr64()) {
            return None;
        }
        let cut = |value| match value {
            Value::Known(value) if to.is_gpr32() => Value::Known(u64::from(value as u32)),
            Value::Initial(_) if to.is_gpr32() => Value::Unknown,
            value => value,
        };
        match (instruction.mnemonic(), instruction.op1_kind()) {
            (Mnemonic::Xor, OpKind::Register) if to == instruction.op1_register() => {
                Some(Value::Known(0))
            }
            (Mnemonic::Mov, OpKind::Register) if instruction.op1_register().is_gpr() => {
                Some(cut(self.get(instruction.op1_register().full_register())))
            }
            (Mnemonic::Mov, OpKind::Immediate32 | OpKind::Immediate32to64) => {
                Some(cut(Value::Known(instruction.immediate(1))))
            }
            (Mnemonic::Lea, _) if instruction.memory_index() == Register::None => {
                match self.get(instruction.memory_base().full_register()) {
                    Value::Known(base) => Some(cut(Value::Known(
                        base.wrapping_add(instruction.memory_displacement64()),
                    ))),
                    _ => Some(Value::Unknown),
                }
            }
            _ => None,
        }
    }
}
