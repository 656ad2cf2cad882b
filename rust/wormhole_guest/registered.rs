// SPDX-License-Identifier: GPL-2.0

//! Which pages of a process are registered for exitless calls, and whether what is about to be
//! registered is still what the process has there.
//!
//! Pure: no `kernel::` imports, so that `rustc --test registered.rs` runs the tests below.

use core::ops::Range;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Pages of a block: what is registered at once, and one page of `wormhole_mapping`.
pub(crate) const BLOCK_PAGES: usize = 256;
/// Bytes of a block.
pub(crate) const BLOCK: usize = BLOCK_PAGES * PAGE;
/// First address that cannot be registered.
pub(crate) const USER_END: usize = 1 << 47;

/// The block that an address lies in.
pub(crate) fn block_of(address: usize) -> usize {
    address & !(BLOCK - 1)
}

/// The end of that block.
pub(crate) fn block_end(address: usize) -> usize {
    block_of(address).saturating_add(BLOCK)
}

/// Whole pages that cover `range`, as far as they can be registered.
pub(crate) fn pages_over(range: Range<usize>) -> Range<usize> {
    let start = (range.start & !(PAGE - 1)).min(USER_END);
    let end = range
        .end
        .checked_next_multiple_of(PAGE)
        .unwrap_or(USER_END)
        .min(USER_END);
    start..end.max(start)
}

/// What REGISTER is asked for; `None` unless it is whole pages of the lower half.
pub(crate) fn request(address: u64, length: u64) -> Option<Range<usize>> {
    let end = address.checked_add(length)?;
    let (start, end) = (usize::try_from(address).ok()?, usize::try_from(end).ok()?);
    let range = start..end;
    (pages_over(range.clone()) == range).then_some(range)
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// With which rights a page is registered: `WORMHOLE_MAP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights(usize);

impl Rights {
    pub(crate) const READ: usize = 1 << 0;
    pub(crate) const WRITE: usize = 1 << 1;
    pub(crate) const EXECUTE: usize = 1 << 2;
    const ALL: usize = Self::READ | Self::WRITE | Self::EXECUTE;

    /// `None`: unknown bits, nothing at all, both writable and executable, or writable and not
    /// readable.
    pub(crate) fn new(bits: u32) -> Option<Self> {
        let mut bits = usize::try_from(bits).ok()?;
        if bits & !Self::ALL != 0 || bits & Self::WRITE != 0 && bits & Self::EXECUTE != 0 {
            return None;
        }
        if bits & Self::EXECUTE != 0 {
            // Of the host's making: code is read as well.
            bits |= Self::READ;
        }
        (bits & Self::READ != 0).then_some(Self(bits))
    }

    pub(crate) fn bits(self) -> usize {
        self.0
    }

    pub(crate) fn write(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    pub(crate) fn execute(self) -> bool {
        self.0 & Self::EXECUTE != 0
    }
}

/// What is registered at one address: nothing; or with which rights, and the `struct page` that is
/// pinned for that, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot(usize);

impl Slot {
    pub(crate) const EMPTY: Self = Self(0);

    /// `page`: its address, a multiple of 8; or 0.
    pub(crate) fn new(page: usize, rights: Rights) -> Self {
        Self(page & !Rights::ALL | rights.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it has all of `rights`.
    pub(crate) fn allows(self, rights: Rights) -> bool {
        rights.0 & !self.0 == 0
    }

    pub(crate) fn writable(self) -> bool {
        self.0 & Rights::WRITE != 0
    }

    /// The address of the `struct page` that is pinned, or 0.
    pub(crate) fn page(self) -> usize {
        self.0 & !Rights::ALL
    }
}

/// Invalidations of the process's address space against the one registration that may be under
/// way: pages that were looked up before or during an invalidation are not to be registered after
/// it.
#[derive(Default)]
pub(crate) struct Invalidations {
    /// Started and not ended.
    active: usize,
    /// Covers all that were active at the same time as one that still is.
    span: Range<usize>,
    registering: Range<usize>,
    disturbed: bool,
}

impl Invalidations {
    /// Pages of `range` are about to change.
    pub(crate) fn start(&mut self, range: Range<usize>) {
        self.disturbed |= overlap(&range, &self.registering);
        self.span = if self.active == 0 {
            range
        } else {
            self.span.start.min(range.start)..self.span.end.max(range.end)
        };
        self.active = self.active.saturating_add(1);
    }

    /// They have changed.
    pub(crate) fn end(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// The pages of `range` will be looked up. `false`: they are just changing, to be tried again.
    pub(crate) fn begin(&mut self, range: Range<usize>) -> bool {
        self.disturbed = self.active != 0 && overlap(&self.span, &range);
        self.registering = range;
        !self.disturbed
    }

    /// Whether what was looked up since [`Self::begin`] is still what is there.
    pub(crate) fn undisturbed(&self) -> bool {
        !self.disturbed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(range: Range<usize>) -> Range<usize> {
        range.start * PAGE..range.end * PAGE
    }

    #[test]
    fn blocks() {
        assert_eq!(block_of(BLOCK - 1), 0);
        assert_eq!(block_of(BLOCK), BLOCK);
        assert_eq!(block_end(BLOCK), 2 * BLOCK);
        assert_eq!(block_end(usize::MAX), usize::MAX);
        assert_eq!(BLOCK_PAGES * 16, PAGE);
    }

    #[test]
    fn whole_pages() {
        assert_eq!(pages_over(1..2), 0..PAGE);
        assert_eq!(pages_over(PAGE..2 * PAGE), PAGE..2 * PAGE);
        assert_eq!(pages_over(0..usize::MAX), 0..USER_END);
        assert_eq!(pages_over(usize::MAX - 1..usize::MAX), USER_END..USER_END);
    }

    #[test]
    fn requests() {
        let page = PAGE as u64;
        assert_eq!(request(page, page), Some(PAGE..2 * PAGE));
        assert_eq!(request(page, 0), Some(PAGE..PAGE));
        assert_eq!(request(1, page), None);
        assert_eq!(request(page, 1), None);
        assert_eq!(request(u64::MAX & !(page - 1), page), None);
        assert_eq!(
            request(USER_END as u64 - page, page).map(|r| r.end),
            Some(USER_END)
        );
        assert_eq!(request(USER_END as u64, page), None);
        assert_eq!(request(USER_END as u64 - page, 2 * page), None);
    }

    #[test]
    fn rights() {
        assert_eq!(Rights::new(0), None);
        assert_eq!(Rights::new(2), None);
        assert_eq!(Rights::new(6), None);
        assert_eq!(Rights::new(7), None);
        assert_eq!(Rights::new(8), None);
        assert_eq!(Rights::new(4), Rights::new(5));
        assert!(Rights::new(3).is_some_and(|rights| rights.write() && !rights.execute()));
    }

    #[test]
    fn slots() {
        let read = Rights::new(1).unwrap();
        let write = Rights::new(3).unwrap();
        let code = Rights::new(5).unwrap();
        assert!(Slot::EMPTY.is_empty() && !Slot::EMPTY.allows(read));
        let slot = Slot::new(0x1000, write);
        assert!(slot.allows(read) && slot.allows(write) && !slot.allows(code));
        assert!(slot.writable() && slot.page() == 0x1000);
        let slot = Slot::new(0, code);
        assert!(!slot.is_empty() && slot.page() == 0 && slot.allows(read) && !slot.writable());
    }

    #[test]
    fn an_invalidation_during_a_registration() {
        let mut invalidations = Invalidations::default();
        assert!(invalidations.begin(pages(4..8)));
        invalidations.start(pages(8..9));
        invalidations.start(pages(3..4));
        assert!(invalidations.undisturbed());
        invalidations.end();
        invalidations.start(pages(7..8));
        invalidations.end();
        invalidations.end();
        assert!(!invalidations.undisturbed());
        assert!(invalidations.begin(pages(4..8)) && invalidations.undisturbed());
    }

    #[test]
    fn an_invalidation_from_before() {
        let mut invalidations = Invalidations::default();
        invalidations.start(pages(0..1));
        invalidations.start(pages(5..6));
        assert!(!invalidations.begin(pages(5..6)) && !invalidations.undisturbed());
        invalidations.end();
        // Which of them ended is not known.
        assert!(!invalidations.begin(pages(5..6)));
        assert!(invalidations.begin(pages(6..7)));
        invalidations.end();
        assert!(!invalidations.begin(pages(0..0)) || invalidations.undisturbed());
        assert!(invalidations.begin(pages(5..6)) && invalidations.undisturbed());
    }

    /// Whatever happens in whatever order: what is registered was looked up while no invalidation
    /// of it was active, and none began since.
    #[test]
    fn every_short_history() {
        fn explore(steps: &mut Vec<usize>) {
            let mut invalidations = Invalidations::default();
            let mut active: Vec<Range<usize>> = Vec::new();
            let mut clean = None;
            for step in steps.iter() {
                match step {
                    0..=3 => {
                        let range = pages([0..2, 1..3, 4..5, 0..9][*step].clone());
                        invalidations.start(range.clone());
                        if clean.as_ref().is_some_and(|mine| overlap(mine, &range)) {
                            clean = None;
                        }
                        active.push(range);
                    }
                    4 if !active.is_empty() => {
                        active.remove(0);
                        invalidations.end();
                    }
                    5 | 6 => {
                        let range = pages([2..4, 4..6][step - 5].clone());
                        let begun = invalidations.begin(range.clone());
                        let free = !active.iter().any(|other| overlap(other, &range));
                        assert!(free || !begun);
                        clean = begun.then_some(range);
                    }
                    _ => (),
                }
                if invalidations.undisturbed() && invalidations.registering.end != 0 {
                    assert!(clean.is_some(), "{steps:?}");
                }
            }
            if steps.len() < 6 {
                for step in 0..7 {
                    steps.push(step);
                    explore(steps);
                    steps.pop();
                }
            }
        }
        explore(&mut Vec::new());
    }
}
