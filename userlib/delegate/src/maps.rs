// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The process's mappings, read without allocating.

use std::ops::{ControlFlow, Range};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::server::Rights;

/// A line of /proc/self/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) range: Range<usize>,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
    pub(crate) shared: bool,
    /// Of a file, not memory alone, nor the kernel's ([vdso]).
    pub(crate) file: bool,
    /// [vdso] and its like.
    pub(crate) special: bool,
}

impl Mapping {
    /// What it can be registered for. What is both writable and executable cannot be executable.
    pub(crate) fn rights(&self) -> Option<Rights> {
        match (self.read, self.write, self.execute) {
            (_, true, _) => Some(Rights::READ_WRITE),
            (_, false, true) => Some(Rights::READ_EXECUTE),
            (true, false, false) => Some(Rights::READ),
            (false, false, false) => None,
        }
    }

    /// Parses a line, or the start of one that reaches into its last column.
    fn parse(line: &[u8]) -> Option<Mapping> {
        let line = line.trim_ascii_end();
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let (range, rights) = (fields.next()?, fields.next()?);
        // offset, device, inode
        let inode = fields.nth(2)?;
        let path = fields.next().unwrap_or(b"").trim_ascii_start();
        let dash = range.iter().position(|byte| *byte == b'-')?;
        let hexadecimal = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let right = |at: usize, letter: u8| rights.get(at) == Some(&letter);
        let special = matches!(path.first(), Some(b'['))
            && !matches!(path, b"[heap]" | b"[stack]")
            && !path.starts_with(b"[anon");
        Some(Mapping {
            range: hexadecimal(&range[..dash])?..hexadecimal(&range[dash + 1..])?,
            read: right(0, b'r'),
            write: right(1, b'w'),
            execute: right(2, b'x'),
            shared: right(3, b's'),
            file: inode != b"0",
            special,
        })
    }
}

/// Lines from pieces of text; what is too long of a line is left out.
struct Lines {
    line: [u8; 120],
    length: usize,
}

impl Lines {
    fn new() -> Self {
        Lines {
            line: [0; 120],
            length: 0,
        }
    }

    fn feed(
        &mut self,
        text: &[u8],
        each: &mut impl FnMut(Mapping) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for byte in text {
            if *byte == b'\n' {
                let mapping = Mapping::parse(&self.line[..self.length]);
                self.length = 0;
                if let Some(mapping) = mapping {
                    each(mapping)?;
                }
            } else if let Some(place) = self.line.get_mut(self.length) {
                *place = *byte;
                self.length += 1;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Goes through the process's mappings, lowest first.
pub(crate) fn each(mut each: impl FnMut(Mapping) -> ControlFlow<()>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(c"/proc/self/maps", flags, Mode::empty())?;
    let mut lines = Lines::new();
    let mut text = [0u8; 2048];
    loop {
        let length = match rustix::io::read(&file, &mut text[..]) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        if lines.feed(&text[..length], &mut each).is_break() {
            return Ok(());
        }
    }
}

/// The mapping that an address is in.
pub(crate) fn find(address: usize) -> Result<Option<Mapping>, Errno> {
    let mut found = None;
    each(|mapping| {
        if mapping.range.contains(&address) {
            found = Some(mapping);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55d0c0a00000-55d0c0a02000 r--p 00000000 08:01 1234567                    /usr/bin/a b
55d0c0a02000-55d0c0a07000 r-xp 00002000 08:01 1234567                    /usr/bin/a b
55d0c1c00000-55d0c1c21000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000021000 rw-p 00000000 00:00 0
7f0000021000-7f0004000000 ---p 00000000 00:00 0
7f1000000000-7f1000100000 rw-s 00000000 00:05 77                         /dev/wormhole_guest0
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    fn parse(pieces: usize) -> Vec<Mapping> {
        let mut mappings = Vec::new();
        let mut lines = Lines::new();
        for piece in TEXT.as_bytes().chunks(pieces) {
            let flow = lines.feed(piece, &mut |mapping| {
                mappings.push(mapping);
                ControlFlow::Continue(())
            });
            assert!(flow.is_continue());
        }
        mappings
    }

    #[test]
    fn lines_in_pieces() {
        let mappings = parse(usize::MAX);
        assert_eq!(mappings.len(), 8);
        for pieces in 1..100 {
            assert_eq!(parse(pieces), mappings);
        }
        assert_eq!(mappings[1].range, 0x55d0_c0a0_2000..0x55d0_c0a0_7000);
        let rights: Vec<_> = mappings.iter().map(Mapping::rights).collect();
        assert_eq!(
            rights,
            [
                Some(Rights::READ),
                Some(Rights::READ_EXECUTE),
                Some(Rights::READ_WRITE),
                Some(Rights::READ_WRITE),
                None,
                Some(Rights::READ_WRITE),
                Some(Rights::READ_EXECUTE),
                Some(Rights::READ_EXECUTE),
            ]
        );
        let bits = |of: fn(&Mapping) -> bool| mappings.iter().map(of).collect::<Vec<_>>();
        let (f, t) = (false, true);
        assert_eq!(bits(|m| m.file), [t, t, f, f, f, t, f, f]);
        assert_eq!(bits(|m| m.special), [f, f, f, f, f, f, t, t]);
        assert_eq!(bits(|m| m.shared), [f, f, f, f, f, t, f, f]);
    }

    #[test]
    fn own_mappings() {
        let code = find(own_mappings as fn() as usize).unwrap().unwrap();
        assert_eq!(code.rights(), Some(Rights::READ_EXECUTE));
        let local = 0u8;
        let stack = find((&raw const local).addr()).unwrap().unwrap();
        assert_eq!(stack.rights(), Some(Rights::READ_WRITE));
        assert_eq!(find(1).unwrap(), None);
    }

    #[test]
    fn rubbish_is_no_mapping() {
        for line in [
            "",
            "a",
            "1-2",
            "1-2 r--p",
            "x-y r--p 0 0:0 0 ",
            "12 r--p 0 0:0 0 ",
        ] {
            assert_eq!(Mapping::parse(line.as_bytes()), None, "{line}");
        }
    }
}
