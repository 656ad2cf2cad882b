// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guests execute. It is assembly because there is no operating system and no runtime in them, and because
//! the tests are about single instructions and registers. All of it is position-independent; it is copied into guest
//! memory, and never executed where it lies in this program.

use core::arch::global_asm;

use wormhole_uapi as uapi;

use crate::layout::*;

// One stub of 16 bytes for each vector. The test reads the registers and the frame on the stack while the guest is in
// the OUT; if it goes on, the guest returns to where it was.
global_asm!(
    ".pushsection .rodata.guest, \"a\"",
    ".p2align 4",
    "guest_kernel:",
    ".set guest_vector, 0",
    ".rept 256",
    "   .p2align 4",
    "   out {port_vector}, al",
    "   .if (guest_vector == 8) || ((guest_vector >= 10) && (guest_vector <= 14)) || (guest_vector == 17) || (guest_vector == 21)",
    "       add rsp, 8",
    "   .endif",
    "   .if (guest_vector >= 0x30) && (guest_vector < 0x80)",
    "       jmp guest_end_of_interrupt",
    "   .else",
    "       iretq",
    "   .endif",
    "   .set guest_vector, guest_vector + 1",
    ".endr",
    "guest_end_of_interrupt:",
    "   push rax",
    "   push rcx",
    "   push rdx",
    "   mov ecx, 0x80b", // x2APIC EOI
    "   xor eax, eax",
    "   xor edx, edx",
    "   wrmsr",
    "   pop rdx",
    "   pop rcx",
    "   pop rax",
    "   iretq",
    "guest_kernel_hypercall:",
    "   vmcall",
    "   out {port_hypercall}, al",
    "   ud2",
    "guest_iretq:",
    "   iretq",
    "guest_syscall:",
    "   out {port_syscall}, al",
    "   ud2",
    // counts an interrupt of a device, and those that came elsewhere than in the process's own code
    "guest_count_device:",
    "   push rax",
    "   push rcx",
    "   push rdx",
    "   lock inc qword ptr [{counts}]",
    "   jmp 2f",
    // the same for the timer, and starts it again
    "guest_count_timer:",
    "   push rax",
    "   push rcx",
    "   push rdx",
    "   lock inc qword ptr [{counts} + 8]",
    "   mov ecx, 0x838", // x2APIC initial count
    "   mov eax, [{counts} + 0x18]",
    "   xor edx, edx",
    "   wrmsr",
    "2: mov rax, [rsp + 24]", // RIP
    "   mov rcx, rax",
    "   shr rax, 12",
    "   cmp rax, {user_page}",
    "   je 3f",
    "   mov rdx, {gate_page}",
    "   cmp rax, rdx",
    "   je 3f",
    "   mov [{counts} + 0x20], rcx",
    "   lock inc qword ptr [{counts} + 0x10]",
    "3: mov ecx, 0x80b",
    "   xor eax, eax",
    "   xor edx, edx",
    "   wrmsr",
    "   pop rdx",
    "   pop rcx",
    "   pop rax",
    "   iretq",
    // (table): LIDT
    "guest_kernel_lidt:",
    "   lidt [rdi]",
    "   out {port_hypercall}, al",
    "   ud2",
    "guest_kernel_cr3:",
    "   mov cr3, rdi",
    "   out {port_hypercall}, al",
    "   ud2",
    // R11 is CR3, R12 the address to go on at; all other registers are those there
    "guest_cr3_jump:",
    "   mov cr3, r11",
    "   jmp r12",
    "guest_cr3_iretq:",
    "   mov cr3, r11",
    "   iretq",
    // VMX: each leaves with AL 0 if the instruction has succeeded
    "guest_vmxon:",
    "   vmxon [rdi]",
    "   setbe al",
    "   out {port_hypercall}, al",
    "   ud2",
    "guest_vmclear:",
    "   vmclear [rdi]",
    "   setbe al",
    "   out {port_hypercall}, al",
    "   ud2",
    "guest_vmptrld:",
    "   vmptrld [rdi]",
    "   setbe al",
    "   out {port_hypercall}, al",
    "   ud2",
    // (field, value)
    "guest_vmwrite:",
    "   vmwrite rdi, rsi",
    "   setbe al",
    "   out {port_hypercall}, al",
    "   ud2",
    // (field): its value in RSI
    "guest_vmread:",
    "   vmread rsi, rdi",
    "   setbe al",
    "   out {port_hypercall}, al",
    "   ud2",
    // all registers are the nested guest's, which is left to the next line
    "guest_vmlaunch:",
    "   vmlaunch",
    "   ud2",
    "guest_nested_exit:",
    "   out {port_hypercall}, al",
    "   ud2",
    // (count): interrupts the first vCPU so often, each time when the one before has been counted
    "guest_send_interrupts:",
    "   mov ebx, 1",
    "   mov esi, 1",
    "2: mov ecx, 0x830", // x2APIC interrupt command: fixed, to APIC ID 0
    "   mov eax, {device}",
    "   xor edx, edx",
    "   wrmsr",
    "3: pause",
    "   cmp [{counts}], rbx",
    "   jb 3b",
    "   imul rsi, rsi, 0x41c64e6d",
    "   add rsi, 12345",
    "   mov rax, rsi",
    "   shr rax, 16",
    "   and eax, 0x7ff",
    "4: dec eax",
    "   jns 4b",
    "   inc rbx",
    "   dec rdi",
    "   jnz 2b",
    "   out {port_hypercall}, al",
    "   ud2",
    "guest_kernel_end:",
    ".popsection",
    port_vector = const PORT_VECTOR,
    port_hypercall = const PORT_HYPERCALL,
    port_syscall = const PORT_SYSCALL,
    counts = const COUNTS,
    device = const DEVICE,
    user_page = const USER_CODE / PAGE,
    gate_page = const GATE / PAGE,
);

// The client's process. RSP is FRAME throughout, and is the only register that is counted on across a call.
global_asm!(
    ".pushsection .rodata.guest, \"a\"",
    "guest_user:",
    // calls until none are left, and adds the results up
    "guest_calls:",
    "   mov rdi, [rsp + {arguments}]",
    "   mov rsi, [rsp + {arguments} + 8]",
    "   mov rdx, [rsp + {arguments} + 16]",
    "   mov r10, [rsp + {arguments} + 24]",
    "   mov r8, [rsp + {arguments} + 32]",
    "   mov r9, [rsp + {arguments} + 40]",
    "   movabs rax, {enter}",
    "   jmp rax",
    "guest_calls_home:",
    "   add [rsp + {sum}], rdi",
    "   dec qword ptr [rsp + {left}]",
    "   jnz guest_calls",
    "   int {done}",
    "   ud2",
    // one call came home
    "guest_home:",
    "   int {at_home}",
    "   ud2",
    // goes on with a call that was interrupted, reports all else
    "guest_pad:",
    "   inc qword ptr [rsp + {pads} + rax * 8]",
    "   cmp rax, {interrupted}",
    "   jne 2f",
    "   mov eax, {resume}",
    "   vmcall",
    "   int {after_hypercall}",
    "   ud2",
    "2: int {at_pad}",
    "   ud2",
    // asks for the call's result until there is one, or no such call; then calls again
    "guest_pad_of_hops:",
    "   mov rbx, rdi",
    "2: mov eax, {resume}",
    "   mov rdi, rbx",
    "   vmcall",
    "   cmp rax, {again}",
    "   je 2b",
    "   movabs rax, {enter}",
    "   jmp rax",
    // counts
    "guest_spin:",
    "   inc qword ptr [rsp]",
    "   jmp guest_spin",
    // exits, and nothing else
    "guest_exits:",
    "   xor eax, eax",
    "   cpuid",
    "   jmp guest_exits",
    "guest_user_hypercall:",
    "   vmcall",
    "   int {after_hypercall}",
    "   ud2",
    "guest_vmfunc:",
    "   vmfunc",
    "   int {after_vmfunc}",
    "   ud2",
    "guest_user_read:",
    "   mov rax, [rdi]",
    "   int {after_hypercall}",
    "   ud2",
    "guest_user_write:",
    "   mov [rdi], rsi",
    "   int {after_hypercall}",
    "   ud2",
    "guest_user_end:",
    // parts of the client's gate page
    "guest_gate_enter:",
    "   xor eax, eax",
    "   mov ecx, 1",
    "   vmfunc",
    "guest_gate_enter_end:",
    ".popsection",
    arguments = const FRAME_ARGUMENTS,
    sum = const FRAME_SUM,
    left = const FRAME_LEFT,
    pads = const FRAME_PADS,
    enter = const ENTER,
    interrupted = const uapi::WORMHOLE_PAD_INTERRUPTED,
    resume = const uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_RESUME,
    again = const -libc::EAGAIN,
    done = const DONE,
    at_home = const AT_HOME,
    at_pad = const AT_PAD,
    after_hypercall = const AFTER_HYPERCALL,
    after_vmfunc = const AFTER_VMFUNC,
);

// The server's functions, as the System V ABI has them.
global_asm!(
    ".pushsection .rodata.guest, \"a\"",
    // registers that a hop must keep; the rest is the function's
    ".macro guest_kept",
    "   movabs rbx, {kept} + 3",
    "   movabs rbp, {kept} + 5",
    "   movabs r12, {kept} + 12",
    "   movabs r13, {kept} + 13",
    "   movabs r14, {kept} + 14",
    "   movabs r15, {kept} + 15",
    "   movq xmm5, r15",
    ".endm",
    "guest_server:",
    // (n): returns n
    "guest_null:",
    "   mov rax, rdi",
    "   ret",
    // (counter, n): increments *counter, returns it + n
    "guest_counter:",
    "   mov rax, [rdi]",
    "   inc rax",
    "   mov [rdi], rax",
    "   add rax, rsi",
    "   ret",
    // returns its six arguments as decimal digits
    "guest_digits:",
    "   imul rax, rdi, 10",
    "   add rax, rsi",
    "   imul rax, rax, 10",
    "   add rax, rdx",
    "   imul rax, rax, 10",
    "   add rax, rcx",
    "   imul rax, rax, 10",
    "   add rax, r8",
    "   imul rax, rax, 10",
    "   add rax, r9",
    "   ret",
    // (buffer, words): their sum
    "guest_checksum:",
    "   xor eax, eax",
    "2: add rax, [rdi]",
    "   add rdi, 8",
    "   dec rsi",
    "   jnz 2b",
    "   ret",
    // (word, n): counts in word[1] until *word is not zero, returns that + n
    "guest_loop_until:",
    "   push rsi",
    "   movabs rbx, {kept}",
    "   movq xmm9, rbx",
    "2: inc qword ptr [rdi + 8]",
    "   mov rax, [rdi]",
    "   test rax, rax",
    "   jz 2b",
    // whatever interrupted it has left its registers alone
    "   movq rcx, xmm9",
    "   cmp rbx, rcx",
    "   jne 3f",
    "   pop rsi",
    "   add rax, rsi",
    "   ret",
    "3: xor eax, eax",
    "   pop rsi",
    "   ret",
    // (counters, n): counts calls, and in counters[1] those that began on a stack that another was using; returns 3 * n
    "guest_exclusive:",
    "   mov rcx, rsp",
    "   and rcx, -4096",
    "   mov eax, 1",
    "   xchg [rcx], rax",
    "   lock add [rdi + 8], rax",
    "   lock inc qword ptr [rdi]",
    "   mov edx, 1000",
    "2: dec edx",
    "   jnz 2b",
    "   mov qword ptr [rcx], 0",
    "   lea rax, [rsi + rsi * 2]",
    "   ret",
    "guest_syscall_inside:",
    "   guest_kept",
    "   mov eax, 39",
    "guest_syscall_inside_at:",
    "   syscall",
    "   ret",
    // (address): reads it
    "guest_read:",
    "   guest_kept",
    "guest_read_at:",
    "   mov rax, [rdi]",
    "   ret",
    // (address, value)
    "guest_write:",
    "   guest_kept",
    "guest_write_at:",
    "   mov [rdi], rsi",
    "   ret",
    "guest_cpuid_inside:",
    "   guest_kept",
    "   xor eax, eax",
    "   xor ecx, ecx",
    "guest_cpuid_inside_at:",
    "   cpuid",
    "   ret",
    "guest_ud2_inside:",
    "   guest_kept",
    "guest_ud2_inside_at:",
    "   ud2",
    // what hops home, each at its NAME_at
    "guest_divide:",
    "   guest_kept",
    "   xor eax, eax",
    "   xor ecx, ecx",
    "   xor edx, edx",
    "guest_divide_at:",
    "   div ecx",
    "   ret",
    "guest_int3:",
    "   guest_kept",
    "guest_int3_at:",
    "   int3",
    "   ret",
    "guest_int80:",
    "   guest_kept",
    "guest_int80_at:",
    "   int 0x80",
    "   ret",
    "guest_int1:",
    "   guest_kept",
    "guest_int1_at:",
    "   .byte 0xf1",
    "   ret",
    "guest_hlt:",
    "   guest_kept",
    "guest_hlt_at:",
    "   hlt",
    "   ret",
    "guest_in:",
    "   guest_kept",
    "guest_in_at:",
    "   in al, 0x80",
    "   ret",
    "guest_out:",
    "   guest_kept",
    "guest_out_at:",
    "   out 0x80, al",
    "   ret",
    "guest_rdtsc:",
    "   guest_kept",
    "guest_rdtsc_at:",
    "   rdtsc",
    "   ret",
    "guest_rdmsr:",
    "   guest_kept",
    "   mov ecx, 0x10",
    "guest_rdmsr_at:",
    "   rdmsr",
    "   ret",
    "guest_vmcall_inside:",
    "   guest_kept",
    "   mov eax, {info}",
    "guest_vmcall_inside_at:",
    "   vmcall",
    "   ret",
    "guest_sidt:",
    "   guest_kept",
    "guest_sidt_at:",
    "   sidt [rdi]",
    "   ret",
    "guest_sysenter:",
    "   guest_kept",
    "   movq xmm9, rbx",
    "guest_sysenter_at:",
    "   sysenter",
    "   ret",
    // #AC: a word that is not aligned
    "guest_misaligned:",
    "   guest_kept",
    "   pushfq",
    "   or dword ptr [rsp], 0x40000",
    "   popfq",
    "guest_misaligned_at:",
    "   mov rax, [rdi + 1]",
    "   pushfq",
    "   and dword ptr [rsp], 0xfffbffff",
    "   popfq",
    "   ret",
    // #MF
    "guest_x87:",
    "   guest_kept",
    "   fninit",
    "   push 0x33b", // all masked but that of division by zero
    "   fldcw [rsp]",
    "   pop rax",
    "   fld1",
    "   fldz",
    "   fdivp",
    "guest_x87_at:",
    "   fwait",
    "   ret",
    // #XM
    "guest_sse:",
    "   guest_kept",
    "   push 0x1d80",
    "   ldmxcsr [rsp]",
    "   pop rax",
    "   mov eax, 1",
    "   cvtsi2sd xmm0, eax",
    "   xorps xmm1, xmm1",
    "guest_sse_at:",
    "   divsd xmm0, xmm1",
    "   ret",
    // #DB behind the first instruction that TF is set for
    "guest_single_step:",
    "   guest_kept",
    "   pushfq",
    "   or dword ptr [rsp], 0x100",
    "   popfq",
    "   nop",
    "guest_single_step_at:",
    "   pushfq",
    "   and dword ptr [rsp], 0xfffffeff",
    "   popfq",
    "   ret",
    "guest_pause:",
    "   mov ecx, 100000",
    "2: pause",
    "   dec ecx",
    "   jnz 2b",
    "   mov eax, 4711",
    "   ret",
    // (address): goes there
    "guest_jump:",
    "   guest_kept",
    "   jmp rdi",
    // (data): stores all registers there, and leaves its own marks in them
    "guest_registers:",
    "   mov [rdi], rax",
    "   mov [rdi + 8], rcx",
    "   mov [rdi + 16], rdx",
    "   mov [rdi + 24], rbx",
    "   mov [rdi + 32], rsp",
    "   mov [rdi + 40], rbp",
    "   mov [rdi + 48], rsi",
    "   mov [rdi + 56], rdi",
    "   mov [rdi + 64], r8",
    "   mov [rdi + 72], r9",
    "   mov [rdi + 80], r10",
    "   mov [rdi + 88], r11",
    "   mov [rdi + 96], r12",
    "   mov [rdi + 104], r13",
    "   mov [rdi + 112], r14",
    "   mov [rdi + 120], r15",
    "   pushfq",
    "   pop qword ptr [rdi + 128]",
    "   rdfsbase rax",
    "   mov [rdi + 136], rax",
    "   rdgsbase rax",
    "   mov [rdi + 144], rax",
    "   mov eax, -1",
    "   mov edx, -1",
    "   xsave64 [rdi + {seen_xsave}]",
    "   xrstor64 [rdi + {left_xsave}]",
    "   movabs rcx, {kept} + 1",
    "   movabs rdx, {kept} + 2",
    "   movabs rbx, {kept} + 3",
    "   movabs rbp, {kept} + 5",
    "   movabs rsi, {kept} + 6",
    "   movabs rdi, {kept} + 7",
    "   movabs r8, {kept} + 8",
    "   movabs r9, {kept} + 9",
    "   movabs r10, {kept} + 10",
    "   movabs r11, {kept} + 11",
    "   movabs r12, {kept} + 12",
    "   movabs r13, {kept} + 13",
    "   movabs r14, {kept} + 14",
    "   movabs r15, {kept} + 15",
    "   mov eax, 4711",
    "   ret",
    "guest_server_end:",
    ".purgem guest_kept",
    ".popsection",
    kept = const KEPT,
    info = const uapi::WORMHOLE_HYPERCALL | uapi::WORMHOLE_HC_INFO,
    seen_xsave = const SEEN_XSAVE,
    left_xsave = const LEFT_XSAVE,
);

/// A register's number is added to it in server functions that mark theirs.
pub const KEPT: u64 = 0x5e5e_5e5e_0000_0000;
/// Offsets in the data of `guest_registers`.
pub const SEEN_XSAVE: u64 = 0x1000;
pub const LEFT_XSAVE: u64 = 0x2000;

/// For each name a function that returns the address of the code of that name in the guest, which has all code from
/// `$start` to `$end` at `$base`, and for `$bytes` that code.
macro_rules! code {
    ($bytes:ident: $start:ident .. $end:ident at $base:expr; $($name:ident)*) => {
        pub fn $bytes() -> &'static [u8] {
            extern "C" {
                static $start: u8;
                static $end: u8;
            }
            let start = &raw const $start;
            let length = (&raw const $end).addr() - start.addr();
            // SAFETY: The assembler put the two symbols around read-only data.
            unsafe { core::slice::from_raw_parts(start, length) }
        }
        $(pub fn $name() -> u64 {
            extern "C" {
                static $start: u8;
                static $name: u8;
            }
            $base + ((&raw const $name).addr() - (&raw const $start).addr()) as u64
        })*
    };
}

code!(kernel: guest_kernel .. guest_kernel_end at KERNEL_BASE + KERNEL_CODE;
    guest_kernel_hypercall guest_iretq guest_syscall guest_count_device guest_count_timer guest_kernel_lidt
    guest_kernel_cr3 guest_cr3_jump guest_cr3_iretq guest_vmxon guest_vmclear guest_vmptrld guest_vmwrite guest_vmread guest_vmlaunch guest_nested_exit
    guest_send_interrupts);
code!(user: guest_user .. guest_user_end at USER_CODE;
    guest_calls guest_calls_home guest_home guest_pad guest_pad_of_hops guest_spin guest_exits guest_user_hypercall guest_vmfunc
    guest_user_read guest_user_write);
code!(gate_enter: guest_gate_enter .. guest_gate_enter_end at 0;);
code!(server: guest_server .. guest_server_end at SERVER_CODE;
    guest_null guest_counter guest_digits guest_checksum guest_loop_until guest_exclusive guest_syscall_inside guest_syscall_inside_at
    guest_read guest_read_at guest_write guest_write_at guest_cpuid_inside guest_cpuid_inside_at
    guest_ud2_inside guest_ud2_inside_at guest_jump guest_registers
    guest_divide guest_divide_at
    guest_int3 guest_int3_at
    guest_int80 guest_int80_at
    guest_int1 guest_int1_at
    guest_hlt guest_hlt_at
    guest_in guest_in_at
    guest_out guest_out_at
    guest_rdtsc guest_rdtsc_at
    guest_rdmsr guest_rdmsr_at
    guest_vmcall_inside guest_vmcall_inside_at
    guest_sidt guest_sidt_at
    guest_sysenter
    guest_misaligned guest_misaligned_at
    guest_x87 guest_x87_at
    guest_sse guest_sse_at
    guest_single_step guest_single_step_at
    guest_pause);

/// VMFUNC's bytes.
pub const VMFUNC: [u8; 3] = [0x0f, 0x01, 0xd4];
pub const INT3: u8 = 0xcc;

/// An indirect jump to `target` that changes no register.
pub fn jump(target: u64) -> [u8; 14] {
    let mut bytes = [0xff, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[6..].copy_from_slice(&target.to_le_bytes());
    bytes
}
