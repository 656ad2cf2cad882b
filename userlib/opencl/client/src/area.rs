// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory that the server has, too: who uses which part of it.
//!
//! The server is not believed. What it writes where it should not spoils this program's
//! data, and nothing else: lengths and places are kept here.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use range_alloc::RangeAllocator;
use wormhole_transport::DataArea;

/// What parts are made of. So each begins at an address that suits any device.
const PAGE: usize = 4096;

/// All of it.
pub(crate) struct Area {
    memory: DataArea,
    /// In pages.
    free: Mutex<RangeAllocator<u64>>,
}

impl Area {
    pub(crate) fn new(memory: DataArea) -> Self {
        let pages = memory.size() / PAGE as u64;
        Area {
            memory,
            free: Mutex::new(RangeAllocator::new(0..pages)),
        }
    }

    fn free(&self) -> MutexGuard<'_, RangeAllocator<u64>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `len` bytes, of which there is at least one. `None` if so much in one piece is not free.
    pub(crate) fn take(&'static self, len: usize) -> Option<Part> {
        let pages = len.div_ceil(PAGE) as u64;
        let pages = self.free().allocate_range(pages).ok()?;
        let area = self;
        Some(Part { area, pages, len })
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
}

impl Part {
    /// Its place, as the server is told.
    pub(crate) fn offset(&self) -> u64 {
        self.pages.start * PAGE as u64
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
        self.area.free().free_range(self.pages.clone());
    }
}

#[cfg(test)]
mod tests {
    use wormhole_transport::{Config, Connection};

    use super::*;

    /// The area of a connection within this process, in pages.
    fn area() -> (&'static Area, usize) {
        let path = std::env::temp_dir().join(format!("wormhole-area-{}", std::process::id()));
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
        let (first, second) = (area.take(1).unwrap(), area.take(PAGE + 1).unwrap());
        let rest = area.take((pages - 3) * PAGE).unwrap();
        assert!(area.take(1).is_none());
        let places = [first.offset(), second.offset(), rest.offset()];
        assert_eq!(places, [0, PAGE as u64, 3 * PAGE as u64]);
        second.fill(&[7; PAGE + 1]);
        first.fill(&[3]);
        let mut bytes = [0; PAGE + 2];
        // SAFETY: there is room for them.
        unsafe { second.copy_to(bytes.as_mut_ptr()) };
        assert!(bytes[..PAGE + 1].iter().all(|byte| *byte == 7) && bytes[PAGE + 1] == 0);
        drop(second);
        assert!(area.take(2 * PAGE + 1).is_none());
        assert_eq!(area.take(2 * PAGE).unwrap().offset(), PAGE as u64);
        drop((first, rest));
        assert!(area.take(pages * PAGE).is_some());
    }
}
