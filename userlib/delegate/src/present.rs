// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which pages of the process are in memory, read without allocating.

use std::ops::{ControlFlow, Range};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::range::PAGE;

/// Bytes of a page's entry in /proc/self/pagemap.
const ENTRY: usize = 8;
/// Pages that are asked about at once.
const PAGES: usize = 512;
/// The entry's bit that says so.
const PRESENT: u64 = 1 << 63;

/// The file that tells.
pub(crate) struct Present(OwnedFd);

impl Present {
    pub(crate) fn open() -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(c"/proc/self/pagemap", flags, Mode::empty()).map(Present)
    }

    /// Goes through the runs of such pages in `range`, whole pages, lowest first.
    pub(crate) fn each(
        &self,
        range: Range<usize>,
        mut each: impl FnMut(Range<usize>) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let mut entries = [0u8; PAGES * ENTRY];
        let mut run = Runs::new(range.start);
        let mut at = range.start;
        while at < range.end {
            let wanted = ((range.end - at) / PAGE).clamp(1, PAGES) * ENTRY;
            let offset = (at / PAGE * ENTRY) as u64;
            let length = match rustix::io::pread(&self.0, &mut entries[..wanted], offset) {
                Ok(length) if length >= ENTRY => length,
                // The end of user memory.
                Ok(_) => break,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            for entry in entries[..length].chunks_exact(ENTRY) {
                let present = entry.try_into().map_or(0, u64::from_ne_bytes) & PRESENT != 0;
                if let Some(run) = run.page(present) {
                    if each(run).is_break() {
                        return Ok(());
                    }
                }
                at += PAGE;
            }
        }
        if let Some(run) = run.page(false) {
            let _ = each(run);
        }
        Ok(())
    }
}

/// Runs of pages, from pages one after the other.
struct Runs {
    start: usize,
    end: usize,
}

impl Runs {
    fn new(at: usize) -> Self {
        Runs { start: at, end: at }
    }

    /// The next page; gives a run that ended before it.
    fn page(&mut self, present: bool) -> Option<Range<usize>> {
        if present {
            self.end += PAGE;
            return None;
        }
        let run = self.start..self.end;
        self.end += PAGE;
        self.start = self.end;
        (!run.is_empty()).then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Pages;

    #[test]
    fn pages_that_were_touched() {
        let memory = Pages::new(1200 * PAGE, 0).unwrap();
        let start = memory.start().addr();
        // Such a large mapping may get huge pages.
        // SAFETY: advice.
        unsafe { libc::madvise(memory.start().cast(), memory.len(), libc::MADV_NOHUGEPAGE) };
        for page in [0, 1, 7, 511, 512, 1023, 1199] {
            // SAFETY: within the memory, which is this test's.
            unsafe { memory.start().add(page * PAGE).write(1) };
        }
        let mut runs = Vec::new();
        let present = Present::open().unwrap();
        present
            .each(start..start + memory.len(), |run| {
                runs.push(((run.start - start) / PAGE, run.len() / PAGE));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(runs, [(0, 2), (7, 1), (511, 2), (1023, 1), (1199, 1)]);
        let mut first = None;
        present
            .each(start..start + memory.len(), |run| {
                assert!(first.is_none());
                first = Some(run);
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(first, Some(start..start + 2 * PAGE));
    }
}
