// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The text form of a page of code.

use crate::gate;
use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter, SymbolResolver, SymbolResult,
};
use std::fmt::Write;

/// Guest-linear address of the page of code.
pub const ADDRESS: u64 = gate::REGION + gate::PAGE;

pub type Image = [u8; gate::PAGE_SIZE];

/// The instruction that starts at `offset` of the page, as a CPU in 64-bit mode takes it.
pub fn decode(image: &Image, offset: u64) -> Instruction {
    let bytes = &image[offset as usize..];
    Decoder::with_ip(64, bytes, ADDRESS + offset, DecoderOptions::NONE).decode()
}

struct Names;

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        _: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let carrier = |field| gate::CARRIER + field;
        let slot = |field| gate::SLOT + field;
        let name = match address.checked_sub(gate::REGION)? {
            offset if offset == slot(gate::SLOT_RSP) => "slot.rsp",
            offset if offset == slot(gate::SLOT_FS_BASE) => "slot.fs_base",
            offset if offset == slot(gate::SLOT_GS_BASE) => "slot.gs_base",
            offset if offset == slot(gate::SLOT_CALLS) => "slot.calls",
            offset if offset == gate::LIST + 8 * u64::from(gate::VIEW_SERVER) => "list.server",
            offset if offset == carrier(gate::CARRIER_STACK) => "carrier.stack",
            offset if offset == carrier(gate::CARRIER_FS_BASE) => "carrier.fs_base",
            offset if offset == carrier(gate::CARRIER_ENTRY) => "carrier.entry",
            offset if offset == carrier(gate::CARRIER_XSAVE) => "carrier.xsave",
            _ => return None,
        };
        Some(SymbolResult::with_str(address, name))
    }
}

/// One line an instruction; a line of dots for each run of INT3.
pub fn listing(image: &Image) -> String {
    const INT3: u8 = 0xcc;

    let mut formatter = NasmFormatter::with_options(Some(Box::new(Names)), None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_space_after_operand_separator(true);

    let mut text = String::new();
    let mut offset = 0;
    while let Some(&byte) = image.get(offset) {
        if byte == INT3 {
            text.push_str("...\n");
            while image.get(offset) == Some(&INT3) {
                offset += 1;
            }
            continue;
        }

        // Branch targets as offsets, so without the page's address.
        let mut instruction = decode(image, offset as u64);
        if instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near() {
            instruction.set_near_branch64(instruction.near_branch64() - ADDRESS);
        }
        let end = offset + instruction.len();
        let bytes: Vec<_> = image[offset..end]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut mnemonic = String::new();
        formatter.format(&instruction, &mut mnemonic);
        writeln!(text, "{offset:03x}  {:<26}  {mnemonic}", bytes.join(" ")).expect("a String");
        offset = end;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The literal blocks that a document has after a line "NAME::".
    fn literal_block(document: &str, name: &str) -> String {
        let start = format!("\n{name}::\n\n");
        let (_, rest) = document.split_once(&start).expect("the block");
        rest.lines()
            .map_while(|line| line.strip_prefix("    "))
            .flat_map(|line| [line, "\n"])
            .collect()
    }

    #[test]
    fn documentation_has_the_listings() {
        let document = include_str!("../../../Documentation/gate.rst");

        assert_eq!(
            literal_block(document, "The page in the gate view"),
            listing(&gate::gate_image())
        );
        assert_eq!(
            literal_block(document, "The page in the server view"),
            listing(&gate::server_image())
        );
    }

    #[test]
    fn numbers_are_those_of_the_abi() {
        let header = include_str!("../../../include/uapi/linux/wormhole_hypercall.h");
        let value = |name: &str| {
            let text = header
                .lines()
                .filter_map(|line| line.strip_prefix("#define "))
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
                .expect(name);
            let digits = text.trim_start_matches("0x").trim_end_matches("ULL");
            u64::from_str_radix(digits, 16).expect(name)
        };

        assert_eq!(value("WORMHOLE_GATE_REGION"), gate::REGION);
        assert_eq!(value("WORMHOLE_GATE_ADDRESS"), ADDRESS);
        assert_eq!(value("WORMHOLE_GATE_ENTER"), gate::ENTER);
        assert_eq!(value("WORMHOLE_GATE_HOME"), gate::HOME);
        assert_eq!(value("WORMHOLE_GATE_PAD"), gate::PAD);
    }

    /// Outside 64-bit mode linear addresses have 32 bits (SDM vol. 3, 3.3).
    #[test]
    fn region_is_beyond_32_bits_in_the_lower_half() {
        let gib = gate::REGION >> 30;
        assert!((4..1 << 17).contains(&gib), "{gib}");
        assert_ne!(gate::REGION >> 39, 0);
        assert_eq!(gate::REGION % (1 << 30), 0);
    }

    /// As the client's page must have it, by the ABI.
    #[test]
    fn call_starts_behind_the_clients_vmfunc() {
        let enter = [
            0x31, 0xc0, 0xb9, 1, 0, 0, 0, // xor eax, eax; mov ecx, 1
            0x0f, 0x01, 0xd4, // vmfunc
        ];
        assert_eq!(gate::ENTER + enter.len() as u64, gate::E_START);
    }
}
