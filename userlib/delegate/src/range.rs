// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Registering ranges of which some pages may be refused. Pure, and allocates nothing: it also runs
//! on a carrier whose hopped call may be in the middle of malloc.

use std::ops::Range;

use rustix::io::Errno;

use crate::device::Registered;

pub(crate) const PAGE: usize = 4096;
/// How often a page is tried again of which the driver says that it may come.
const RETRIES: u32 = 16;

/// What came of a range, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) registered: usize,
    /// Refused: what uses them hops.
    pub(crate) skipped: usize,
}

/// The pages that have bytes of a range.
pub(crate) fn pages(range: Range<usize>) -> Range<usize> {
    let start = range.start / PAGE * PAGE;
    let end = range.end.checked_next_multiple_of(PAGE);
    start..end.unwrap_or(usize::MAX / PAGE * PAGE).max(start)
}

/// Registers whole pages, one after the other; those that are refused are skipped.
///
/// # Errors
/// What is no property of a page.
pub(crate) fn register(
    range: Range<usize>,
    mut register: impl FnMut(usize, usize) -> Registered,
) -> Result<Outcome, Errno> {
    let Range { mut start, end } = range;
    let mut outcome = Outcome::default();
    let mut retries = 0;
    while start < end {
        let Registered { done, result } = register(start, end - start);
        start += done;
        outcome.registered += done;
        if done > 0 {
            retries = 0;
        }
        match result {
            Ok(()) if done > 0 => {}
            Err(Errno::INTR | Errno::AGAIN) if retries < RETRIES => retries += 1,
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::FAULT | Errno::INVAL) => {
                if start < end {
                    start += PAGE;
                    outcome.skipped += PAGE;
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that refuses some pages.
    fn driver(bad: &'static [usize], why: Errno) -> impl FnMut(usize, usize) -> Registered {
        move |address, length| {
            let first_bad = bad
                .iter()
                .map(|page| page * PAGE)
                .find(|page| (address..address + length).contains(page));
            match first_bad {
                None => Registered {
                    done: length,
                    result: Ok(()),
                },
                Some(page) => Registered {
                    done: page - address,
                    result: Err(why),
                },
            }
        }
    }

    #[test]
    fn refused_pages_are_skipped_one_by_one() {
        for bad in [&[][..], &[1], &[4], &[9], &[1, 2, 9], &[1, 3, 5, 7, 9]] {
            let outcome = register(PAGE..10 * PAGE, driver(bad, Errno::PERM)).unwrap();
            assert_eq!(outcome.skipped, bad.len() * PAGE);
            assert_eq!(outcome.registered, (9 - bad.len()) * PAGE);
        }
    }

    #[test]
    fn other_errors_end_it_and_interruptions_do_not_last() {
        let end = register(0..10 * PAGE, driver(&[3], Errno::NOMEM));
        assert_eq!(end, Err(Errno::NOMEM));
        let end = register(0..10 * PAGE, driver(&[3], Errno::AGAIN));
        assert_eq!(end, Err(Errno::AGAIN));
        let mut calls = 0;
        let outcome = register(0..2 * PAGE, |_, length| {
            calls += 1;
            match calls {
                1..=3 => Registered {
                    done: 0,
                    result: Err(Errno::INTR),
                },
                _ => Registered {
                    done: length,
                    result: Ok(()),
                },
            }
        });
        assert_eq!(outcome.unwrap().registered, 2 * PAGE);
    }

    #[test]
    fn pages_of_a_range() {
        assert_eq!(pages(0..1), 0..PAGE);
        assert_eq!(pages(PAGE - 1..PAGE + 1), 0..2 * PAGE);
        assert_eq!(pages(PAGE..2 * PAGE), PAGE..2 * PAGE);
        assert_eq!(pages(5..usize::MAX).start, 0);
    }
}
