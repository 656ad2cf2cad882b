// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What kernels print. The vendor's library writes it to the standard output of this process,
//! which is this client's alone, and so it becomes a file that is read for the client.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{fallocate, fcntl_setfl, memfd_create, FallocateFlags, MemfdFlags, OFlags};

/// Bytes that go with one reply at most.
const MAX: usize = 64 << 10;

/// What a kernel must call to print.
const CALL: &[u8] = b"printf";

/// Of the SPIR-V specification, 2.3 and 3.32.1, and that of OpenCL's extended instructions, 2.7.
mod spirv {
    /// Words before the first instruction, which begins with its length and what it does.
    pub const HEADER: usize = 5;
    /// Calls a function of a library.
    pub const EXT_INST: u32 = 12;
    /// Which one: at this word.
    pub const CALLED: usize = 4;
    /// `printf`.
    pub const PRINTF: u32 = 184;
}

/// What was printed and not handed over.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    file: Option<File>,
    /// Bytes that were handed over.
    seen: u64,
    /// Whether there is a program that prints. Looking takes system calls.
    expected: bool,
}

/// Makes standard output of this process a file in memory.
///
/// # Errors
/// The kernel's.
pub fn capture() -> io::Result<File> {
    let file = memfd_create("printed", MemfdFlags::CLOEXEC)?;
    // The vendor's threads write at once, and a memfd has no lock for its position.
    fcntl_setfl(&file, OFlags::APPEND)?;
    rustix::stdio::dup2_stdout(&file)?;
    Ok(file.into())
}

impl Printed {
    pub(crate) fn capture_in(&mut self, file: File) {
        self.file = Some(file);
    }

    /// Takes note of the source or the binary of a program.
    pub(crate) fn program(&mut self, code: &[u8]) {
        self.expected |= code.windows(CALL.len()).any(|part| part == CALL);
    }

    /// As [`program`](Printed::program), of a program in SPIR-V, which calls by number.
    pub(crate) fn program_il(&mut self, code: &[u8]) {
        let words = code.chunks_exact(size_of::<u32>());
        let words: Vec<u32> = words
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let mut rest = words.get(spirv::HEADER..).unwrap_or_default();
        while let Some(first) = rest.first() {
            let (len, operation) = (first >> 16, first & 0xffff);
            self.expected |=
                operation == spirv::EXT_INST && rest.get(spirv::CALLED) == Some(&spirv::PRINTF);
            rest = rest.get((len as usize).max(1)..).unwrap_or_default();
        }
    }

    /// Whether there may be something.
    pub(crate) fn is_expected(&self) -> bool {
        self.expected
    }

    /// What was printed since.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let Some(file) = self.file.as_ref().filter(|_| self.expected) else {
            return Vec::new();
        };
        let mut text = vec![0; MAX];
        let len = file.read_at(&mut text, self.seen).unwrap_or_else(|error| {
            log::warn!("cannot read what kernels printed: {error}");
            0
        });
        text.truncate(len);
        if len > 0 {
            // It need not be kept. Failing does no harm but to memory.
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(file, hole, self.seen, len as u64);
            self.seen += len as u64;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_program_that_prints_is_found() {
        let il = |called: u32| {
            let header = [0x0723_0203, 0x1_0000, 0, 9, 0];
            let capability = [0x2_0011, 6];
            let call = [0x6_000c, 1, 2, 3, called, 4];
            let words = header.into_iter().chain(capability).chain(call);
            let code: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
            let mut printed = Printed::default();
            printed.program_il(&code);
            printed.expected
        };
        assert!(il(184));
        assert!(!il(183));
        let mut printed = Printed::default();
        for odd in [&[][..], &[1; 19], &[0; 40], &[0xff; 41]] {
            printed.program_il(odd);
        }
        assert!(!printed.expected);
    }

    #[test]
    fn what_is_printed_is_taken_once_and_in_order() {
        let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        let mut printed = Printed::default();
        printed.capture_in(file.try_clone().unwrap());
        (&file).write_all(b"early ").unwrap();
        assert_eq!(printed.take(), b"", "no program prints");
        printed.program(b"kernel void f() { printf(\"x\"); }");
        assert_eq!(printed.take(), b"early ");
        assert_eq!(printed.take(), b"");
        let long = vec![b'x'; MAX + 1];
        (&file).write_all(&long).unwrap();
        assert_eq!(printed.take().len(), MAX);
        assert_eq!(printed.take(), b"x");
    }
}
