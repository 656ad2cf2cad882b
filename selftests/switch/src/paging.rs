// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest's page tables.

use crate::layout::{KERNEL_BASE, PAGE, PML4, TABLES_END};
use crate::memory::Memory;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;
const LEAF: u64 = PRESENT | WRITABLE | ACCESSED | DIRTY;
const LARGE_SIZE: u64 = 2 << 20;

/// Four levels. All that is mapped can be written and executed.
pub struct Tables {
    next: u64,
}

impl Tables {
    /// Maps all memory at 0 for everybody and at [`KERNEL_BASE`] for the kernel.
    pub fn new(memory: &Memory) -> Self {
        let mut tables = Self { next: PML4 + PAGE };
        for gpa in (0..memory.size()).step_by(LARGE_SIZE as usize) {
            for (address, rights) in [(gpa, USER), (KERNEL_BASE + gpa, 0)] {
                let entry = tables.entry(memory, address, 1);
                memory.set(entry, gpa | LEAF | LARGE | rights);
            }
        }
        tables
    }

    /// Maps one page for everybody.
    pub fn map(&mut self, memory: &Memory, address: u64, gpa: u64) {
        let entry = self.entry(memory, address, 0);
        memory.set(entry, gpa | LEAF | USER);
    }

    /// Where the entry is that maps `address` at `level` (0: 4 KiB, 1: 2 MiB).
    fn entry(&mut self, memory: &Memory, address: u64, level: u32) -> u64 {
        let mut table = PML4;
        for upper in (level..4).rev() {
            let entry = table + ((address >> (12 + 9 * upper)) & 0x1ff) * 8;
            if upper == level {
                return entry;
            }
            if memory.get(entry) & PRESENT == 0 {
                assert!(self.next < TABLES_END, "too many page tables");
                memory.set(entry, self.next | TABLE);
                self.next += PAGE;
            }
            table = memory.get(entry) & ADDRESS;
        }
        unreachable!("levels go down to 0");
    }
}
