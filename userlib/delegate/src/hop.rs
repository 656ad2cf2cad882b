// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A call that hopped home: where it was, and going on with it.

use std::arch::global_asm;
use std::mem::offset_of;

use wormhole_uapi::{self as uapi, wormhole_carrier};

use crate::gate::{self, PAGE_SIZE};

/// In the order of their encoding.
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RSP: usize = 4;
const RSI: usize = 6;
const RDI: usize = 7;
const R8: usize = 8;
const R9: usize = 9;
const R10: usize = 10;
const R11: usize = 11;

/// x87, SSE, AVX, and the three of AVX-512. PKRU stays the thread's own.
const COMPONENTS: u64 = 0xe7;
/// CF PF AF ZF SF DF OF AC ID. Not TF: nobody steps through it here.
const FLAGS: u64 = 0x24_0cd5;
const FLAGS_CLEAR: u64 = 2;
/// In the XSAVE area: MXCSR, and the header's XSTATE_BV and XCOMP_BV.
const MXCSR: usize = 24;
const MXCSR_INIT: u32 = 0x1f80;
const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;

// What the host and the assembly below rely on.
const _: () = assert!(
    offset_of!(wormhole_carrier, xsave) % 64 == 0 && size_of::<wormhole_carrier>() <= PAGE_SIZE
);

/// Bytes above a carrier's stack, for [`go_on`].
pub(crate) const ABOVE_STACK: usize = 64;

/// Where a call was when it hopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On its way in: the function was not called yet.
    Landing([u64; 6]),
    /// In the server's code.
    Function,
    /// On its way out, with its result.
    Leaving(u64),
    /// Turned away at the gate.
    Trap,
}

pub(crate) fn place(context: &wormhole_carrier) -> Place {
    let registers = &context.registers;
    let Some(offset @ gate::LANDING..gate::END) =
        context.rip.checked_sub(uapi::WORMHOLE_GATE_ADDRESS)
    else {
        return Place::Function;
    };
    match offset {
        gate::TRAP => Place::Trap,
        gate::LANDING..gate::CALL_RETURN => {
            let third = match gate::THIRD_IN_R11.contains(&offset) {
                true => R11,
                false => RDX,
            };
            Place::Landing([RDI, RSI, third, R10, R8, R9].map(|number| registers[number]))
        }
        gate::CALL_RETURN..gate::RESULT_IN_RDI => Place::Leaving(registers[RAX]),
        _ => Place::Leaving(registers[RDI]),
    }
}

/// Makes of a context one that is about to begin the call.
pub(crate) fn begin(context: &mut wormhole_carrier, entry: u64, arguments: [u64; 6]) {
    context.registers = [0; 16];
    let [rdi, rsi, rdx, rcx, r8, r9] = arguments;
    for (number, value) in [
        (RDI, rdi),
        (RSI, rsi),
        (RDX, rdx),
        (RCX, rcx),
        (R8, r8),
        (R9, r9),
        // The return address is put there.
        (RSP, context.stack - 8),
    ] {
        context.registers[number] = value;
    }
    context.rip = entry;
    context.rflags = FLAGS_CLEAR;
    context.hopped_gs_base = 0;
    context.xsave.fill(0);
    context.xsave[MXCSR..MXCSR + 4].copy_from_slice(&MXCSR_INIT.to_le_bytes());
}

/// Takes out of a context what this CPU or user mode would not take in. `xcr0`: the state
/// components that are on here.
pub(crate) fn adapt(context: &mut wormhole_carrier, xcr0: u64) {
    context.rflags = (context.rflags & FLAGS) | FLAGS_CLEAR;
    let header: [u8; 8] = context.xsave[XSTATE_BV..XCOMP_BV]
        .try_into()
        .unwrap_or_default();
    let present = u64::from_le_bytes(header) & xcr0 & COMPONENTS;
    context.xsave[XSTATE_BV..XCOMP_BV].copy_from_slice(&present.to_le_bytes());
    // The rest of the header is zero in the standard format.
    context.xsave[XCOMP_BV..XSTATE_BV + 64].fill(0);
}

// The frame on the thread's stack, from RSP that is kept above the carrier's stack: MXCSR, x87
// control word, GS base. FS base is the thread's own in either.
global_asm!(
    ".pushsection .text.wormhole_delegate, \"ax\", @progbits",
    ".p2align 4",
    ".hidden wormhole_delegate_go_on",
    ".globl wormhole_delegate_go_on",
    ".type wormhole_delegate_go_on, @function",
    "wormhole_delegate_go_on:",
    "   push rbp",
    "   push rbx",
    "   push r12",
    "   push r13",
    "   push r14",
    "   push r15",
    "   sub rsp, 24",
    "   stmxcsr [rsp]",
    "   fnstcw [rsp + 4]",
    "   rdgsbase rax",
    "   mov [rsp + 8], rax",
    "   mov rax, [rdi + {stack}]",
    "   mov [rax], rsp",
    "   mov eax, {components}",
    "   xor edx, edx",
    "   xrstor64 [rdi + {xsave}]",
    "   mov rax, [rdi + {gs_base}]",
    "   wrgsbase rax",
    "   mov eax, ss",
    "   push rax",
    "   push qword ptr [rdi + {registers} + 4 * 8]",
    "   push qword ptr [rdi + {rflags}]",
    "   mov eax, cs",
    "   push rax",
    "   push qword ptr [rdi + {rip}]",
    "   mov rax, [rdi + {registers}]",
    "   mov rcx, [rdi + {registers} + 1 * 8]",
    "   mov rdx, [rdi + {registers} + 2 * 8]",
    "   mov rbx, [rdi + {registers} + 3 * 8]",
    "   mov rbp, [rdi + {registers} + 5 * 8]",
    "   mov rsi, [rdi + {registers} + 6 * 8]",
    "   mov r8, [rdi + {registers} + 8 * 8]",
    "   mov r9, [rdi + {registers} + 9 * 8]",
    "   mov r10, [rdi + {registers} + 10 * 8]",
    "   mov r11, [rdi + {registers} + 11 * 8]",
    "   mov r12, [rdi + {registers} + 12 * 8]",
    "   mov r13, [rdi + {registers} + 13 * 8]",
    "   mov r14, [rdi + {registers} + 14 * 8]",
    "   mov r15, [rdi + {registers} + 15 * 8]",
    "   mov rdi, [rdi + {registers} + 7 * 8]",
    "   iretq",
    // The gate page jumps here when the function has returned: RSP is the carrier's stack as it
    // was before the call.
    ".p2align 4",
    ".hidden wormhole_delegate_completed",
    ".globl wormhole_delegate_completed",
    "wormhole_delegate_completed:",
    "   mov rsp, [rsp]",
    "   cld",
    "   mov rcx, [rsp + 8]",
    "   wrgsbase rcx",
    "   fninit",
    "   fldcw [rsp + 4]",
    "   ldmxcsr [rsp]",
    "   add rsp, 24",
    "   pop r15",
    "   pop r14",
    "   pop r13",
    "   pop r12",
    "   pop rbx",
    "   pop rbp",
    "   ret",
    ".popsection",
    stack = const offset_of!(wormhole_carrier, stack),
    registers = const offset_of!(wormhole_carrier, registers),
    rip = const offset_of!(wormhole_carrier, rip),
    rflags = const offset_of!(wormhole_carrier, rflags),
    gs_base = const offset_of!(wormhole_carrier, hopped_gs_base),
    xsave = const offset_of!(wormhole_carrier, xsave),
    components = const COMPONENTS,
);

extern "C" {
    fn wormhole_delegate_go_on(context: *const wormhole_carrier) -> u64;
    // Not a function: a place.
    static wormhole_delegate_completed: u8;
}

/// The server's gate page.
pub(crate) fn gate_page() -> [u8; PAGE_SIZE] {
    gate::server_page((&raw const wormhole_delegate_completed) as u64)
}

/// Puts the return address of a call that [`begin`] made onto its stack.
///
/// # Safety
/// The context's stack must be one that nobody uses.
pub(crate) unsafe fn push_return(context: &wormhole_carrier) {
    let place = context.registers[RSP] as *mut u64;
    // SAFETY: the caller vouches for the stack; it is 16-aligned.
    unsafe { place.write(uapi::WORMHOLE_GATE_ADDRESS + gate::CALL_RETURN) };
}

/// Goes on with a call on this thread, until the function returns; gives its result.
///
/// # Safety
/// - The context must be [`adapt`]ed, and the registers in it those of the server's function as it
///   was stopped or is to begin, on the context's stack, which nobody else uses.
/// - [`ABOVE_STACK`] bytes above that stack are for this function.
/// - The server's gate page must be in place.
pub(crate) unsafe fn go_on(context: *const wormhole_carrier) -> u64 {
    // SAFETY: the assembly keeps what the ABI says, and the caller the rest.
    unsafe { wormhole_delegate_go_on(context) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> wormhole_carrier {
        let mut context = carrier();
        context.rip = uapi::WORMHOLE_GATE_ADDRESS + offset;
        context.registers = std::array::from_fn(|number| number as u64);
        context
    }

    fn carrier() -> wormhole_carrier {
        // SAFETY: integers, for which zero is a value.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn places() {
        assert_eq!(place(&at(gate::LANDING - 1)), Place::Function);
        assert_eq!(place(&at(gate::END)), Place::Function);
        let mut elsewhere = at(0);
        elsewhere.rip = 0x1000;
        assert_eq!(place(&elsewhere), Place::Function);
        for offset in [0x223, 0x22c, 0x259, 0x271, 0x289] {
            assert_eq!(place(&at(offset)), Place::Landing([7, 6, 2, 10, 8, 9]));
        }
        for offset in [0x25c, 0x261, 0x266, 0x26e] {
            assert_eq!(place(&at(offset)), Place::Landing([7, 6, 11, 10, 8, 9]));
        }
        assert_eq!(place(&at(0x291)), Place::Trap);
        for offset in [0x28f, 0x2c1] {
            assert_eq!(place(&at(offset)), Place::Leaving(0));
        }
        for offset in [0x2c4, 0x2ec, 0x2fd] {
            assert_eq!(place(&at(offset)), Place::Leaving(7));
        }
    }

    #[test]
    fn what_the_cpu_would_refuse_is_taken_out() {
        let mut context = carrier();
        context.rflags = u64::MAX;
        context.xsave.fill(0xff);
        adapt(&mut context, 0x207);
        assert_eq!(context.rflags, FLAGS | 2);
        assert_eq!(context.rflags & (1 << 8), 0, "TF");
        let mut header = [0; 64];
        header[0] = 7;
        assert_eq!(context.xsave[512..576], header);
        assert_eq!(context.xsave[511], 0xff);
        assert_eq!(context.xsave[576], 0xff);
    }
}
