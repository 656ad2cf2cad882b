// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory that the server has, too: who uses which part of it.
//!
//! The server is not believed. What it writes where it should not spoils this program's
//! data, and nothing else: lengths and places are kept here.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use range_alloc::RangeAllocator;
use wormhole_transport::DataArea;

use crate::object::Shared;

/// What parts are made of. So each begins at an address that suits any device.
const PAGE: usize = 4096;

/// All of it.
pub(crate) struct Area {
    memory: DataArea,
    free: Mutex<Free>,
}

/// In pages.
struct Free {
    pages: RangeAllocator<u64>,
    /// How many more may be in use for as long as the program likes.
    lasting: u64,
}

/// How long a part is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// For a transfer.
    Brief,
    /// As long as the program likes. Half of the memory at most is used so.
    Lasting,
}

impl Area {
    pub(crate) fn new(memory: DataArea) -> Self {
        let pages = memory.size() / PAGE as u64;
        Area {
            memory,
            free: Mutex::new(Free {
                pages: RangeAllocator::new(0..pages),
                lasting: pages / 2,
            }),
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `len` bytes, of which there is at least one. `None` if so much in one piece is not free.
    pub(crate) fn take(&'static self, len: usize, usage: Use) -> Option<Part> {
        let count = len.div_ceil(PAGE) as u64;
        let lasting = if usage == Use::Lasting { count } else { 0 };
        let mut free = self.free();
        let left = free.lasting.checked_sub(lasting)?;
        let pages = free.pages.allocate_range(count).ok()?;
        free.lasting = left;
        let area = self;
        Some(Part {
            area,
            pages,
            len,
            usage,
        })
    }
}

/// A part that is in use until this is dropped.
///
/// # Invariants
/// The pages are in the area, no other's, and hold `len` bytes.
pub(crate) struct Part {
    area: &'static Area,
    pages: Range<u64>,
    len: usize,
    usage: Use,
}

impl Part {
    /// Its place, as the server is told.
    pub(crate) fn offset(&self) -> u64 {
        self.pages.start * PAGE as u64
    }

    /// Where it is, as long as it is in use.
    pub(crate) fn shared(&self) -> Shared {
        let place = self.offset();
        let address = self.area.memory.address(place, self.len as u64);
        Shared {
            // By the invariants there is one.
            address: address.map_or(0, |address| address.addr().get()),
            place,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies its bytes from `bytes`.
    pub(crate) fn fill(&self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.len);
        self.area.memory.write(self.offset(), bytes);
    }

    /// Copies its bytes to `target`.
    ///
    /// # Safety
    /// That is valid for writing so many.
    pub(crate) unsafe fn copy_to(&self, target: *mut u8) {
        let (offset, len) = (self.offset(), self.len as u64);
        // SAFETY: the caller promises it. A program that reads into a part that it has mapped
        // names another one than this, by the invariants.
        unsafe { self.area.memory.read(offset, len, target) };
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut free = self.area.free();
        free.pages.free_range(self.pages.clone());
        if self.usage == Use::Lasting {
            free.lasting += self.pages.end - self.pages.start;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use wormhole_transport::{Config, Connection};

    use super::Use::{Brief, Lasting};
    use super::*;

    /// The area of a connection within this process, in pages.
    fn area() -> (&'static Area, usize) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("wormhole-area-{}-{number}", std::process::id()));
        let config = Config::memfd(&path);
        let mut listener = wormhole_transport::listen(&config).unwrap();
        let served = std::thread::spawn(move || listener.accept().map(Connection::serve));
        let (_client, spare) = wormhole_transport::connect_spare(&config).unwrap();
        let _server = served.join().unwrap().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        let memory = spare.unwrap().data().clone();
        let pages = memory.size() as usize / PAGE;
        (Box::leak(Box::new(Area::new(memory))), pages)
    }

    #[test]
    fn parts_are_apart_and_come_back() {
        let (area, pages) = area();
        let (first, second) = (
            area.take(1, Brief).unwrap(),
            area.take(PAGE + 1, Brief).unwrap(),
        );
        let rest = area.take((pages - 3) * PAGE, Brief).unwrap();
        assert!(area.take(1, Brief).is_none());
        let places = [first.offset(), second.offset(), rest.offset()];
        assert_eq!(places, [0, PAGE as u64, 3 * PAGE as u64]);
        second.fill(&[7; PAGE + 1]);
        first.fill(&[3]);
        let mut bytes = [0; PAGE + 2];
        // SAFETY: there is room for them.
        unsafe { second.copy_to(bytes.as_mut_ptr()) };
        assert!(bytes[..PAGE + 1].iter().all(|byte| *byte == 7) && bytes[PAGE + 1] == 0);
        drop(second);
        assert!(area.take(2 * PAGE + 1, Brief).is_none());
        assert_eq!(area.take(2 * PAGE, Brief).unwrap().offset(), PAGE as u64);
        drop((first, rest));
        assert!(area.take(pages * PAGE, Brief).is_some());
    }

    #[test]
    fn some_is_left_for_transfers() {
        let (area, pages) = area();
        let half = area.take(pages / 2 * PAGE, Lasting).unwrap();
        assert!(area.take(1, Lasting).is_none());
        let other = area.take(pages / 2 * PAGE, Brief).unwrap();
        drop(half);
        assert!(area.take(1, Lasting).is_some());
        assert_eq!(other.shared().at(3).place, other.offset() + 3);
    }
}
