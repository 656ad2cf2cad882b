// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the server does when it is called, on the client's vCPU if all goes well, and what clients expect of it.
//!
//! A call that uses memory which the server does not have any more must be told from one that is in time. So the page
//! that is taken away time and again is replaced in one step, never missing, and all its words are the number of the
//! replacement, its *generation*. Before a replacement its number is written to [`Page::newest`], after it to
//! [`Page::oldest`]. What a call reads between its looks at the two must lie between what it saw there, and must not
//! decrease: an older page would have a smaller number, and one that is free or somebody else's [`POISON`].

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::SeqCst};

pub const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;
/// Pages of the memory that never changes.
const BUFFER_PAGES: usize = 8;

/// What the first argument of a call says.
pub const ECHO: u64 = 1; // (a, b): a rotated, and b
pub const SUM: u64 = 2; // (): of the memory that never changes
pub const GENERATION: u64 = 3; // (): the page's
pub const ADD: u64 = 4; // (n): adds n to a counter, returns it
pub const PARENT: u64 = 5; // (): getppid() + 1, a system call
pub const STORMS: u64 = 6; // (kind): how many there have been

/// Results that nothing has.
pub const WRONG: u64 = u64::MAX;
pub const POISON: u64 = u64::MAX - 1;

/// Kinds of storms.
pub const UNMAP: usize = 0;
pub const PROTECT: usize = 1;
pub const FORK: usize = 2;
pub const KINDS: usize = 3;

pub static STORM_COUNTS: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];
/// What ADD adds up, in private memory.
pub static COUNTER: AtomicU64 = AtomicU64::new(0);
/// Not 0 once the server itself has found something wrong.
pub static BROKEN: AtomicU64 = AtomicU64::new(0);
/// Shared with the processes that are forked.
static CALLS: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

/// The page that is replaced.
pub struct ChangingPage {
    pub words: AtomicPtr<AtomicU64>,
    pub oldest: AtomicU64,
    pub newest: AtomicU64,
}

pub static CHANGING: ChangingPage = ChangingPage {
    words: AtomicPtr::new(null_mut()),
    oldest: AtomicU64::new(1),
    newest: AtomicU64::new(1),
};

/// Memory that never changes.
pub static BUFFER: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());
pub const BUFFER_SIZE: usize = BUFFER_PAGES * PAGE;

fn word(index: usize) -> u64 {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn sum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0u64, |sum, word| sum.wrapping_mul(31).wrapping_add(word))
}

pub fn echo(a: u64, b: u64) -> u64 {
    a.rotate_left(17) ^ b
}

pub fn expected_sum() -> u64 {
    sum((0..BUFFER_SIZE / 8).map(word))
}

/// New zeroed memory.
pub fn map(length: usize, flags: i32) -> *mut AtomicU64 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: A new mapping at a place of the kernel's choice.
    let memory = unsafe {
        libc::mmap(
            null_mut(),
            length,
            protection,
            flags | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert!(memory != libc::MAP_FAILED, "mmap");
    memory.cast()
}

/// # Safety
/// `words` must be `count` words that live.
unsafe fn words<'a>(words: *mut AtomicU64, count: usize) -> &'a [AtomicU64] {
    // SAFETY: The caller vouches for it.
    unsafe { std::slice::from_raw_parts(words, count) }
}

/// Fills a page of [`map`]'s.
pub fn fill(page: *mut AtomicU64, value: u64) {
    // SAFETY: It is one page, nobody's else.
    unsafe { words(page, WORDS) }
        .iter()
        .for_each(|word| word.store(value, SeqCst));
}

/// Makes the memory that calls use. Before anything else.
pub fn prepare() {
    CALLS.store(map(PAGE, libc::MAP_SHARED), SeqCst);
    let buffer = map(BUFFER_SIZE, libc::MAP_PRIVATE);
    // SAFETY: New, and that long.
    let all = unsafe { words(buffer, BUFFER_SIZE / 8) };
    all.iter()
        .enumerate()
        .for_each(|(index, place)| place.store(word(index), SeqCst));
    BUFFER.store(buffer, SeqCst);
    let page = map(PAGE, libc::MAP_PRIVATE);
    fill(page, CHANGING.oldest.load(SeqCst));
    CHANGING.words.store(page, SeqCst);
}

/// Calls so far, in this process and those that it was forked from.
pub fn calls() -> &'static AtomicU64 {
    // SAFETY: Since `prepare` it is a page that stays.
    unsafe { &*CALLS.load(SeqCst) }
}

pub extern "C" fn entry(what: u64, a: u64, b: u64, _: u64, _: u64, _: u64) -> u64 {
    calls().fetch_add(1, SeqCst);
    if BROKEN.load(SeqCst) != 0 {
        return WRONG;
    }
    match what {
        ECHO => echo(a, b),
        SUM => {
            // SAFETY: Since `prepare` it is there, and that long.
            let all = unsafe { words(BUFFER.load(SeqCst), BUFFER_SIZE / 8) };
            sum(all.iter().map(|word| word.load(SeqCst)))
        }
        GENERATION => generation(),
        ADD => COUNTER.fetch_add(a, SeqCst) + a,
        PARENT => u64::from(std::os::unix::process::parent_id()) + 1,
        STORMS => STORM_COUNTS
            .get(a as usize)
            .map_or(WRONG, |count| count.load(SeqCst)),
        _ => WRONG,
    }
}

fn generation() -> u64 {
    let mut latest = CHANGING.oldest.load(SeqCst);
    // SAFETY: Since `prepare` there is always a page.
    for word in unsafe { words(CHANGING.words.load(SeqCst), WORDS) } {
        let now = word.load(SeqCst);
        if now < latest {
            return WRONG;
        }
        latest = now;
    }
    if latest > CHANGING.newest.load(SeqCst) {
        return WRONG;
    }
    latest
}
