// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which lanes no call has, but for the one that all threads share.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::areas::LANES;

/// The shared lane's bit is never set.
const ALL: u32 = (1 << LANES) - 2;

const _: () = assert!(LANES < 32);

/// A bit for each lane that is free, from the lowest on by number.
pub(crate) struct FreeLanes(AtomicU32);

impl FreeLanes {
    pub(crate) fn new() -> Self {
        FreeLanes(AtomicU32::new(ALL))
    }

    /// The first one that is free.
    pub(crate) fn take(&self) -> Option<Taken<'_>> {
        let mut free = self.0.load(Ordering::Relaxed);
        while free != 0 {
            // Without its lowest bit.
            let rest = free & (free - 1);
            // What the lane's last call has read must not be overwritten before.
            let taken =
                self.0
                    .compare_exchange_weak(free, rest, Ordering::Acquire, Ordering::Relaxed);
            match taken {
                Ok(_) => {
                    return Some(Taken {
                        of: self,
                        number: free.trailing_zeros(),
                        // Mostly it is the only one, and not every CPU can count bits.
                        busy: match free == ALL {
                            true => 1,
                            false => (ALL & !rest).count_ones(),
                        },
                    });
                }
                Err(now) => free = now,
            }
        }
        None
    }

    /// How many calls have one.
    pub(crate) fn busy(&self) -> u32 {
        (ALL & !self.0.load(Ordering::Relaxed)).count_ones()
    }
}

/// A lane of one call's own, until this is dropped.
pub(crate) struct Taken<'a> {
    of: &'a FreeLanes,
    number: u32,
    busy: u32,
}

impl Taken<'_> {
    /// At least 1.
    pub(crate) fn number(&self) -> usize {
        self.number as usize
    }

    /// How many calls have one, with this.
    pub(crate) fn busy(&self) -> u32 {
        self.busy
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_or(1 << self.number, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_and_given_back() {
        let free = FreeLanes::new();
        let mut taken = Vec::new();
        while let Some(lane) = free.take() {
            taken.push(lane);
            assert_eq!(free.busy(), taken.len() as u32);
        }
        let numbers: Vec<_> = taken.iter().map(Taken::number).collect();
        assert_eq!(numbers, (1..LANES).collect::<Vec<_>>());
        let busy: Vec<_> = taken.iter().map(|lane| lane.busy() as usize).collect();
        assert_eq!(busy, numbers);
        taken.remove(4);
        assert_eq!(free.take().map(|lane| lane.number()), Some(5));
        taken.clear();
        assert_eq!(free.busy(), 0);
    }
}
