// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the arguments of a kernel were set to last, as far as those are words: many programs set
//! all of them before each launch, mostly to what they are. To compare takes no lock.
//!
//! A program must not set arguments of a kernel in several threads at once (OpenCL 1.2, A.2). If
//! it does, it may be that one of the values is taken for set that is not; no more than that.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use wormhole_opencl_protocol::handle::Handle;

use crate::head::Head;

/// No size.
const NONE: usize = usize::MAX;

/// What one argument is set to.
struct Word {
    /// Bytes, 4 or 8; [`NONE`] if what it is set to is no word.
    size: AtomicUsize,
    value: AtomicU64,
    /// Where the object is that it is, and its name; or null.
    head: AtomicPtr<Head>,
    name: AtomicU64,
}

impl Word {
    fn new() -> Self {
        Word {
            size: AtomicUsize::new(NONE),
            value: AtomicU64::new(0),
            head: AtomicPtr::new(std::ptr::null_mut()),
            name: AtomicU64::new(0),
        }
    }

    /// # Safety
    /// `size` bytes at `value` are valid for reading, unless it is null.
    #[inline]
    unsafe fn is(&self, size: usize, value: *const c_void) -> bool {
        if self.size.load(Ordering::Relaxed) != size || value.is_null() {
            return false;
        }
        let value = match size {
            // SAFETY: the caller promises that many bytes.
            8 => unsafe { value.cast::<u64>().read_unaligned() },
            // SAFETY: as before, and there is no other size.
            _ => unsafe { value.cast::<u32>().read_unaligned() }.into(),
        };
        self.value.load(Ordering::Relaxed) == value && self.is_live()
    }

    /// Whether the object is live, if it is one.
    #[inline]
    fn is_live(&self) -> bool {
        // SAFETY: it is null or a head's, which are never freed.
        match unsafe { self.head.load(Ordering::Relaxed).as_ref() } {
            Some(head) => head.is(Handle::from_bits(self.name.load(Ordering::Relaxed))),
            None => true,
        }
    }
}

/// The words of a kernel's arguments; none while there is no kernel.
///
/// # Invariants
/// `first` points to at least `count` words, as many as were ever needed, which are never freed.
pub(crate) struct Last {
    count: AtomicUsize,
    first: AtomicPtr<Word>,
    /// How many there are.
    room: AtomicUsize,
}

impl Last {
    pub(crate) const fn new() -> Self {
        Last {
            count: AtomicUsize::new(0),
            first: AtomicPtr::new(std::ptr::null_mut()),
            room: AtomicUsize::new(0),
        }
    }

    /// For a kernel with so many arguments, which are set to nothing. One thread at a time.
    pub(crate) fn begin(&self, count: usize) {
        if count > self.room.load(Ordering::Relaxed) {
            // All that were there before have no more than these.
            let room = count.next_power_of_two();
            let words: Box<[Word]> = (0..room).map(|_| Word::new()).collect();
            self.first
                .store(Box::leak(words).as_mut_ptr(), Ordering::Relaxed);
            self.room.store(room, Ordering::Relaxed);
        }
        let first = self.first.load(Ordering::Relaxed);
        for index in 0..count {
            // SAFETY: there is room for that many.
            let word = unsafe { &*first.add(index) };
            word.size.store(NONE, Ordering::Relaxed);
        }
        self.count.store(count, Ordering::Release);
    }

    /// There is no kernel any more.
    pub(crate) fn end(&self) {
        self.count.store(0, Ordering::Release);
    }

    /// What `of` says of an argument's word, if there is one.
    #[inline]
    fn word<T>(&self, index: usize, of: impl FnOnce(&Word) -> T) -> Option<T> {
        if index >= self.count.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: by the invariants.
        Some(of(unsafe {
            &*self.first.load(Ordering::Relaxed).add(index)
        }))
    }

    /// Whether an argument is known to be set to the `size` bytes at `value`.
    ///
    /// # Safety
    /// They are valid for reading, unless it is null.
    #[inline]
    pub(crate) unsafe fn is(&self, index: usize, size: usize, value: *const c_void) -> bool {
        // SAFETY: the caller promises it.
        self.word(index, |word| unsafe { word.is(size, value) }) == Some(true)
    }

    /// An argument was set to something that is no word.
    pub(crate) fn note_other(&self, index: usize) {
        self.word(index, |word| word.size.store(NONE, Ordering::Relaxed));
    }

    /// An argument was set to a value of 4 or 8 bytes, and to that object if it is one. One thread
    /// at a time.
    pub(crate) fn note(
        &self,
        index: usize,
        size: usize,
        value: u64,
        object: Option<(&'static Head, Handle)>,
    ) {
        if !matches!(size, 4 | 8) {
            return;
        }
        let (head, name) = match object {
            Some((head, name)) => (std::ptr::from_ref(head).cast_mut(), name.to_bits()),
            None => (std::ptr::null_mut(), 0),
        };
        self.word(index, |word| {
            word.size.store(NONE, Ordering::Relaxed);
            word.value.store(value, Ordering::Relaxed);
            word.head.store(head, Ordering::Relaxed);
            word.name.store(name, Ordering::Relaxed);
            word.size.store(size, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use wormhole_opencl_protocol::api::Kind;

    use super::*;
    use crate::registry::{self, New};

    fn is(last: &Last, index: usize, size: usize, value: u64) -> bool {
        // SAFETY: so many bytes, or no more than 8.
        unsafe { last.is(index, size, (&raw const value).cast()) }
    }

    #[test]
    fn what_was_noted_is_known_while_there_is_a_kernel() {
        let last = Last::new();
        assert!(!is(&last, 0, 4, 0));
        last.begin(3);
        assert!(!is(&last, 0, 4, 0), "it was not set");
        last.note(0, 4, 7, None);
        last.note(2, 8, 7, None);
        assert!(is(&last, 0, 4, 7) && is(&last, 2, 8, 7));
        assert!(!is(&last, 0, 8, 7) && !is(&last, 0, 4, 8) && !is(&last, 1, 4, 7));
        assert!(!is(&last, 3, 4, 7));
        for size in [0, 4, 8, usize::MAX] {
            // SAFETY: null.
            assert!(!unsafe { last.is(0, size, std::ptr::null()) });
        }
        last.note_other(0);
        for size in [0, 4, 8] {
            assert!(!is(&last, 0, size, 7), "it is set to something else");
        }
        last.end();
        assert!(!is(&last, 2, 8, 7));
        for count in [1, 3, 40, 3] {
            last.begin(count);
            for index in 0..count {
                assert!(
                    !is(&last, index, 4, 7) && !is(&last, index, 8, 7),
                    "another kernel"
                );
                last.note(index, 8, 7, None);
                assert!(is(&last, index, 8, 7));
            }
            last.end();
        }
    }

    #[test]
    fn an_object_is_known_while_it_is_live() {
        let last = Last::new();
        last.begin(1);
        let new = New::named(Kind::Mem, Vec::new()).unwrap();
        let (head, name) = (new.head(), new.handle());
        let address = new.publish();
        last.note(0, 8, address as u64, Some((head, name)));
        assert!(is(&last, 0, 8, address as u64));
        registry::release(Kind::Mem, address).unwrap();
        assert!(!is(&last, 0, 8, address as u64));
    }
}
