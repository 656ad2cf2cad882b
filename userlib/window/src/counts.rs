// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a channel's counts lie, which say how the requests of each function went: words of 8
//! bytes, little-endian, a row of them for each function. A word has one writer, either the
//! client's process or the server's.

use wormhole_uapi::{
    WORMHOLE_HOP_CLIENT, WORMHOLE_HOP_EXCEPTION, WORMHOLE_HOP_INSTRUCTION, WORMHOLE_HOP_MEMORY,
    WORMHOLE_HOP_SYSCALL,
};

use crate::Layout;

/// Byte offset of the counts from the start of their channel: behind the page with its words.
pub const COUNTS_OFFSET: u64 = 4096;
/// Bytes that they have.
pub const COUNTS_SIZE: usize = 16 << 10;
/// Functions with numbers below this are counted apart, the others together.
pub const COUNTED_FUNCTIONS: usize = COUNTS_SIZE / ROW - 1;

const WORD: usize = size_of::<u64>();
const ROW: usize = WORD * Count::ALL.len();

/// What is counted of a function's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exitless: calls, and flushes whose last request it was. The client's, as the next three.
    Delegated,
    /// Of these, those that hopped home.
    Hopped,
    /// Posted into batches.
    Posted,
    /// By ring.
    Home,
    /// Requests during which the call hopped, by cause (`WORMHOLE_HOP_*`). The server's, as the
    /// next four.
    Exception,
    SystemCall,
    Memory,
    Instruction,
    Client,
}

impl Count {
    /// All, in the order of their words.
    pub const ALL: [Count; 9] = [
        Count::Delegated,
        Count::Hopped,
        Count::Posted,
        Count::Home,
        Count::Exception,
        Count::SystemCall,
        Count::Memory,
        Count::Instruction,
        Count::Client,
    ];
    /// Those of causes.
    pub const CAUSES: [Count; 5] = [
        Count::Exception,
        Count::SystemCall,
        Count::Memory,
        Count::Instruction,
        Count::Client,
    ];

    /// That of a cause, `WORMHOLE_HOP_*`.
    pub const fn of_cause(cause: u32) -> Option<Count> {
        match cause {
            WORMHOLE_HOP_EXCEPTION => Some(Count::Exception),
            WORMHOLE_HOP_SYSCALL => Some(Count::SystemCall),
            WORMHOLE_HOP_MEMORY => Some(Count::Memory),
            WORMHOLE_HOP_INSTRUCTION => Some(Count::Instruction),
            WORMHOLE_HOP_CLIENT => Some(Count::Client),
            _ => None,
        }
    }

    /// As it is called where people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Count::Delegated => "delegated",
            Count::Hopped => "hopped",
            Count::Posted => "posted",
            Count::Home => "home",
            Count::Exception => "exception",
            Count::SystemCall => "system-call",
            Count::Memory => "memory",
            Count::Instruction => "instruction",
            Count::Client => "client",
        }
    }

    /// Byte offset, from the start of the counts, of the word for a function.
    #[inline]
    pub const fn offset(self, function: u16) -> usize {
        let row = if (function as usize) < COUNTED_FUNCTIONS {
            function as usize
        } else {
            COUNTED_FUNCTIONS
        };
        row * ROW + self as usize * WORD
    }
}

/// How the requests of a function went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionCounts([u64; Count::ALL.len()]);

impl FunctionCounts {
    /// Takes each number from where it is.
    pub fn read(get: impl FnMut(Count) -> u64) -> Self {
        FunctionCounts(Count::ALL.map(get))
    }

    /// The rows of counts that were copied: those of the functions by their numbers, and last that
    /// of all others.
    pub fn rows(bytes: &[u8; COUNTS_SIZE]) -> impl Iterator<Item = FunctionCounts> + '_ {
        bytes
            .chunks_exact(ROW)
            .take(COUNTED_FUNCTIONS + 1)
            .map(|row| {
                FunctionCounts::read(|count| {
                    let mut word = [0; WORD];
                    word.copy_from_slice(&row[count as usize * WORD..][..WORD]);
                    u64::from_le_bytes(word)
                })
            })
    }

    pub const fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// Whether there was any.
    pub fn is_zero(&self) -> bool {
        *self == FunctionCounts::default()
    }

    /// Both together, as far as a number can be. They may be anything.
    pub fn saturating_add(self, other: FunctionCounts) -> FunctionCounts {
        FunctionCounts::read(|count| self.get(count).saturating_add(other.get(count)))
    }
}

impl Layout {
    /// Byte offset of a channel's counts in the window.
    pub const fn counts_offset(self, channel: u32) -> Option<u64> {
        match self.channel_offset(channel) {
            // A channel has WORMHOLE_CHANNEL_MIN_SIZE at least.
            Some(base) => Some(base + COUNTS_OFFSET),
            None => None,
        }
    }
}

const _: () = assert!(
    COUNTS_OFFSET + COUNTS_SIZE as u64 <= wormhole_uapi::WORMHOLE_CHANNEL_MIN_SIZE as u64,
    "the counts fit into every channel"
);
