// SPDX-License-Identifier: GPL-2.0

//! Addresses, and the store that the pages of paging structures come from.
//!
//! Pure, without the kernel crate: `rustc --test` on this file runs its tests.

/// Bytes of a page.
pub(crate) const PAGE_SIZE: u64 = 4096;
/// Entries of a paging structure.
pub(crate) const ENTRIES: usize = 512;
/// Bytes that one page directory maps.
pub(crate) const GIB: u64 = 1 << 30;
/// The address in an entry of a paging structure: bits 51:12.
pub(crate) const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

pub(crate) const fn is_page_aligned(address: u64) -> bool {
    address & (PAGE_SIZE - 1) == 0
}

/// Why paging structures were not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// An argument is misaligned, out of range or of no use (EINVAL).
    Invalid,
    /// Something is mapped there already (EEXIST).
    Exists,
    /// The store has no page, or a limit is reached (ENOMEM).
    NoMemory,
}

/// Address of a page of the host's memory: page-aligned, of at most 52 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HostPhys(pub(crate) u64);

impl HostPhys {
    /// `None` if `address` is not that of a page, or has more than 52 bits.
    pub(crate) const fn new(address: u64) -> Option<Self> {
        if address & !ADDRESS_MASK == 0 {
            Some(Self(address))
        } else {
            None
        }
    }

    /// The page that an entry of a paging structure refers to.
    pub(crate) const fn of_entry(entry: u64) -> Self {
        Self(entry & ADDRESS_MASK)
    }

    /// In bytes.
    pub(crate) const fn address(self) -> u64 {
        self.0
    }
}

/// Guest-physical address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct GuestPhys(pub(crate) u64);

/// Linear address of a guest, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct GuestLinear(pub(crate) u64);

/// What may be done with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

impl Rights {
    pub(crate) const READ: Self = Self {
        read: true,
        write: false,
        execute: false,
    };
    pub(crate) const READ_WRITE: Self = Self {
        read: true,
        write: true,
        execute: false,
    };
    pub(crate) const EXECUTE: Self = Self {
        read: false,
        write: false,
        execute: true,
    };
}

/// A store of pages for paging structures. One of these owns all pages of what is built in it; the
/// types that refer to such pages are only addresses, to be used with the store they were made in.
pub(crate) trait Tables {
    /// A zeroed page, which stays until the store is dropped. It is never the page at address 0.
    fn allocate(&mut self) -> Option<HostPhys>;

    /// Entry `index`, less than [`ENTRIES`], of a page of this store.
    fn read(&self, page: HostPhys, index: usize) -> u64;

    /// Sets entry `index`, less than [`ENTRIES`], of a page of this store.
    ///
    /// Processors may walk the structures meanwhile: it is one 8-byte store, not reordered with
    /// other calls of this function.
    fn write(&mut self, page: HostPhys, index: usize, value: u64);
}

/// A store for tests, with a limit on its pages.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::collections::HashMap;

    pub(crate) struct Store {
        pages: HashMap<HostPhys, Vec<u64>>,
        pub(crate) limit: usize,
    }

    impl Store {
        /// Where the store's pages begin. Pages that are only mapped are below.
        pub(crate) const START: u64 = 0x7_0000_0000;

        pub(crate) fn new() -> Self {
            Self {
                pages: HashMap::new(),
                limit: usize::MAX,
            }
        }

        pub(crate) fn count(&self) -> usize {
            self.pages.len()
        }

        /// All of a page. A walk never gets to what is not in the store.
        pub(crate) fn entries(&self, page: HostPhys) -> &[u64] {
            match self.pages.get(&page) {
                Some(entries) => entries,
                None => panic!("{page:?} is not in the store"),
            }
        }

        pub(crate) fn load(&self, page: HostPhys, index: usize) -> u64 {
            self.entries(page)[index]
        }
    }

    impl Tables for Store {
        fn allocate(&mut self) -> Option<HostPhys> {
            if self.pages.len() >= self.limit {
                return None;
            }
            let page = HostPhys::new(Self::START + self.pages.len() as u64 * PAGE_SIZE)?;
            self.pages.insert(page, vec![0; ENTRIES]);
            Some(page)
        }

        fn read(&self, page: HostPhys, index: usize) -> u64 {
            self.load(page, index)
        }

        fn write(&mut self, page: HostPhys, index: usize, value: u64) {
            self.pages.get_mut(&page).expect("not in the store")[index] = value;
        }
    }

    /// xorshift64*: the same sequence each time.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        /// Less than `bound`.
        pub(crate) fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn host_pages_are_aligned_and_in_range() {
        assert_eq!(HostPhys::new(0x5000).unwrap().address(), 0x5000);
        assert_eq!(HostPhys::new(0x5001), None);
        assert_eq!(HostPhys::new(1 << 52), None);
        assert_eq!(
            HostPhys::of_entry(0x8000_0000_1234_5fff).address(),
            0x1234_5000
        );
    }

    #[test]
    fn alignment() {
        assert!(is_page_aligned(0) && is_page_aligned(0x1000) && is_page_aligned(!0xfff));
        assert!(!is_page_aligned(1) && !is_page_aligned(0x1800) && !is_page_aligned(u64::MAX));
    }

    #[test]
    fn store_has_its_limit() {
        let mut store = Store::new();
        store.limit = 2;
        let first = store.allocate().unwrap();
        let second = store.allocate().unwrap();
        assert_eq!(store.allocate(), None);
        store.write(second, 511, 7);
        assert_eq!((store.read(first, 511), store.read(second, 511)), (0, 7));
        assert_eq!(store.count(), 2);
    }

    #[test]
    fn random_numbers_differ_and_are_bounded() {
        let mut random = Random(1);
        let seen: std::collections::HashSet<_> = (0..1000).map(|_| random.below(100)).collect();
        assert_eq!(seen.len(), 100);
    }
}
