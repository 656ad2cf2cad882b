// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guests execute that the benchmark times: loops between two RDTSC, at [`BENCH_CODE`].
//!
//! All of them take: RBX where the times go (before, after), R12 how often. They end with INT DONE.

use core::arch::global_asm;

use wormhole_uapi as uapi;

use crate::layout::*;
use crate::pair::{CARRIER, SESSION};

pub const BENCH_CODE: u64 = 0x6_0000;
/// The two times, then the sum of the results, and then what [`bench_carrier`] looks at.
pub const BENCH_DATA: u64 = 0x6_1000;
pub const BENCH_STACK_TOP: u64 = 0x6_4000;
pub const SUM: u64 = BENCH_DATA + 0x10;
/// How many calls the carrier's thread has finished.
pub const FINISHED: u64 = BENCH_DATA + 0x80;
/// Not zero: it is to stop.
pub const STOP: u64 = BENCH_DATA + 0xc0;
/// How often a call was stopped and had to be resumed.
pub const PADS: u64 = BENCH_DATA + 0x140;
/// Not zero: who waits leaves to the test by INT [`YIELD`] for others to run.
pub const YIELDS: u64 = BENCH_DATA + 0x100;
pub const YIELD: u8 = 0x85;

global_asm!(
    ".pushsection .rodata.guest, \"a\"",
    ".macro bench_time offset",
    "   lfence",
    "   rdtsc",
    "   shl rdx, 32",
    "   or rax, rdx",
    "   mov [rbx + \\offset], rax",
    ".endm",
    "bench_start:",
    // nothing: what the loop and the times themselves take
    "bench_empty:",
    "   bench_time 0",
    "2: dec r12",
    "   jnz 2b",
    "   bench_time 8",
    "   int {done}",
    // as a program calls a function of the library: call(1, 2, 3, 4, 5, 6), and adds the results up
    "bench_calls:",
    "   xor ebp, ebp",
    "   bench_time 0",
    "2: mov edi, 1",
    "   mov esi, 2",
    "   mov edx, 3",
    "   mov ecx, 4",
    "   mov r8d, 5",
    "   mov r9d, 6",
    "   call bench_call",
    "   add rbp, rax",
    "   dec r12",
    "   jnz 2b",
    "   bench_time 8",
    "   mov [rbx + 0x10], rbp",
    "   int {done}",
    // u64 call(u64, u64, u64, u64, u64, u64) of the System V ABI: keeps RBX, RBP, R12 to R15, and the control words of x87
    // and SSE
    "bench_call:",
    "   push rbx",
    "   push rbp",
    "   push r12",
    "   push r13",
    "   push r14",
    "   push r15",
    "   sub rsp, 8",
    "   stmxcsr [rsp]",
    "   fnstcw [rsp + 4]",
    "   mov r10, rcx",
    "   movabs rax, {enter}",
    "   jmp rax",
    "bench_home:",
    "   mov rax, rdi",
    "   fldcw [rsp + 4]",
    "   ldmxcsr [rsp]",
    "   add rsp, 8",
    "   pop r15",
    "   pop r14",
    "   pop r13",
    "   pop r12",
    "   pop rbp",
    "   pop rbx",
    "   ret",
    // Asks until it has the result: RESUME comes back here with an error number, or to PAD.
    "bench_pad:",
    "   cmp eax, {result}",
    "   je bench_home",
    "   cmp eax, {hopped}",
    "   ja 3f",
    "   inc qword ptr [{pads}]",
    "2: mov eax, {resume}",
    "   vmcall",
    "   cmp rax, -11", // EAGAIN
    "   jne 3f",
    "   pause",
    "   cmp qword ptr [{yields}], 0",
    "   je 2b",
    "   int {yield}",
    "   jmp 2b",
    "3: int {at_pad}",
    // the hypercall RAX
    "bench_hypercalls:",
    "   mov r13, rax",
    "   bench_time 0",
    "2: mov rax, r13",
    "   vmcall",
    "   dec r12",
    "   jnz 2b",
    "   mov [rbx + 0x10], rax",
    "   bench_time 8",
    "   int {done}",
    "bench_cpuid:",
    "   mov rsi, rbx",
    "   lfence",
    "   rdtsc",
    "   shl rdx, 32",
    "   or rax, rdx",
    "   mov [rsi], rax",
    "2: xor eax, eax",
    "   xor ecx, ecx",
    "   cpuid",
    "   dec r12",
    "   jnz 2b",
    "   mov rbx, rsi",
    "   bench_time 8",
    "   int {done}",
    "bench_rdtsc:",
    "   bench_time 0",
    "2: rdtsc",
    "   dec r12",
    "   jnz 2b",
    "   bench_time 8",
    "   int {done}",
    // the server's kernel: ends all calls of the carrier that hop home at once, with the result 42
    "bench_carrier:",
    "   mov ebx, {carrier_page}",
    "   mov ebp, {data}",
    "2: cmp qword ptr [rbp + 0xc0], 0",
    "   jne 3f",
    "   pause",
    "   cmp dword ptr [rbx], {state_hopped}",
    "   je 4f",
    "   cmp qword ptr [rbp + 0x100], 0",
    "   je 2b",
    "   int {yield}",
    "   jmp 2b",
    "4:",
    "   mov dword ptr [rbx], {state_parked}",
    "   mov eax, {ret}",
    "   mov edi, {session}",
    "   mov esi, {carrier}",
    "   mov edx, 42",
    "   vmcall",
    "   test rax, rax",
    "   jnz 3f",
    "   inc qword ptr [rbp + 0x80]",
    "   jmp 2b",
    "3: int {done}",
    "bench_end:",
    ".purgem bench_time",
    ".popsection",
    done = const DONE,
    at_pad = const AT_PAD,
    enter = const ENTER,
    result = const uapi::WORMHOLE_PAD_RESULT,
    hopped = const uapi::WORMHOLE_PAD_HOPPED,
    resume = const uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RESUME,
    ret = const uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RETURN,
    session = const SESSION,
    carrier = const CARRIER,
    carrier_page = const CARRIERS + CARRIER * PAGE,
    data = const BENCH_DATA,
    pads = const PADS,
    yields = const YIELDS,
    yield = const YIELD,
    state_hopped = const uapi::WORMHOLE_CARRIER_HOPPED,
    state_parked = const uapi::WORMHOLE_CARRIER_PARKED,
);

code!(bench: bench_start .. bench_end at BENCH_CODE;
    bench_empty bench_calls bench_home bench_pad bench_hypercalls bench_cpuid bench_rdtsc bench_carrier);
