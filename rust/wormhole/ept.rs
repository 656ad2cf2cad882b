// SPDX-License-Identifier: GPL-2.0

//! EPT paging structures of a view (Intel SDM vol. 3, 30.3; pointer: 26.6.11).
//!
//! A view maps less than 512 GiB of guest-physical addresses, in 4 KiB pages. Its parts are page
//! directories, one for each GiB, of which some are shared by several views.
//!
//! Nothing is invalidated here: after something was unmapped, INVEPT is the caller's, before what
//! was mapped is used for anything else, or something else is mapped there.
//!
//! Pure, without the kernel crate: `rustc --test` on this file runs its tests.

#[cfg(test)]
#[path = "table.rs"]
pub(crate) mod table;
#[cfg(not(test))]
use crate::table;

use table::{Error, HostPhys, Rights, Tables, ENTRIES, GIB};

/// An EPT pointer (26.6.11), as in the VMCS and in an EPTP list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Eptp(u64);

impl Eptp {
    /// Paging structures are write-back: bits 2:0.
    const WRITE_BACK: u64 = 6;
    /// The walk's length less 1: bits 5:3.
    const FOUR_LEVELS: u64 = 3 << 3;

    /// The tables under `root`, without accessed and dirty flags.
    const fn new(root: HostPhys) -> Self {
        Self(root.address() | Self::FOUR_LEVELS | Self::WRITE_BACK)
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }
}

/// An entry of an EPT paging structure (30.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EptEntry(u64);

impl EptEntry {
    const READ: u64 = 1 << 0;
    const WRITE: u64 = 1 << 1;
    /// With mode-based execute control: of supervisor-mode linear addresses.
    const EXECUTE: u64 = 1 << 2;
    /// Of user-mode linear addresses; ignored without mode-based execute control.
    const EXECUTE_USER: u64 = 1 << 10;
    /// Memory type of a leaf: bits 5:3.
    const WRITE_BACK: u64 = 6 << 3;
    /// The guest's PAT and MTRRs do not count.
    const IGNORE_PAT: u64 = 1 << 6;
    const PRESENT: u64 = Self::READ | Self::WRITE | Self::EXECUTE | Self::EXECUTE_USER;

    /// Refers to the next table, and leaves all rights to it.
    const fn table(page: HostPhys) -> Self {
        Self(page.address() | Self::PRESENT)
    }

    /// Maps a page. `None` if the processor would not take the rights (30.3.3.1).
    const fn leaf(page: HostPhys, rights: Rights) -> Option<Self> {
        let mut bits = Self::WRITE_BACK | Self::IGNORE_PAT;
        if rights.read {
            bits |= Self::READ;
        }
        if rights.write {
            bits |= Self::WRITE;
        }
        if rights.execute {
            bits |= Self::EXECUTE | Self::EXECUTE_USER;
        }
        if bits & Self::PRESENT == 0 || (rights.write && !rights.read) {
            return None;
        }
        Some(Self(page.address() | bits))
    }

    fn load(tables: &impl Tables, page: HostPhys, index: usize) -> Self {
        Self(tables.read(page, index))
    }

    fn store(self, tables: &mut impl Tables, page: HostPhys, index: usize) {
        tables.write(page, index, self.0);
    }

    /// The table or page that it refers to, if it is present.
    fn page(self) -> Option<HostPhys> {
        (self.0 & Self::PRESENT != 0).then_some(HostPhys::of_entry(self.0))
    }

    fn rights(self) -> Rights {
        Rights {
            read: self.0 & Self::READ != 0,
            write: self.0 & Self::WRITE != 0,
            execute: self.0 & Self::EXECUTE != 0,
        }
    }
}

/// A page directory: 1 GiB of guest-physical addresses, wherever it is linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EptDirectory(HostPhys);

impl EptDirectory {
    pub(crate) fn new(tables: &mut impl Tables) -> Result<Self, Error> {
        tables.allocate().map(Self).ok_or(Error::NoMemory)
    }

    /// Indexes into the directory and a page table, of the page `offset` bytes into the GiB.
    fn indexes(offset: u64) -> Option<(usize, usize)> {
        if offset >= GIB || !table::is_page_aligned(offset) {
            return None;
        }
        Some(((offset >> 21) as usize & 511, (offset >> 12) as usize & 511))
    }

    /// Maps `page` at `offset`, in bytes.
    pub(crate) fn map(
        &self,
        tables: &mut impl Tables,
        offset: u64,
        page: HostPhys,
        rights: Rights,
    ) -> Result<(), Error> {
        let (directory_index, index) = Self::indexes(offset).ok_or(Error::Invalid)?;
        let page = HostPhys::new(page.address()).ok_or(Error::Invalid)?;
        let leaf = EptEntry::leaf(page, rights).ok_or(Error::Invalid)?;

        if let Some(table) = EptEntry::load(tables, self.0, directory_index).page() {
            if EptEntry::load(tables, table, index).page().is_some() {
                return Err(Error::Exists);
            }
            leaf.store(tables, table, index);
        } else {
            let table = tables.allocate().ok_or(Error::NoMemory)?;
            leaf.store(tables, table, index);
            EptEntry::table(table).store(tables, self.0, directory_index);
        }
        Ok(())
    }

    /// Unmaps the page at `offset`, in bytes, and returns it.
    pub(crate) fn unmap(&self, tables: &mut impl Tables, offset: u64) -> Option<HostPhys> {
        let (directory_index, index) = Self::indexes(offset)?;
        let table = EptEntry::load(tables, self.0, directory_index).page()?;
        let page = EptEntry::load(tables, table, index).page()?;
        EptEntry(0).store(tables, table, index);
        Some(page)
    }

    /// The page at `offset`, in bytes.
    pub(crate) fn lookup(&self, tables: &impl Tables, offset: u64) -> Option<(HostPhys, Rights)> {
        let (directory_index, index) = Self::indexes(offset)?;
        let table = EptEntry::load(tables, self.0, directory_index).page()?;
        let leaf = EptEntry::load(tables, table, index);
        Some((leaf.page()?, leaf.rights()))
    }
}

/// The directories that several views share, by the GiB at which they are linked.
#[derive(Debug)]
pub(crate) struct EptDirectories {
    /// Like the page-directory-pointer table of a view.
    page: HostPhys,
    /// One was added since [`EptDirectories::take_added`].
    added: bool,
}

impl EptDirectories {
    pub(crate) fn new(tables: &mut impl Tables) -> Result<Self, Error> {
        let page = tables.allocate().ok_or(Error::NoMemory)?;
        Ok(Self { page, added: false })
    }

    /// Adds a directory. One is never taken out again.
    pub(crate) fn add(
        &mut self,
        tables: &mut impl Tables,
        gib_index: usize,
        directory: EptDirectory,
    ) -> Result<(), Error> {
        link(tables, self.page, gib_index, directory)?;
        self.added = true;
        Ok(())
    }

    pub(crate) fn get(&self, tables: &impl Tables, gib_index: usize) -> Option<EptDirectory> {
        if gib_index >= ENTRIES {
            return None;
        }
        let entry = EptEntry::load(tables, self.page, gib_index);
        entry.page().map(EptDirectory)
    }

    pub(crate) fn get_or_add(
        &mut self,
        tables: &mut impl Tables,
        gib_index: usize,
    ) -> Result<EptDirectory, Error> {
        if let Some(directory) = self.get(tables, gib_index) {
            return Ok(directory);
        }
        if gib_index >= ENTRIES {
            return Err(Error::Invalid);
        }
        let directory = EptDirectory::new(tables)?;
        self.add(tables, gib_index, directory)?;
        Ok(directory)
    }

    /// Whether directories were added since the last call.
    pub(crate) fn take_added(&mut self) -> bool {
        core::mem::take(&mut self.added)
    }
}

fn link(
    tables: &mut impl Tables,
    page: HostPhys,
    gib_index: usize,
    directory: EptDirectory,
) -> Result<(), Error> {
    if gib_index >= ENTRIES {
        return Err(Error::Invalid);
    }
    match EptEntry::load(tables, page, gib_index).page() {
        None => EptEntry::table(directory.0).store(tables, page, gib_index),
        Some(there) if there == directory.0 => {}
        Some(_) => return Err(Error::Exists),
    }
    Ok(())
}

/// The EPT of a view: the first 512 GiB of guest-physical addresses.
#[derive(Debug)]
pub(crate) struct Ept {
    root: HostPhys,
    /// The page-directory-pointer table.
    directories: HostPhys,
}

impl Ept {
    /// Maps nothing.
    pub(crate) fn new(tables: &mut impl Tables) -> Result<Self, Error> {
        let root = tables.allocate().ok_or(Error::NoMemory)?;
        let directories = tables.allocate().ok_or(Error::NoMemory)?;
        EptEntry::table(directories).store(tables, root, 0);
        Ok(Self { root, directories })
    }

    /// Links `directory` at `gib_index` GiB. That it is linked there already is no error.
    pub(crate) fn link(
        &self,
        tables: &mut impl Tables,
        gib_index: usize,
        directory: EptDirectory,
    ) -> Result<(), Error> {
        link(tables, self.directories, gib_index, directory)
    }

    /// Links all of `directories`.
    pub(crate) fn link_all(
        &self,
        tables: &mut impl Tables,
        directories: &EptDirectories,
    ) -> Result<(), Error> {
        for gib_index in 0..ENTRIES {
            if let Some(directory) = directories.get(tables, gib_index) {
                self.link(tables, gib_index, directory)?;
            }
        }
        Ok(())
    }

    pub(crate) fn eptp(&self) -> Eptp {
        Eptp::new(self.root)
    }
}

/// A processor's walk, written from the SDM and not with what is above.
#[cfg(test)]
pub(crate) mod walk {
    use super::table::{testing::Store, HostPhys};

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Access {
        Read,
        Write,
        Fetch,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Fault {
        Page,
        Violation,
        Misconfiguration,
    }

    fn host(entry: u64) -> HostPhys {
        HostPhys::new(entry & 0xf_ffff_ffff_f000).unwrap()
    }

    /// The page that an access to a guest-physical address gets to.
    pub(crate) fn physical(
        store: &Store,
        eptp: u64,
        address: u64,
        access: Access,
    ) -> Result<HostPhys, Fault> {
        assert_eq!(eptp & 0xfff, 0x1e);
        if address >> 48 != 0 {
            return Err(Fault::Violation);
        }
        let mut page = host(eptp);
        let mut allowed = 0x407;
        for shift in [39, 30, 21, 12] {
            let entry = store.load(page, (address >> shift & 511) as usize);
            if entry & 0x407 == 0 {
                return Err(Fault::Violation);
            }
            allowed &= entry;
            let reserved = if shift == 12 { 0 } else { 0xf8 };
            let memory_type = entry >> 3 & 7;
            if entry & 3 == 2
                || entry & reserved != 0
                || shift == 12 && memory_type != 6
                || shift == 12 && entry & 0x40 == 0
                || (entry & 4 == 0) != (entry & 0x400 == 0)
            {
                return Err(Fault::Misconfiguration);
            }
            page = host(entry);
        }
        let needed = match access {
            Access::Read => 1,
            Access::Write => 2,
            Access::Fetch => 4,
        };
        if allowed & needed == 0 {
            return Err(Fault::Violation);
        }
        Ok(page)
    }

    /// All that is mapped: guest-physical addresses, pages and leaf entries.
    pub(crate) fn mapped(store: &Store, eptp: u64) -> Vec<(u64, HostPhys, u64)> {
        let mut found = vec![(0, host(eptp), 0)];
        for shift in [39, 30, 21, 12] {
            let tables = std::mem::take(&mut found);
            for (address, page, _) in tables {
                for (index, entry) in store.entries(page).iter().copied().enumerate() {
                    if entry & 0x407 != 0 {
                        found.push((address | (index as u64) << shift, host(entry), entry));
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::table::{
        testing::{Random, Store},
        ADDRESS_MASK, PAGE_SIZE,
    };
    use super::walk::{mapped, physical, Access, Fault};
    use super::*;
    use std::collections::HashMap;

    fn page(number: u64) -> HostPhys {
        HostPhys::new(number * PAGE_SIZE).unwrap()
    }

    fn rights(bits: u64) -> Rights {
        Rights {
            read: bits & 1 != 0,
            write: bits & 2 != 0,
            execute: bits & 4 != 0,
        }
    }

    #[test]
    fn pointer_and_entries_have_their_bits() {
        assert_eq!(Eptp::new(page(0x12345)).value(), 0x1234_501e);
        assert_eq!(EptEntry::table(page(0x12345)).0, 0x1234_5407);
        let leaf = |rights| EptEntry::leaf(page(0x12345), rights).map(|entry| entry.0);
        assert_eq!(leaf(Rights::READ), Some(0x1234_5071));
        assert_eq!(leaf(Rights::READ_WRITE), Some(0x1234_5073));
        assert_eq!(leaf(Rights::EXECUTE), Some(0x1234_5474));
    }

    #[test]
    fn rights_that_are_misconfigured_are_refused() {
        let mut store = Store::new();
        let directory = EptDirectory::new(&mut store).unwrap();
        for bits in [0, 2, 6] {
            let result = directory.map(&mut store, 0, page(1), rights(bits));
            assert_eq!(result, Err(Error::Invalid), "{bits:#b}");
        }
        assert_eq!(store.count(), 1);
    }

    #[test]
    fn offsets_out_of_range_are_refused() {
        let mut store = Store::new();
        let directory = EptDirectory::new(&mut store).unwrap();
        for offset in [1, 0xfff, GIB, GIB + PAGE_SIZE, u64::MAX, !0xfff] {
            let result = directory.map(&mut store, offset, page(1), Rights::READ);
            assert_eq!(result, Err(Error::Invalid));
            assert_eq!(directory.lookup(&store, offset), None);
            assert_eq!(directory.unmap(&mut store, offset), None);
        }
        for address in [1, 0x800, 1 << 52] {
            let result = directory.map(&mut store, 0, HostPhys(address), Rights::READ);
            assert_eq!(result, Err(Error::Invalid));
        }
        let ept = Ept::new(&mut store).unwrap();
        assert_eq!(ept.link(&mut store, 512, directory), Err(Error::Invalid));
        let mut shared = EptDirectories::new(&mut store).unwrap();
        assert_eq!(shared.get_or_add(&mut store, 512), Err(Error::Invalid));
    }

    #[test]
    fn a_page_is_mapped_once() {
        let mut store = Store::new();
        let directory = EptDirectory::new(&mut store).unwrap();
        let map = |store: &mut Store, number| {
            directory.map(store, GIB - PAGE_SIZE, page(number), Rights::READ)
        };
        assert_eq!(map(&mut store, 1), Ok(()));
        assert_eq!(map(&mut store, 2), Err(Error::Exists));
        assert_eq!(directory.unmap(&mut store, GIB - PAGE_SIZE), Some(page(1)));
        assert_eq!(directory.unmap(&mut store, GIB - PAGE_SIZE), None);
        assert_eq!(map(&mut store, 2), Ok(()));
    }

    #[test]
    fn directories_are_shared() {
        let mut store = Store::new();
        let views = [Ept::new(&mut store).unwrap(), Ept::new(&mut store).unwrap()];
        let mut shared = EptDirectories::new(&mut store).unwrap();
        let directory = shared.get_or_add(&mut store, 3).unwrap();
        assert_eq!(shared.get_or_add(&mut store, 3), Ok(directory));
        assert!(shared.take_added() && !shared.take_added());
        for view in &views {
            view.link_all(&mut store, &shared).unwrap();
            view.link_all(&mut store, &shared).unwrap();
        }
        directory
            .map(&mut store, 0x5000, page(9), Rights::READ)
            .unwrap();
        for view in &views {
            let found = physical(&store, view.eptp().value(), 3 * GIB + 0x5000, Access::Read);
            assert_eq!(found, Ok(page(9)));
        }

        let other = EptDirectory::new(&mut store).unwrap();
        assert_eq!(views[0].link(&mut store, 3, other), Err(Error::Exists));
        assert_eq!(mapped(&store, views[0].eptp().value()).len(), 1);
        assert_eq!(mapped(&store, views[1].eptp().value()).len(), 1);
    }

    #[test]
    fn random_maps_are_what_a_walk_finds() {
        let mut random = Random(0x5eed);
        let mut store = Store::new();
        let ept = Ept::new(&mut store).unwrap();
        let gibs = [0, 7, 511];
        let directories = gibs.map(|gib| {
            let directory = EptDirectory::new(&mut store).unwrap();
            ept.link(&mut store, gib, directory).unwrap();
            directory
        });
        let mut model = HashMap::new();
        for _ in 0..20_000 {
            let which = random.below(3) as usize;
            let offset = random.below(8) << 27 | random.below(32) << 12;
            let key = (gibs[which] as u64) << 30 | offset;
            let new = (
                page(random.below(1 << 20)),
                rights([1, 3, 4, 5, 7][random.below(5) as usize]),
            );
            if random.below(2) == 0 {
                let result = directories[which].map(&mut store, offset, new.0, new.1);
                assert_eq!(result.is_ok(), !model.contains_key(&key));
                model.entry(key).or_insert(new);
            } else {
                let old = directories[which].unmap(&mut store, offset);
                assert_eq!(old, model.remove(&key).map(|(page, _)| page));
            }
            let found = directories[which].lookup(&store, offset);
            assert_eq!(found, model.get(&key).copied());
        }

        let eptp = ept.eptp().value();
        let found = mapped(&store, eptp);
        assert_eq!(found.len(), model.len());
        assert!(found.len() > 100);
        for (address, page, _) in found {
            let (expected, rights) = model[&address];
            assert_eq!(page, expected);
            for (access, allowed) in [
                (Access::Read, rights.read),
                (Access::Write, rights.write),
                (Access::Fetch, rights.execute),
            ] {
                let result = if allowed {
                    Ok(page)
                } else {
                    Err(Fault::Violation)
                };
                assert_eq!(physical(&store, eptp, address, access), result);
            }
        }
        assert_eq!(
            physical(&store, eptp, GIB, Access::Read),
            Err(Fault::Violation)
        );
        assert_eq!(
            physical(&store, eptp, 512 * GIB, Access::Read),
            Err(Fault::Violation)
        );
    }

    #[test]
    fn no_memory_changes_nothing() {
        let mut store = Store::new();
        let directory = EptDirectory::new(&mut store).unwrap();
        store.limit = store.count();
        let result = directory.map(&mut store, 0, page(1), Rights::READ);
        assert_eq!(result, Err(Error::NoMemory));
        assert_eq!(store.load(directory.0, 0), 0);
        assert!(matches!(Ept::new(&mut store), Err(Error::NoMemory)));
        assert!(EptDirectory::new(&mut store).is_err());
        assert!(EptDirectories::new(&mut store).is_err());
    }

    /// A store that says in which order entries were written.
    struct Recorder(Store, Vec<u64>);

    impl Tables for Recorder {
        fn allocate(&mut self) -> Option<HostPhys> {
            self.0.allocate()
        }

        fn read(&self, page: HostPhys, index: usize) -> u64 {
            self.0.read(page, index)
        }

        fn write(&mut self, page: HostPhys, index: usize, value: u64) {
            self.1.push(value & !ADDRESS_MASK);
            self.0.write(page, index, value);
        }
    }

    #[test]
    fn leaf_is_written_first() {
        let mut recorder = Recorder(Store::new(), Vec::new());
        let directory = EptDirectory::new(&mut recorder).unwrap();
        directory
            .map(&mut recorder, 0, page(1), Rights::READ)
            .unwrap();
        assert_eq!(recorder.1, [0x71, 0x407]);
    }
}
