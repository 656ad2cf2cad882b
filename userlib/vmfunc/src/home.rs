// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Functions whose calls always hop home, and so had better go by ring.

use std::sync::atomic::{AtomicU32, Ordering};

use wormhole_window::COUNTED_FUNCTIONS;

/// So many delegated calls in a row must have hopped.
const HOPS: u32 = 3;
/// Every so many calls one of them is tried again.
const AGAIN: u32 = 64;

#[derive(Default)]
struct Function {
    /// Delegated calls that hopped since the last that did not.
    hops: AtomicU32,
    /// Calls that went by ring since the last that was delegated.
    waited: AtomicU32,
}

/// What is known of the functions. Threads that call at the same time may miscount each other's
/// calls, which does no harm.
pub(crate) struct Home(Vec<Function>);

impl Home {
    pub(crate) fn new() -> Self {
        Home(
            (0..COUNTED_FUNCTIONS)
                .map(|_| Function::default())
                .collect(),
        )
    }

    /// Whether the next call of a function goes by ring.
    pub(crate) fn next(&self, function: u16) -> bool {
        let Some(known) = self.0.get(usize::from(function)) else {
            return false;
        };
        if known.hops.load(Ordering::Relaxed) < HOPS {
            return false;
        }
        let waited = known.waited.load(Ordering::Relaxed) + 1;
        let again = waited >= AGAIN;
        known
            .waited
            .store(if again { 0 } else { waited }, Ordering::Relaxed);
        !again
    }

    /// A delegated call has come back.
    pub(crate) fn delegated(&self, function: u16, hopped: bool) {
        let Some(known) = self.0.get(usize::from(function)) else {
            return;
        };
        let hops = known.hops.load(Ordering::Relaxed);
        let now = match hopped {
            true => hops.saturating_add(1),
            false => 0,
        };
        if now != hops {
            known.hops.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_always_hops_goes_by_ring_and_is_tried_again() {
        let home = Home::new();
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
