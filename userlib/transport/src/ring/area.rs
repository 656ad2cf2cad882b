// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Places in a bulk area. Producer and consumer work them out alike, so that
//! no place ever has to be believed.

use super::layout::BULK_ALIGN;

/// Where a piece lies, and how far it moves the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Offset in the area.
    pub(super) offset: u64,
    /// Bytes of the area that it takes, with what was skipped to stay in one
    /// piece and on its alignment.
    pub(super) taken: u64,
}

/// The slot of `len` bytes in an area of `capacity` bytes whose counter stands
/// at `counter`. `counter` and `capacity` are multiples of [`BULK_ALIGN`];
/// `len`, rounded up to [`BULK_ALIGN`], is at most a quarter of `capacity`.
pub(super) fn slot(counter: u64, len: u64, capacity: u64) -> Slot {
    let len = len.next_multiple_of(BULK_ALIGN);
    let offset = counter % capacity;
    let to_end = capacity - offset;
    if len <= to_end {
        Slot { offset, taken: len }
    } else {
        Slot {
            offset: 0,
            taken: to_end + len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn slots_are_whole_and_never_overlap(
            capacity in 4u64..64,
            lens in proptest::collection::vec(1u64..1024, 1..200),
        ) {
            let capacity = capacity * BULK_ALIGN;
            let mut counter = 0;
            for len in lens {
                let len = (len % (capacity / 4 / BULK_ALIGN * BULK_ALIGN)).max(1);
                let slot = slot(counter, len, capacity);
                prop_assert_eq!(slot.offset % BULK_ALIGN, 0);
                prop_assert!(slot.offset + len <= capacity);
                // The slot ends where the counter then stands, so it lies
                // within the bytes that the counter passed.
                let end = counter + slot.taken;
                prop_assert_eq!((end - len.next_multiple_of(BULK_ALIGN)) % capacity, slot.offset);
                prop_assert!(slot.taken <= capacity / 2);
                counter = end;
            }
        }
    }
}
