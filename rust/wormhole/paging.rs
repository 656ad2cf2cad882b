// SPDX-License-Identifier: GPL-2.0

//! A view's own page tables for the guest: 4-level paging (Intel SDM vol. 3, 4.5), with the gate
//! region and a kernel half that leads nowhere.
//!
//! The guest cannot write to the tables, and the processor has no reason to: accessed is set in all
//! entries, and dirty in those that map writable pages. (Dirty without writable would be a
//! shadow-stack page, 4.6.1.) The processor has to have 1-GByte pages and 39 bits of
//! physical address, and the guest IA32_EFER.NXE set.
//!
//! Pure, without the kernel crate: `rustc --test` on this file runs its tests.

#[cfg(test)]
#[path = "ept.rs"]
pub(crate) mod ept;
#[cfg(not(test))]
use crate::{ept, table};
#[cfg(test)]
use ept::table;

use ept::EptDirectory;
use table::{
    is_page_aligned, Error, GuestLinear, GuestPhys, HostPhys, Rights, Tables, ADDRESS_MASK,
    ENTRIES, GIB, PAGE_SIZE,
};

/// Where a view's own guest-physical addresses begin. Below are only the CR3s of clients.
pub(crate) const VIEW_BASE: u64 = 256 * GIB;
/// The gate region's pages, 1 GiB.
pub(crate) const R0: u64 = VIEW_BASE;
/// The guest's page tables, 1 GiB, in the order in which they were allocated.
pub(crate) const R1: u64 = R0 + GIB;
/// Never mapped by an EPT, up to the end of what one maps.
pub(crate) const HOLE: u64 = VIEW_BASE + HOLE_SIZE;
/// 128 GiB, so that all of it has 39 bits, which every processor has.
const HOLE_SIZE: u64 = 128 * GIB;

/// Linear address of the gate region: `WORMHOLE_GATE_REGION`.
pub(crate) const GATE_REGION: u64 = 0x6f5a_4000_0000;
/// The end of the lower half of linear addresses.
const USER_END: u64 = 1 << 47;
/// As many as R1 has room for.
const MAX_TABLES: u64 = GIB / PAGE_SIZE;

/// An entry of a paging structure (4.5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry(u64);

impl Entry {
    const PRESENT: u64 = 1 << 0;
    const WRITE: u64 = 1 << 1;
    const USER: u64 = 1 << 2;
    const ACCESSED: u64 = 1 << 5;
    const DIRTY: u64 = 1 << 6;
    /// Maps a page: 1 GiB, in a page-directory-pointer table.
    const LARGE: u64 = 1 << 7;
    const EXECUTE_DISABLE: u64 = 1 << 63;

    const TABLE: u64 = Self::PRESENT | Self::WRITE | Self::ACCESSED;
    const GIB_PAGE: u64 = Self::TABLE | Self::DIRTY | Self::LARGE;

    /// Refers to a table for the lower half.
    const fn table(address: GuestPhys) -> Self {
        Self(address.0 | Self::TABLE | Self::USER)
    }

    /// Refers to the table for all of the upper half.
    const fn hole_table(address: GuestPhys) -> Self {
        Self(address.0 | Self::TABLE)
    }

    /// The gate region: what may be done with its pages is the EPT's.
    const fn gate() -> Self {
        Self(R0 | Self::GIB_PAGE | Self::USER)
    }

    /// A GiB of the upper half.
    const fn hole(gib_index: usize) -> Self {
        Self((HOLE + ((gib_index as u64) << 30) % HOLE_SIZE) | Self::GIB_PAGE)
    }

    /// Maps a 4 KiB page. That a page may not be read only an EPT can say.
    const fn leaf(page: GuestPhys, rights: Rights) -> Self {
        let mut bits = Self::PRESENT | Self::USER | Self::ACCESSED;
        if rights.write {
            bits |= Self::WRITE | Self::DIRTY;
        }
        if !rights.execute {
            bits |= Self::EXECUTE_DISABLE;
        }
        Self(page.0 | bits)
    }

    fn load(tables: &impl Tables, page: HostPhys, index: usize) -> Self {
        Self(tables.read(page, index))
    }

    fn store(self, tables: &mut impl Tables, page: HostPhys, index: usize) {
        tables.write(page, index, self.0);
    }

    fn present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    fn address(self) -> GuestPhys {
        GuestPhys(self.0 & ADDRESS_MASK)
    }

    fn rights(self) -> Rights {
        Rights {
            read: true,
            write: self.0 & Self::WRITE != 0,
            execute: self.0 & Self::EXECUTE_DISABLE == 0,
        }
    }
}

/// The index of `linear` into a table whose entries map `1 << shift` bytes each.
const fn index(linear: u64, shift: u32) -> usize {
    (linear >> shift) as usize & (ENTRIES - 1)
}

/// Entries of the three upper levels, by what they map.
const UPPER_SHIFTS: [u32; 3] = [39, 30, 21];

/// Page tables of a view, at [`R1`] and in the directory to be linked there.
#[derive(Debug)]
pub(crate) struct GuestTables {
    pml4: HostPhys,
    /// Maps the tables read-only. Table `i` is at `i * 4096`.
    directory: EptDirectory,
    count: u64,
}

impl GuestTables {
    /// With nothing but the gate region and the hole.
    pub(crate) fn new(tables: &mut impl Tables) -> Result<Self, Error> {
        let directory = EptDirectory::new(tables)?;
        let mut count = 0;
        let (pml4, _) = Self::add(tables, &directory, &mut count)?;
        let (gate, gate_address) = Self::add(tables, &directory, &mut count)?;
        let (hole, hole_address) = Self::add(tables, &directory, &mut count)?;

        Entry::gate().store(tables, gate, index(GATE_REGION, 30));
        Entry::table(gate_address).store(tables, pml4, index(GATE_REGION, 39));
        for gib_index in 0..ENTRIES {
            Entry::hole(gib_index).store(tables, hole, gib_index);
        }
        for upper in ENTRIES / 2..ENTRIES {
            Entry::hole_table(hole_address).store(tables, pml4, upper);
        }
        Ok(Self {
            pml4,
            directory,
            count,
        })
    }

    /// A zeroed table, which the guest can reach.
    fn add(
        tables: &mut impl Tables,
        directory: &EptDirectory,
        count: &mut u64,
    ) -> Result<(HostPhys, GuestPhys), Error> {
        if *count >= MAX_TABLES {
            return Err(Error::NoMemory);
        }
        let page = tables.allocate().ok_or(Error::NoMemory)?;
        let offset = *count << 12;
        directory.map(tables, offset, page, Rights::READ)?;
        *count += 1;
        Ok((page, GuestPhys(R1 | offset)))
    }

    /// The page of the table that an entry refers to.
    fn page_of(&self, tables: &impl Tables, entry: Entry) -> Option<HostPhys> {
        let offset = entry.address().0.checked_sub(R1)?;
        let (page, _) = self.directory.lookup(tables, offset)?;
        Some(page)
    }

    /// The root table.
    pub(crate) fn pml4(&self) -> HostPhys {
        self.pml4
    }

    /// The directory of the tables, for [`R1`]. Tables that are added are in it at once.
    pub(crate) fn directory(&self) -> EptDirectory {
        self.directory
    }

    /// All tables so far, in the order in which they were added.
    #[cfg(test)]
    pub(crate) fn pages<'a>(
        &'a self,
        tables: &'a impl Tables,
    ) -> impl Iterator<Item = (GuestPhys, HostPhys)> + 'a {
        (0..self.count).filter_map(move |number| {
            let (page, _) = self.directory.lookup(tables, number << 12)?;
            Some((GuestPhys(R1 | number << 12), page))
        })
    }

    /// Whether a page can be mapped at `linear`: the lower half outside the gate region.
    pub(crate) fn can_map(linear: GuestLinear) -> bool {
        linear.0 < USER_END && is_page_aligned(linear.0) && linear.0 & !(GIB - 1) != GATE_REGION
    }

    /// The page table for `linear`, if there is one.
    fn page_table(&self, tables: &impl Tables, linear: GuestLinear) -> Option<HostPhys> {
        if !Self::can_map(linear) {
            return None;
        }
        UPPER_SHIFTS.iter().try_fold(self.pml4, |page, shift| {
            let entry = Entry::load(tables, page, index(linear.0, *shift));
            if !entry.present() {
                return None;
            }
            self.page_of(tables, entry)
        })
    }

    /// Maps a page of the guest-physical address space of the view. Tables that it adds stay, also
    /// on error.
    pub(crate) fn map(
        &mut self,
        tables: &mut impl Tables,
        linear: GuestLinear,
        page: GuestPhys,
        rights: Rights,
    ) -> Result<(), Error> {
        if !Self::can_map(linear) || !is_page_aligned(page.0) || page.0 >= HOLE {
            return Err(Error::Invalid);
        }

        let mut table = self.pml4;
        for shift in UPPER_SHIFTS {
            let index = index(linear.0, shift);
            let entry = Entry::load(tables, table, index);
            table = if entry.present() {
                self.page_of(tables, entry).ok_or(Error::Invalid)?
            } else {
                let (new, address) = Self::add(tables, &self.directory, &mut self.count)?;
                Entry::table(address).store(tables, table, index);
                new
            };
        }

        let index = index(linear.0, 12);
        if Entry::load(tables, table, index).present() {
            return Err(Error::Exists);
        }
        Entry::leaf(page, rights).store(tables, table, index);
        Ok(())
    }

    /// Unmaps the page at `linear`, and returns where it was.
    pub(crate) fn unmap(
        &mut self,
        tables: &mut impl Tables,
        linear: GuestLinear,
    ) -> Option<GuestPhys> {
        let (page, _) = self.lookup(tables, linear)?;
        let table = self.page_table(tables, linear)?;
        Entry(0).store(tables, table, index(linear.0, 12));
        Some(page)
    }

    /// The page at `linear`, and what these tables let the guest do with it.
    pub(crate) fn lookup(
        &self,
        tables: &impl Tables,
        linear: GuestLinear,
    ) -> Option<(GuestPhys, Rights)> {
        let table = self.page_table(tables, linear)?;
        let leaf = Entry::load(tables, table, index(linear.0, 12));
        leaf.present().then(|| (leaf.address(), leaf.rights()))
    }
}

/// A processor's walk of both dimensions, written from the SDM and not with what is above.
#[cfg(test)]
pub(crate) mod walk {
    pub(crate) use super::ept::walk::{mapped, physical, Access, Fault};
    use super::table::{testing::Store, HostPhys};

    /// An access to a linear address with 4-level paging, at CPL 3 if `user`; CR0.WP, CR4.SMEP and
    /// IA32_EFER.NXE are 1, CR4.SMAP is 0. Faults of the guest's come last: where an entry of the
    /// guest's tables cannot be read, or would be written to, that is the EPT's fault.
    pub(crate) fn linear(
        store: &Store,
        eptp: u64,
        cr3: u64,
        address: u64,
        access: Access,
        user: bool,
    ) -> Result<HostPhys, Fault> {
        if (address as i64) << 16 >> 16 != address as i64 {
            return Err(Fault::Page);
        }
        let mut table = cr3;
        let (mut writable, mut of_user, mut executable) = (true, true, true);
        for shift in [39, 30, 21, 12] {
            let page = physical(store, eptp, table, Access::Read)?;
            let entry = store.load(page, (address >> shift & 511) as usize);
            if entry & 1 == 0 {
                return Err(Fault::Page);
            }
            let large = shift != 12 && entry & 0x80 != 0;
            let low = if large { (1 << shift) - 1 } else { 0xfff };
            if shift == 39 && large || entry & 0xf_ffff_ffff_f000 & low & !(1 << 12) & !0xfff != 0 {
                return Err(Fault::Page);
            }
            writable &= entry & 2 != 0;
            of_user &= entry & 4 != 0;
            executable &= entry >> 63 == 0;
            table = entry & 0xf_ffff_ffff_f000 & !low;
            let leaf = large || shift == 12;
            if leaf {
                table |= address & low & !0xfff;
            }

            let may = match access {
                Access::Read => true,
                Access::Write => writable,
                Access::Fetch => executable && (user || !of_user),
            };
            if leaf && (!may || user && !of_user) {
                return Err(Fault::Page);
            }
            let dirty = leaf && access == Access::Write;
            if entry & 0x20 == 0 || dirty && entry & 0x40 == 0 {
                return Err(Fault::Violation);
            }
            assert!(!leaf || entry & 0x42 != 0x40, "shadow stack");
            if leaf {
                return physical(store, eptp, table, access);
            }
        }
        unreachable!()
    }
}

#[cfg(test)]
mod tests {
    use super::table::testing::{Random, Store};
    use super::walk::{linear, Access, Fault};
    use super::*;
    use ept::Ept;
    use std::collections::HashMap;

    /// The tables in an EPT that has nothing else.
    fn with_ept() -> (Store, GuestTables, u64) {
        let mut store = Store::new();
        let guest = GuestTables::new(&mut store).unwrap();
        let ept = Ept::new(&mut store).unwrap();
        ept.link(&mut store, (R1 >> 30) as usize, guest.directory())
            .unwrap();
        (store, guest, ept.eptp().value())
    }

    fn rights(bits: u64) -> Rights {
        Rights {
            read: true,
            write: bits & 1 != 0,
            execute: bits & 2 != 0,
        }
    }

    #[test]
    fn entries_have_their_bits() {
        let (store, guest, _) = with_ept();
        let pages: Vec<_> = guest.pages(&store).collect();
        assert_eq!(pages.len(), 3);
        assert_eq!(pages[0], (GuestPhys(0x40_4000_0000), guest.pml4()));
        assert_eq!(store.load(pages[0].1, 222), 0x40_4000_1027);
        assert_eq!(store.load(pages[0].1, 256), 0x40_4000_2023);
        assert_eq!(store.load(pages[0].1, 511), 0x40_4000_2023);
        assert_eq!(store.load(pages[1].1, 361), 0x40_0000_00e7);
        assert_eq!(store.load(pages[2].1, 0), 0x60_0000_00e3);
        assert_eq!(store.load(pages[2].1, 127), 0x7f_c000_00e3);
        assert_eq!(store.load(pages[2].1, 128), 0x60_0000_00e3);
        assert_eq!(store.load(pages[2].1, 511), 0x7f_c000_00e3);
        let set = [0, 1, 2].map(|number: usize| {
            let entries = (0..512).map(|index| store.load(pages[number].1, index));
            entries.filter(|entry| *entry != 0).count()
        });
        assert_eq!(set, [257, 1, 512]);
    }

    #[test]
    fn leaves_have_their_bits() {
        let leaf = |bits| Entry::leaf(GuestPhys(0x5000), rights(bits)).0;
        assert_eq!(leaf(0), 0x8000_0000_0000_5025);
        assert_eq!(leaf(1), 0x8000_0000_0000_5067);
        assert_eq!(leaf(2), 0x5025);
        assert_eq!(leaf(3), 0x5067);
    }

    #[test]
    fn upper_half_is_a_hole() {
        let (store, _, eptp) = with_ept();
        for upper in 256..512 {
            // All GiBs of the first and the last entry, and one of each other.
            let gibs = match upper {
                256 | 511 => 0..512,
                _ => upper..upper + 1,
            };
            for gib in gibs {
                let address = 0xffff << 48 | upper << 39 | gib << 30 | 0x1234_5000;
                for access in [Access::Read, Access::Write, Access::Fetch] {
                    let result = linear(&store, eptp, R1, address, access, false);
                    assert_eq!(result, Err(Fault::Violation), "{address:#x} {access:?}");
                    let result = linear(&store, eptp, R1, address, access, true);
                    assert_eq!(result, Err(Fault::Page), "{address:#x} {access:?}");
                }
            }
        }
    }

    #[test]
    fn addresses_out_of_range_are_refused() {
        let (mut store, mut guest, _) = with_ept();
        let linears = [
            1,
            0xfff,
            GATE_REGION,
            GATE_REGION + 0x1234_5000,
            GATE_REGION + GIB - PAGE_SIZE,
            USER_END,
            0x0001_0000_0000_0000,
            0xffff_8000_0000_0000,
            !0xfff,
        ];
        for linear in linears.map(GuestLinear) {
            assert!(!GuestTables::can_map(linear));
            let result = guest.map(&mut store, linear, GuestPhys(0), Rights::READ);
            assert_eq!(result, Err(Error::Invalid), "{linear:?}");
            assert_eq!(guest.lookup(&store, linear), None);
            assert_eq!(guest.unmap(&mut store, linear), None);
        }
        for page in [1, 0x800, HOLE, !0xfff] {
            let result = guest.map(&mut store, GuestLinear(0), GuestPhys(page), Rights::READ);
            assert_eq!(result, Err(Error::Invalid), "{page:#x}");
        }
        assert_eq!(guest.pages(&store).count(), 3);
        for linear in [
            GATE_REGION - PAGE_SIZE,
            GATE_REGION + GIB,
            USER_END - PAGE_SIZE,
            0,
        ] {
            let linear = GuestLinear(linear);
            guest
                .map(&mut store, linear, GuestPhys(0), Rights::READ)
                .unwrap();
        }
    }

    #[test]
    fn random_maps_are_what_a_walk_finds() {
        let mut random = Random(0x5eed);
        let (mut store, mut guest, eptp) = with_ept();
        let target = VIEW_BASE + 2 * GIB;
        let pages = EptDirectory::new(&mut store).unwrap();
        let ept = Ept::new(&mut store).unwrap();
        ept.link(&mut store, 257, guest.directory()).unwrap();
        ept.link(&mut store, 258, pages).unwrap();
        let all = Rights {
            read: true,
            write: true,
            execute: true,
        };
        for number in 0..64 {
            let page = HostPhys::new(0x1000 * (number + 1)).unwrap();
            pages.map(&mut store, number << 12, page, all).unwrap();
        }
        let bases = [
            0,
            0x5555_5555_4000,
            GATE_REGION - 0x8000,
            GATE_REGION + GIB,
            0x7fff_fff0_0000,
        ];
        let mut model = HashMap::new();
        for _ in 0..20_000 {
            let address = bases[random.below(5) as usize] + (random.below(8) << 12);
            let key = GuestLinear(address);
            let number = random.below(64);
            let new = (GuestPhys(target + (number << 12)), rights(random.below(4)));
            if random.below(2) == 0 {
                let result = guest.map(&mut store, key, new.0, new.1);
                let expected = if model.contains_key(&key) {
                    Err(Error::Exists)
                } else {
                    Ok(())
                };
                assert_eq!(result, expected);
                model.entry(key).or_insert(new);
            } else {
                let old = guest.unmap(&mut store, key);
                assert_eq!(old, model.remove(&key).map(|(page, _)| page));
            }
            let now = model.get(&key).copied();
            assert_eq!(guest.lookup(&store, key), now);
            for access in [Access::Read, Access::Write, Access::Fetch] {
                let found = linear(&store, ept.eptp().value(), R1, address, access, true);
                let expected = now.filter(|(_, rights)| match access {
                    Access::Read => true,
                    Access::Write => rights.write,
                    Access::Fetch => rights.execute,
                });
                match expected {
                    Some((page, _)) => {
                        let offset = page.0 - target;
                        assert_eq!(found.map(HostPhys::address), Ok(offset + 0x1000));
                    }
                    None => assert_eq!(found, Err(Fault::Page)),
                }
            }
        }
        assert_eq!(guest.pages(&store).count(), store_tables(&store, eptp));
    }

    fn store_tables(store: &Store, eptp: u64) -> usize {
        let mapped = super::walk::mapped(store, eptp);
        assert!(mapped.iter().all(|(_, _, entry)| entry & 0xfff == 0x71));
        mapped.len()
    }

    #[test]
    fn no_memory_is_not_for_ever() {
        let (mut store, mut guest, _) = with_ept();
        let linear = GuestLinear(0x1234_5000);
        for _ in 0..3 {
            store.limit = store.count();
            let result = guest.map(&mut store, linear, GuestPhys(0), Rights::READ);
            assert_eq!(result, Err(Error::NoMemory));
            store.limit += 1;
            assert_eq!(guest.lookup(&store, linear), None);
            let _ = guest.map(&mut store, linear, GuestPhys(0), Rights::READ);
        }
        store.limit = usize::MAX;
        assert_eq!(
            guest.map(&mut store, linear, GuestPhys(0), Rights::READ),
            Err(Error::Exists)
        );
        store.limit = 0;
        assert!(GuestTables::new(&mut store).is_err());
    }

    #[test]
    fn tables_have_a_limit() {
        let (mut store, mut guest, _) = with_ept();
        guest.count = MAX_TABLES - 2;
        let map = |guest: &mut GuestTables, store: &mut Store, linear| {
            guest.map(store, GuestLinear(linear), GuestPhys(0), Rights::READ)
        };
        assert_eq!(map(&mut guest, &mut store, 0), Err(Error::NoMemory));
        assert_eq!(guest.count, MAX_TABLES);
        assert_eq!(map(&mut guest, &mut store, 0), Err(Error::NoMemory));
    }
}
