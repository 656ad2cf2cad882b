// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client's way out and back in.
//!
//! Across a call RSP, FS base and GS base are all that survives. So the stub keeps the rest on the
//! stack, and restores it at HOME and at PAD, before any compiled code runs.

use std::arch::global_asm;
use std::mem::offset_of;

use wormhole_uapi as uapi;

use crate::gate::{self, PAGE_SIZE};

/// Came home with the result.
const KIND_HOME: u64 = 0;
/// RESUME has answered with an error number instead of going on.
const KIND_REFUSED: u64 = 5;

/// A call on its way: what the stub reads and writes.
#[repr(C)]
pub(crate) struct Flight {
    arguments: [u64; 6],
    /// Where to jump to.
    enter: u64,
    /// Code that is a VMCALL, or a test's stand-in for it.
    resume: u64,
    has_pkru: u64,
    kind: u64,
    value: u64,
    token: u64,
}

/// Names a call that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

#[cfg(test)]
pub(crate) fn token(number: u64) -> Token {
    Token(number)
}

/// Where a call has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    /// It has ended with this result.
    Result(u64),
    /// It goes on in the server VM; RESUME has the result when it is there.
    Hopped(Token),
    /// It hopped, and has not ended yet.
    NotYet(Token),
    /// An error number.
    Failed(i32),
}

// The frame on the stack, from RSP at ENTER: MXCSR, x87 control word, Flight, PKRU. It is 24 bytes,
// so RSP is even, as the gate wants it, and 16-aligned.
global_asm!(
    ".pushsection .text.wormhole_delegate, \"ax\", @progbits",
    ".macro wormhole_delegate_save",
    "   push rbp",
    "   push rbx",
    "   push r12",
    "   push r13",
    "   push r14",
    "   push r15",
    "   sub rsp, 24",
    "   stmxcsr [rsp]",
    "   fnstcw [rsp + 4]",
    "   mov [rsp + 8], rdi",
    "   mov qword ptr [rsp + 16], 0",
    "   cmp qword ptr [rdi + {has_pkru}], 0",
    "   je 77f",
    "   xor ecx, ecx",
    "   rdpkru",
    "   mov [rsp + 16], rax",
    "77:",
    ".endm",
    ".p2align 4",
    ".hidden wormhole_delegate_enter",
    ".globl wormhole_delegate_enter",
    ".type wormhole_delegate_enter, @function",
    "wormhole_delegate_enter:",
    "   wormhole_delegate_save",
    "   mov r11, [rdi + {enter}]",
    "   mov rsi, [rdi + {arguments} + 8]",
    "   mov rdx, [rdi + {arguments} + 16]",
    "   mov r10, [rdi + {arguments} + 24]",
    "   mov r8, [rdi + {arguments} + 32]",
    "   mov r9, [rdi + {arguments} + 40]",
    "   mov rdi, [rdi + {arguments}]",
    "   jmp r11",
    ".p2align 4",
    ".hidden wormhole_delegate_resume",
    ".globl wormhole_delegate_resume",
    ".type wormhole_delegate_resume, @function",
    "wormhole_delegate_resume:",
    "   wormhole_delegate_save",
    "   mov rbx, rdi",
    "   mov rdi, [rbx + {token}]",
    "   mov eax, {resume_call}",
    "   jmp [rbx + {resume}]",
    // The stack may be out of PKRU's reach until it is 0.
    ".p2align 4",
    ".hidden wormhole_delegate_home_pkru",
    ".globl wormhole_delegate_home_pkru",
    "wormhole_delegate_home_pkru:",
    "   xor eax, eax",
    "   xor ecx, ecx",
    "   xor edx, edx",
    "   wrpkru",
    ".hidden wormhole_delegate_home",
    ".globl wormhole_delegate_home",
    "wormhole_delegate_home:",
    "   push 2", // DF, AC, TF, NT clear
    "   popfq",
    "   mov rbx, [rsp + 8]",
    "   mov qword ptr [rbx + {kind}], {home}",
    "   mov [rbx + {value}], rdi",
    "   jmp 2f",
    ".p2align 4",
    ".hidden wormhole_delegate_pad_pkru",
    ".globl wormhole_delegate_pad_pkru",
    "wormhole_delegate_pad_pkru:",
    "   mov rsi, rax",
    "   xor eax, eax",
    "   xor ecx, ecx",
    "   xor edx, edx",
    "   wrpkru",
    "   mov rax, rsi",
    ".hidden wormhole_delegate_pad",
    ".globl wormhole_delegate_pad",
    "wormhole_delegate_pad:",
    "   mov rbx, [rsp + 8]",
    "   cmp rax, {interrupted}",
    "   jne 3f",
    "   mov eax, {resume_call}",
    "   jmp [rbx + {resume}]",
    ".p2align 4",
    ".hidden wormhole_delegate_vmcall",
    ".globl wormhole_delegate_vmcall",
    "wormhole_delegate_vmcall:",
    "   vmcall",
    ".hidden wormhole_delegate_refused",
    ".globl wormhole_delegate_refused",
    "wormhole_delegate_refused:",
    "   mov rbx, [rsp + 8]",
    "   mov [rbx + {token}], rdi",
    "   mov qword ptr [rbx + {kind}], {refused}",
    "   mov [rbx + {value}], rax",
    "   jmp 2f",
    "3: mov [rbx + {kind}], rax",
    "   mov [rbx + {value}], rdi",
    "2: fninit",
    "   fldcw [rsp + 4]",
    "   ldmxcsr [rsp]",
    "   cmp qword ptr [rbx + {has_pkru}], 0",
    "   je 4f",
    "   xor ecx, ecx",
    "   xor edx, edx",
    "   mov eax, [rsp + 16]",
    "   wrpkru",
    "4: add rsp, 24",
    "   pop r15",
    "   pop r14",
    "   pop r13",
    "   pop r12",
    "   pop rbx",
    "   pop rbp",
    "   ret",
    ".purgem wormhole_delegate_save",
    ".popsection",
    arguments = const offset_of!(Flight, arguments),
    enter = const offset_of!(Flight, enter),
    resume = const offset_of!(Flight, resume),
    has_pkru = const offset_of!(Flight, has_pkru),
    kind = const offset_of!(Flight, kind),
    value = const offset_of!(Flight, value),
    token = const offset_of!(Flight, token),
    home = const KIND_HOME,
    refused = const KIND_REFUSED,
    interrupted = const uapi::WORMHOLE_PAD_INTERRUPTED,
    resume_call = const uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RESUME,
);

extern "C" {
    fn wormhole_delegate_enter(flight: *mut Flight);
    fn wormhole_delegate_resume(flight: *mut Flight);
    // Not functions: places.
    static wormhole_delegate_home: u8;
    static wormhole_delegate_home_pkru: u8;
    static wormhole_delegate_pad: u8;
    static wormhole_delegate_pad_pkru: u8;
    static wormhole_delegate_vmcall: u8;
}

/// The client's gate page.
pub(crate) fn gate_page(has_pkru: bool) -> [u8; PAGE_SIZE] {
    let (home, pad) = if has_pkru {
        (
            &raw const wormhole_delegate_home_pkru,
            &raw const wormhole_delegate_pad_pkru,
        )
    } else {
        (
            &raw const wormhole_delegate_home,
            &raw const wormhole_delegate_pad,
        )
    };
    gate::client_page(home as u64, pad as u64)
}

impl Flight {
    /// Through the gate of this process.
    pub(crate) fn new(arguments: [u64; 6], has_pkru: bool) -> Self {
        Flight {
            arguments,
            enter: uapi::WORMHOLE_GATE_ADDRESS + gate::ENTER as u64,
            resume: (&raw const wormhole_delegate_vmcall) as u64,
            has_pkru: has_pkru.into(),
            kind: 0,
            value: 0,
            token: 0,
        }
    }

    /// Makes the call.
    ///
    /// # Safety
    /// The gate page must be in place (or a test's stand-in), this process bound to a session, and
    /// the CPU have what [`crate::cpu`] asks for. What the server's function does with the
    /// arguments is the caller's to know.
    pub(crate) unsafe fn enter(&mut self) -> Landed {
        // SAFETY: the stub obeys the C ABI if the caller keeps the promise.
        unsafe { wormhole_delegate_enter(self) };
        self.landed()
    }

    /// Asks after a call that hopped.
    ///
    /// # Safety
    /// As for [`Self::enter`].
    pub(crate) unsafe fn resume(&mut self, token: Token) -> Landed {
        self.token = token.0;
        // SAFETY: as in `enter`.
        unsafe { wormhole_delegate_resume(self) };
        self.landed()
    }

    fn landed(&self) -> Landed {
        const HOPPED: u64 = uapi::WORMHOLE_PAD_HOPPED as u64;
        const RESULT: u64 = uapi::WORMHOLE_PAD_RESULT as u64;
        const ERROR: u64 = uapi::WORMHOLE_PAD_ERROR as u64;
        let error = |number: u64| match i32::try_from(number) {
            Ok(number @ 1..=4095) => Landed::Failed(number),
            _ => Landed::Failed(libc::EPROTO),
        };
        match self.kind {
            KIND_HOME | RESULT => Landed::Result(self.value),
            HOPPED => Landed::Hopped(Token(self.value)),
            ERROR => error(self.value),
            KIND_REFUSED => match error(self.value.wrapping_neg()) {
                Landed::Failed(libc::EAGAIN) => Landed::NotYet(Token(self.token)),
                // The call had begun, and is not to be made again in another way.
                Landed::Failed(libc::ENOENT) => Landed::Failed(libc::ECONNRESET),
                Landed::Failed(libc::EOPNOTSUPP) => Landed::Failed(libc::EPROTO),
                other => other,
            },
            _ => Landed::Failed(libc::EPROTO),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::arch::asm;

    use super::*;

    // Stand-ins for the server's side and the gate. Each leaves rubbish in all registers but RSP, FS
    // base, GS base and those that the ABI gives a meaning.
    global_asm!(
        ".pushsection .text.wormhole_delegate_test, \"ax\", @progbits",
        ".macro wormhole_test_rubbish",
        "   mov rbx, -1",
        "   mov rbp, -2",
        "   mov rsi, -3",
        "   mov r8, -4",
        "   mov r9, -5",
        "   mov r10, -6",
        "   mov r11, -11",
        "   mov r12, -7",
        "   mov r13, -8",
        "   mov r14, -9",
        "   mov r15, -10",
        // rounding of another kind, in both units; a full x87 stack
        "   sub rsp, 16",
        "   mov dword ptr [rsp], 0x7f80",
        "   ldmxcsr [rsp]",
        "   mov word ptr [rsp], 0x0c7f",
        "   fldcw [rsp]",
        "   add rsp, 16",
        "   fld1",
        "   fld1",
        "   std",
        ".endm",
        // the six words as decimal digits, and home
        ".globl wormhole_test_digits",
        "wormhole_test_digits:",
        "   imul rdi, rdi, 10",
        "   add rdi, rsi",
        "   imul rdi, rdi, 10",
        "   add rdi, rdx",
        "   imul rdi, rdi, 10",
        "   add rdi, r10",
        "   imul rdi, rdi, 10",
        "   add rdi, r8",
        "   imul rdi, rdi, 10",
        "   add rdi, r9",
        "   mov rax, rsp",
        "   and eax, 15",
        "   imul rax, rax, 1000000",
        "   add rdi, rax",
        "   wormhole_test_rubbish",
        "   jmp wormhole_delegate_home",
        // home with all memory out of PKRU's reach
        ".globl wormhole_test_pkru",
        "wormhole_test_pkru:",
        "   mov rdi, rdx",
        "   wormhole_test_rubbish",
        "   mov eax, -1",
        "   xor ecx, ecx",
        "   xor edx, edx",
        "   wrpkru",
        "   jmp wormhole_delegate_home_pkru",
        // stopped at once, with a status and a word that are the first two arguments
        ".globl wormhole_test_pad",
        "wormhole_test_pad:",
        "   mov rax, rdi",
        "   mov rdi, rsi",
        "   mov rdx, rax",
        "   wormhole_test_rubbish",
        "   mov rax, rdx",
        "   cld",
        "   jmp wormhole_delegate_pad",
        // RESUME: token 1 comes home with the number of the call, 2 has not ended, 3 is unknown, 4
        // has a result
        ".globl wormhole_test_resume",
        "wormhole_test_resume:",
        "   cmp rdi, 1",
        "   je 2f",
        "   cmp rdi, 2",
        "   je 3f",
        "   cmp rdi, 4",
        "   je 4f",
        "   mov rax, -2",
        "   jmp wormhole_delegate_refused",
        "2: mov edi, eax",
        "   wormhole_test_rubbish",
        "   jmp wormhole_delegate_home",
        "3: mov rax, -11",
        "   jmp wormhole_delegate_refused",
        "4: mov edi, 44",
        "   wormhole_test_rubbish",
        "   mov eax, {result}",
        "   cld",
        "   jmp wormhole_delegate_pad",
        ".purgem wormhole_test_rubbish",
        ".popsection",
        result = const uapi::WORMHOLE_PAD_RESULT,
    );

    extern "C" {
        static wormhole_test_digits: u8;
        static wormhole_test_pkru: u8;
        static wormhole_test_pad: u8;
        static wormhole_test_resume: u8;
    }

    fn flight(arguments: [u64; 6], enter: *const u8) -> Flight {
        Flight {
            enter: enter as u64,
            resume: (&raw const wormhole_test_resume) as u64,
            ..Flight::new(arguments, false)
        }
    }

    #[repr(C)]
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Kept {
        registers: [u64; 6],
        mxcsr: u32,
        x87: u16,
        /// Tag word: empty is 0xffff.
        tags: u16,
        flags: u64,
    }

    /// Calls `function` with marks in all registers that it must keep; gives them as it left them.
    fn observe(function: unsafe extern "C" fn(*mut Flight), flight: &mut Flight) -> Kept {
        let mut kept = Kept::default();
        let mut environment = [0u16; 14];
        // SAFETY: saves and restores what it changes, and obeys the ABI.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "push rdx",
                "push rcx",
                "sub rsp, 16",
                "stmxcsr [rsp + 8]",
                "mov dword ptr [rsp], 0x3f80", // rounds down
                "ldmxcsr [rsp]",
                "mov word ptr [rsp], 0x077f",
                "fldcw [rsp]",
                "mov rbx, 0x11",
                "mov rbp, 0x12",
                "mov r12, 0x13",
                "mov r13, 0x14",
                "mov r14, 0x15",
                "mov r15, 0x16",
                "call rax",
                "mov rcx, [rsp + 16]",
                "mov [rcx], rbx",
                "mov [rcx + 8], rbp",
                "mov [rcx + 16], r12",
                "mov [rcx + 24], r13",
                "mov [rcx + 32], r14",
                "mov [rcx + 40], r15",
                "stmxcsr [rcx + 48]",
                "fnstcw [rcx + 52]",
                "mov rdx, [rsp + 24]",
                "fnstenv [rdx]",
                "pushfq",
                "pop rax",
                "mov [rcx + 56], rax",
                "ldmxcsr [rsp + 8]",
                "fninit",
                "add rsp, 16",
                "pop rcx",
                "pop rdx",
                "pop rbp",
                "pop rbx",
                inout("rax") function as usize => _,
                inout("rdi") &raw mut *flight => _,
                inout("rcx") &raw mut kept => _,
                inout("rdx") environment.as_mut_ptr() => _,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("C"),
            );
        }
        kept.tags = environment[4];
        kept
    }

    fn expected() -> Kept {
        Kept {
            registers: [0x11, 0x12, 0x13, 0x14, 0x15, 0x16],
            mxcsr: 0x3f80,
            x87: 0x077f,
            tags: 0xffff,
            flags: 0,
        }
    }

    fn check_kept(mut kept: Kept) {
        const DF_AC: u64 = (1 << 10) | (1 << 18);
        kept.flags &= DF_AC;
        assert_eq!(kept, expected());
    }

    #[test]
    fn arguments_arrive_and_registers_are_kept() {
        let mut flight = flight([1, 2, 3, 4, 5, 6], &raw const wormhole_test_digits);
        check_kept(observe(wormhole_delegate_enter, &mut flight));
        // The stack is aligned as the stub promises: nothing is added.
        assert_eq!(flight.landed(), Landed::Result(123_456));
    }

    #[test]
    fn pkru_is_kept() {
        if !crate::cpu::has_pkru() {
            eprintln!("this CPU has no PKRU");
            return;
        }
        let mut flight = Flight {
            has_pkru: 1,
            ..flight([1, 2, 3, 4, 5, 6], &raw const wormhole_test_pkru)
        };
        let pkru = || {
            let value: u32;
            // SAFETY: reads a register that is there.
            unsafe {
                asm!("rdpkru", in("ecx") 0, out("eax") value, out("edx") _, options(nomem, nostack))
            };
            value
        };
        let before = pkru();
        check_kept(observe(wormhole_delegate_enter, &mut flight));
        assert_eq!((flight.landed(), pkru()), (Landed::Result(3), before));
    }

    #[test]
    fn what_the_pad_says() {
        let pad = |status: u32, word| {
            let mut flight = flight(
                [status.into(), word, 0, 0, 0, 0],
                &raw const wormhole_test_pad,
            );
            check_kept(observe(wormhole_delegate_enter, &mut flight));
            flight.landed()
        };
        let resume_call = u64::from(uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RESUME);
        assert_eq!(pad(uapi::WORMHOLE_PAD_HOPPED, 9), Landed::Hopped(Token(9)));
        assert_eq!(pad(uapi::WORMHOLE_PAD_RESULT, 77), Landed::Result(77));
        assert_eq!(
            pad(uapi::WORMHOLE_PAD_ERROR, libc::ENOMEM as u64),
            Landed::Failed(libc::ENOMEM)
        );
        assert_eq!(
            pad(uapi::WORMHOLE_PAD_ERROR, 0),
            Landed::Failed(libc::EPROTO)
        );
        assert_eq!(pad(99, 0), Landed::Failed(libc::EPROTO));
        // Goes on at once, by RESUME.
        let interrupted = uapi::WORMHOLE_PAD_INTERRUPTED;
        assert_eq!(pad(interrupted, 1), Landed::Result(resume_call));
        assert_eq!(pad(interrupted, 2), Landed::NotYet(Token(2)));
        assert_eq!(pad(interrupted, 3), Landed::Failed(libc::ECONNRESET));
        assert_eq!(pad(interrupted, 4), Landed::Result(44));
    }

    #[test]
    fn resume_keeps_registers() {
        for (token, result) in [
            (2, Landed::NotYet(Token(2))),
            (3, Landed::Failed(libc::ECONNRESET)),
            (4, Landed::Result(44)),
        ] {
            let mut flight = flight([0; 6], std::ptr::null());
            flight.token = token;
            check_kept(observe(wormhole_delegate_resume, &mut flight));
            assert_eq!(flight.landed(), result);
        }
    }
}
