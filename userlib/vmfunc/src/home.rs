// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Functions whose calls always hop home, and so had better go by ring.

use rustc_hash::FxHashMap;

/// So many delegated calls in a row must have hopped.
const HOPS: u32 = 3;
/// Every so many calls one of them is tried again.
const AGAIN: u32 = 64;

#[derive(Default)]
struct Function {
    /// Delegated calls that hopped since the last that did not.
    hops: u32,
    /// Calls that went by ring since the last that was delegated.
    waited: u32,
}

/// What is known of the functions.
#[derive(Default)]
pub(crate) struct Home(FxHashMap<u16, Function>);

impl Home {
    /// Whether the next call of a function goes by ring.
    pub(crate) fn next(&mut self, function: u16) -> bool {
        let Some(known) = self.0.get_mut(&function).filter(|known| known.hops >= HOPS) else {
            return false;
        };
        known.waited += 1;
        if known.waited == AGAIN {
            known.waited = 0;
            return false;
        }
        true
    }

    /// A delegated call has come back.
    pub(crate) fn delegated(&mut self, function: u16, hopped: bool) {
        let known = self.0.entry(function).or_default();
        known.hops = match hopped {
            true => known.hops.saturating_add(1),
            false => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_always_hops_goes_by_ring_and_is_tried_again() {
        let mut home = Home::default();
        for _ in 0..HOPS {
            assert!(!home.next(1));
            home.delegated(1, true);
        }
        for _ in 0..2 {
            for _ in 1..AGAIN {
                assert!(home.next(1));
            }
            assert!(!home.next(1), "a trial");
            home.delegated(1, true);
        }
        assert!(!home.next(2), "another function");
        for _ in 1..AGAIN {
            assert!(home.next(1));
        }
        assert!(!home.next(1));
        home.delegated(1, false);
        assert!(!home.next(1), "it stayed away");
        for hopped in [true, true, false, true, true] {
            home.delegated(2, hopped);
        }
        assert!(!home.next(2), "not in a row");
    }
}
