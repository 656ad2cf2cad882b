// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of the gate page, of either process. Pure.

use std::hint::black_box;

use wormhole_uapi as uapi;

pub(crate) const PAGE_SIZE: usize = 4096;

/// Where a client's call starts, in the page.
pub(crate) const ENTER: usize = uapi::WORMHOLE_GATE_ENTER as usize;
/// Where it comes home.
pub(crate) const HOME: usize = uapi::WORMHOLE_GATE_HOME as usize;
/// Where the host puts a client that it stopped.
pub(crate) const PAD: usize = uapi::WORMHOLE_GATE_PAD as usize;

// The host's page in the server view, `rust/wormhole/gate.rs`: where a call can have hopped from.
/// The first byte there.
pub(crate) const LANDING: u64 = 0x223;
/// In between, the third argument is in R11 instead of RDX.
pub(crate) const THIRD_IN_R11: core::ops::Range<u64> = 0x25c..0x271;
/// What the server's function returns to.
pub(crate) const CALL_RETURN: u64 = 0x28f;
/// Where clients are sent that came with the wrong privileges.
pub(crate) const TRAP: u64 = 0x291;
/// From here on the result is in RDI instead of RAX.
pub(crate) const RESULT_IN_RDI: u64 = 0x2c4;
/// The byte after the last.
pub(crate) const END: u64 = 0x300;

const INT3: u8 = 0xcc;
/// VMFUNC, inverted: bytes of it in the code of this program would keep a page of it out of the
/// server view.
const NOT_VMFUNC: [u8; 3] = [!0x0f, !0x01, !0xd4];

/// An indirect jump that changes no register: `jmp [rip]`, and the target behind it.
fn jump(target: u64) -> [u8; 14] {
    let mut bytes = [0xff, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[6..].copy_from_slice(&target.to_le_bytes());
    bytes
}

fn put(page: &mut [u8; PAGE_SIZE], offset: usize, bytes: &[u8]) {
    page[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A client's page; `home` and `pad` are addresses.
pub(crate) fn client_page(home: u64, pad: u64) -> [u8; PAGE_SIZE] {
    let mut page = [INT3; PAGE_SIZE];
    // xor eax, eax; mov ecx, 1
    put(&mut page, ENTER, &[0x31, 0xc0, 0xb9, 1, 0, 0, 0]);
    put(
        &mut page,
        ENTER + 7,
        &black_box(NOT_VMFUNC).map(|byte| !byte),
    );
    put(&mut page, HOME, &jump(home));
    put(&mut page, PAD, &jump(pad));
    page
}

/// A server's page; `completed` is the address that a function returns to which was finished
/// natively.
pub(crate) fn server_page(completed: u64) -> [u8; PAGE_SIZE] {
    let mut page = [INT3; PAGE_SIZE];
    put(&mut page, CALL_RETURN as usize, &jump(completed));
    page
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Register};

    use super::*;

    const HOME_CODE: u64 = 0x1122_3344_5566_7788;
    const PAD_CODE: u64 = 0x8877_6655_4433_2211;

    fn decode(page: &[u8; PAGE_SIZE], offset: usize) -> Instruction {
        let ip = uapi::WORMHOLE_GATE_ADDRESS + offset as u64;
        Decoder::with_ip(64, &page[offset..], ip, DecoderOptions::NONE).decode()
    }

    /// Checks a jump at `offset`, returns the offset after it and its target.
    fn check_jump(page: &[u8; PAGE_SIZE], offset: usize, target: u64) -> usize {
        let jump = decode(page, offset);
        assert_eq!(jump.code(), Code::Jmp_rm64);
        let pointer = (jump.ip_rel_memory_address() - uapi::WORMHOLE_GATE_ADDRESS) as usize;
        assert_eq!(pointer, offset + jump.len());
        assert_eq!(page[pointer..pointer + 8], target.to_le_bytes());
        pointer + 8
    }

    fn all_int3(bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| *byte == INT3)
    }

    #[test]
    fn client_page_is_the_three_places_and_traps() {
        let page = client_page(HOME_CODE, PAD_CODE);
        let zero = decode(&page, ENTER);
        assert_eq!(zero.code(), Code::Xor_rm32_r32);
        assert_eq!(
            (zero.op0_register(), zero.op1_register()),
            (Register::EAX, Register::EAX)
        );
        let one = decode(&page, ENTER + 2);
        assert_eq!(one.code(), Code::Mov_r32_imm32);
        assert_eq!((one.op0_register(), one.immediate32()), (Register::ECX, 1));
        let vmfunc = decode(&page, ENTER + 7);
        assert_eq!(vmfunc.code(), Code::Vmfunc);
        // Where the gate view begins.
        assert_eq!(ENTER + 7 + vmfunc.len(), 0x1da);
        let after_home = check_jump(&page, HOME, HOME_CODE);
        let after_pad = check_jump(&page, PAD, PAD_CODE);
        assert!(all_int3(&page[..ENTER]));
        assert!(all_int3(&page[0x1da..HOME]));
        assert!(all_int3(&page[after_home..PAD]));
        assert!(all_int3(&page[after_pad..]));
    }

    #[test]
    fn server_page_is_the_return_and_traps() {
        let page = server_page(HOME_CODE);
        let after = check_jump(&page, CALL_RETURN as usize, HOME_CODE);
        assert!(all_int3(&page[..CALL_RETURN as usize]));
        assert!(all_int3(&page[after..]));
    }

    /// The host's listing has the offsets that are repeated here.
    #[test]
    fn offsets_are_those_of_the_host() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Documentation/gate.rst");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, server) = text.split_once("The page in the server view::").unwrap();
        for (offset, instruction) in [
            (LANDING, "mov ecx, cs"),
            (THIRD_IN_R11.start - 3, "mov r11, rdx"),
            (THIRD_IN_R11.end - 3, "mov rdx, r11"),
            (CALL_RETURN, "jmp 0x2c1"),
            (TRAP, "ud2"),
            (RESULT_IN_RDI - 3, "mov rdi, rax"),
            (END - 3, "vmfunc"),
        ] {
            let line = server
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{offset:x}  ")))
                .unwrap_or_else(|| panic!("{offset:#x} begins an instruction"));
            assert!(line.ends_with(instruction), "{line}");
        }
    }
}
