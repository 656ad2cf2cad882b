// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things are in the guests. Both VMs have the same layout; some of it only one of them uses.

use wormhole_uapi as uapi;

pub const PAGE: u64 = 4096;
pub const MEMORY_SIZE: u64 = 4 << 20;
/// Guest-physical memory is mapped here for the kernel, and at 0 for everybody.
pub const KERNEL_BASE: u64 = 0xffff_8000_0000_0000;

// Guest-physical addresses.
pub const PML4: u64 = 0x1000;
pub const TABLES_END: u64 = 0x2_0000;
pub const GDT: u64 = 0x2_0000;
pub const TSS: u64 = 0x2_0100;
pub const IDT: u64 = 0x2_1000;
pub const KERNEL_STACK_TOP: u64 = 0x2_4000;
/// What the IRETQ to CPL 3 takes.
pub const IRET_FRAME: u64 = 0x2_4000;
pub const KERNEL_CODE: u64 = 0x2_5000;
pub const USER_CODE: u64 = 0x3_0000;
/// The client's `guest_calls` has its variables here; below is its stack.
pub const FRAME: u64 = 0x3_2800;
/// The client's gate page, and the one before it.
pub const BEFORE_GATE_PAGE: u64 = 0x3_4000;
pub const GATE_PAGE: u64 = 0x3_5000;
/// For the server's hypercalls.
pub const MAPPINGS: u64 = 0x4_0000;
pub const CARRIERS: u64 = 0x4_1000;
/// Another process of the client: the same tables below.
pub const PML4_COPY: u64 = 0x4_8000;
pub const SPARE: u64 = 0x5_0000;
/// Interrupts: of the device, of the timer, those that came at a wrong place; then the timer's count, and the last
/// wrong place.
pub const COUNTS: u64 = 0x5_8000;
pub const SERVER_CODE_PAGE: u64 = 0x10_0000;
pub const SERVER_DATA_PAGES: u64 = 0x11_0000;
pub const SERVER_STACK_PAGES: u64 = 0x12_0000;
pub const SERVER_READ_ONLY_PAGE: u64 = 0x13_0000;

// Addresses of the server's process. Nothing is there in the page tables of its VM: only what is registered counts.
pub const SERVER_CODE: u64 = 0x5555_5555_4000;
pub const SERVER_DATA: u64 = 0x7000_0001_0000;
pub const SERVER_DATA_COUNT: u64 = 4;
pub const SERVER_READ_ONLY: u64 = 0x7000_0002_0000;
pub const SERVER_UNREGISTERED: u64 = 0x7000_0003_0000;
pub const SERVER_STACK: u64 = 0x7fff_ffff_0000;
pub const SERVER_STACK_COUNT: u64 = 2;

pub const GATE: u64 = uapi::WORMHOLE_GATE_ADDRESS;
pub const ENTER: u64 = GATE + uapi::WORMHOLE_GATE_ENTER as u64;
pub const HOME: u64 = GATE + uapi::WORMHOLE_GATE_HOME as u64;
pub const PAD: u64 = GATE + uapi::WORMHOLE_GATE_PAD as u64;

// Offsets in FRAME.
pub const FRAME_LEFT: u64 = 0;
pub const FRAME_SUM: u64 = 8;
pub const FRAME_ARGUMENTS: u64 = 0x10;
/// How often the client was at PAD, by RAX there.
pub const FRAME_PADS: u64 = 0x40;

// Selectors.
pub const KERNEL_CS: u16 = 0x08;
pub const KERNEL_SS: u16 = 0x10;
pub const USER_SS: u16 = 0x1b;
pub const USER_CS: u16 = 0x23;
pub const TR: u16 = 0x28;

// Ports that guest code leaves to the test by: none of those that KVM keeps to itself.
pub const PORT_HYPERCALL: u8 = 0xe0;
pub const PORT_SYSCALL: u8 = 0xe1;
pub const PORT_VECTOR: u8 = 0xe2;

// Interrupt vectors.
pub const DEVICE: u8 = 0x40;
pub const TIMER: u8 = 0x41;
/// INT instructions that user code leaves to the test by.
pub const DONE: u8 = 0x80;
pub const AT_PAD: u8 = 0x81;
pub const AFTER_HYPERCALL: u8 = 0x82;
pub const AT_HOME: u8 = 0x83;
pub const AFTER_VMFUNC: u8 = 0x84;
