// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether a carrier stays: agreed between its thread, which leaves when nobody has wanted it for
//! some time, and who counts how many there are. Without a lock, which the thread must not take.

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU32, Ordering};

const MAY_LEAVE: u32 = 0;
/// It has been counted since it last tried.
const COUNTED: u32 = 1;
const LEAVING: u32 = 2;
const LEFT: u32 = 3;

#[derive(Debug)]
pub(crate) struct Stay(AtomicU32);

impl Stay {
    pub(crate) fn new() -> Self {
        Stay(AtomicU32::new(COUNTED))
    }

    /// The thread's try to leave; `leave` says whether it can. Gives whether it has left.
    pub(crate) fn try_leave(&self, leave: impl FnOnce() -> bool) -> bool {
        let leaving =
            self.0
                .compare_exchange(MAY_LEAVE, LEAVING, Ordering::AcqRel, Ordering::Acquire);
        let left = leaving.is_ok() && leave();
        let next = if left { LEFT } else { MAY_LEAVE };
        self.0.store(next, Ordering::Release);
        left
    }

    /// Whether it is there, and will be until it has tried twice more. `None`: it is trying.
    pub(crate) fn count(&self) -> Option<bool> {
        let counted =
            self.0
                .compare_exchange(MAY_LEAVE, COUNTED, Ordering::AcqRel, Ordering::Acquire);
        match counted {
            Ok(_) | Err(COUNTED) => Some(true),
            Err(LEFT) => Some(false),
            Err(_) => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_stays_for_a_try() {
        let stay = Stay::new();
        assert!(!stay.try_leave(|| true));
        assert_eq!(stay.count(), Some(true));
        assert!(!stay.try_leave(|| true));
        assert!(!stay.try_leave(|| {
            assert_eq!(stay.count(), None);
            false
        }));
        assert!(stay.try_leave(|| true));
        assert_eq!(stay.count(), Some(false));
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test --lib loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Whoever is told that it is there finds it after the thread's next try, too.
    #[test]
    fn loom_nobody_counts_on_one_that_leaves() {
        loom::model(|| {
            let stay = Arc::new(Stay::new());
            stay.try_leave(|| true);
            let its = stay.clone();
            let tries = thread::spawn(move || its.try_leave(|| true));
            let counted = loop {
                match stay.count() {
                    Some(counted) => break counted,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(counted, !tries.join().unwrap());
        });
    }
}
