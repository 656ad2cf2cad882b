// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzing for a while, the same each time. "make fuzz" goes on from here.

use std::collections::BTreeSet;

use wormhole_opencl_fuzz::allocator::{fenced, left, Fence};
use wormhole_opencl_fuzz::grammar::MESSAGES;
use wormhole_opencl_fuzz::{readers, server};

#[global_allocator]
static FENCE: Fence = Fence;

/// Bytes that a case may have at once. A message of some KB in pieces of one element each is all
/// that there can be, and what the vendor may answer.
const MOST: usize = 16 << 20;

/// Random bytes, by a fixed seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes of which some are small, as lengths are.
    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = self.next() % most;
        (0..len)
            .map(|_| match self.next() % 3 {
                0 => (self.next() % 5) as u8,
                _ => self.next() as u8,
            })
            .collect()
    }
}

#[test]
fn sessions_survive_whatever_comes() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut good = BTreeSet::new();
    let (mut failed, mut ended) = (0, 0);
    for _ in 0..2000 {
        let bytes = random.bytes(4000);
        let outcome = fenced(MOST, || server::serve(&bytes));
        good.extend(outcome.good);
        failed += outcome.failed;
        ended += u32::from(outcome.ended);
    }
    // Most get behind the first checks. Some want more luck, and coverage to guide it.
    let names = MESSAGES.iter().map(|message| message.name);
    let never: Vec<_> = names.filter(|name| !good.contains(name)).collect();
    let few = MESSAGES.len() / 8;
    assert!(never.len() < few, "never succeeded: {never:?}");
    assert!(
        failed > 500 && ended > 100,
        "{failed} failed, {ended} ended"
    );
}

#[test]
fn readers_survive_whatever_comes() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..3000 {
        let bytes = random.bytes(300);
        fenced(64 * bytes.len() + 4096, || readers::read(&bytes));
    }
}

/// The fence itself.
#[test]
fn memory_is_counted_and_ends_where_it_ends() {
    fenced(1000, || {
        let before = left().unwrap();
        let block = vec![1u8; 500];
        assert_eq!(before - left().unwrap(), 500);
        let end = block.as_ptr_range().end;
        assert_eq!(end.addr() % 4096, 0);
        // SAFETY: asks the kernel only whether there is memory.
        let there = unsafe { libc::msync(end.cast_mut().cast(), 1, libc::MS_ASYNC) };
        assert_eq!(there, -1, "memory behind the block");
        assert!(Vec::<u8>::new().try_reserve_exact(501).is_err());
        drop(block);
        assert_eq!(left(), Some(before));
    });
    assert_eq!(left(), None);
}
