// SPDX-License-Identifier: GPL-2.0

//! The two views of a client vCPU that exitless calls go through: the gate view (E), which has only
//! the gate, and the server view (V), which has a session's registered memory.
//!
//! Guest-physical layout of both, all in 4 KiB pages:
//!
//! - from 0: at the CR3 of each bound process the view's PML4, read-only
//! - [`VIEW_BASE`], which is [`R0`]: the gate region, by offset from its start
//! - [`R1`]: the guest's page tables, read-only
//! - [`R2`]: in V, the registered pages
//! - `HOLE`: never mapped
//!
//! The guest maps the gate region with one 1 GiB page, and nothing of it is within the first 2 MiB:
//! whatever the client has in CR3 or in its PDPTEs, and whatever its paging mode, E's tables lead
//! to the list page and the slot page at their own linear addresses only, where the gate is too.
//!
//! Directories are added to what views share (by `bind` and `register`), but never taken out; what
//! was unmapped is gone from all views. It is the caller's to invalidate (INVEPT) after `unbind`
//! and `unregister`, before the page is used for anything else or another is registered.
//!
//! Pure, without the kernel crate: `rustc --test` on this file runs its tests.

#[cfg(test)]
#[path = "paging.rs"]
mod paging;
#[cfg(not(test))]
use crate::{ept, paging, table};
#[cfg(test)]
use paging::{ept, ept::table};

use ept::{Ept, EptDirectories, EptDirectory, Eptp};
use paging::{GuestTables, R0, R1, VIEW_BASE};
use table::{Error, GuestLinear, GuestPhys, HostPhys, Rights, Tables, GIB, PAGE_SIZE};

/// Registered pages, without gaps.
pub(crate) const R2: u64 = R1 + GIB;
/// How many pages a session can register: 8 GiB.
pub(crate) const R2_PAGES: u64 = 8 * GIB / PAGE_SIZE;

/// Offset in the gate region of the gate page: `WORMHOLE_GATE_ADDRESS - WORMHOLE_GATE_REGION`.
pub(crate) const GATE_PAGE: u64 = 0x1234_5000;
/// Offset in the gate region of the EPTP list, in E.
pub(crate) const LIST_PAGE: u64 = 0x190b_3000;
/// Offset in the gate region of the vCPU's slot page, in E.
pub(crate) const SLOT_PAGE: u64 = 0x183c_2000;
/// Offset in the gate region of the carrier page, in V.
pub(crate) const CARRIER_PAGE: u64 = 0x1234_b000;

const fn gib_index(address: u64) -> usize {
    (address >> 30) as usize
}

const fn gib_offset(address: u64) -> u64 {
    address & (GIB - 1)
}

/// What is to be done with the views that exist.
#[must_use = "views that exist have to be relinked to reach a new directory"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relink {
    /// `relink` for each: not all of them reach what was added.
    Needed,
    NotNeeded,
}

/// What the views of one kind share: directories, and the guest's tables, which are among them.
#[derive(Debug)]
struct Shared {
    guest: GuestTables,
    directories: EptDirectories,
}

impl Shared {
    fn new(tables: &mut impl Tables) -> Result<Self, Error> {
        let guest = GuestTables::new(tables)?;
        let mut directories = EptDirectories::new(tables)?;
        directories.add(tables, gib_index(R1), guest.directory())?;
        // Every view has those from its beginning.
        directories.take_added();
        Ok(Self { guest, directories })
    }

    /// Directories that a failed attempt left behind count too.
    fn relink(&mut self) -> Relink {
        if self.directories.take_added() {
            Relink::Needed
        } else {
            Relink::NotNeeded
        }
    }

    /// Maps the PML4 where a process of the client has its own.
    fn bind(&mut self, tables: &mut impl Tables, cr3: GuestPhys) -> Result<(), Error> {
        if cr3.0 >= VIEW_BASE || !table::is_page_aligned(cr3.0) {
            return Err(Error::Invalid);
        }
        let directory = self.directories.get_or_add(tables, gib_index(cr3.0))?;
        let pml4 = self.guest.pml4();
        directory.map(tables, gib_offset(cr3.0), pml4, Rights::READ)
    }

    /// Whether it was bound.
    fn unbind(&mut self, tables: &mut impl Tables, cr3: GuestPhys) -> bool {
        if cr3.0 >= VIEW_BASE {
            return false;
        }
        let directory = self.directories.get(tables, gib_index(cr3.0));
        directory.is_some_and(|directory| directory.unmap(tables, gib_offset(cr3.0)).is_some())
    }
}

/// An EPT whose gate region is its own, and all else shared.
fn new_view(
    tables: &mut impl Tables,
    shared: &Shared,
    pages: &[(u64, HostPhys, Rights)],
) -> Result<Ept, Error> {
    let region = EptDirectory::new(tables)?;
    for (offset, page, rights) in pages {
        region.map(tables, *offset, *page, *rights)?;
    }
    let ept = Ept::new(tables)?;
    ept.link(tables, gib_index(R0), region)?;
    ept.link_all(tables, &shared.directories)?;
    Ok(ept)
}

/// What the gate views (E) of a client VM share.
#[derive(Debug)]
pub(crate) struct GateTables(Shared);

impl GateTables {
    /// With no process bound.
    pub(crate) fn new(tables: &mut impl Tables) -> Result<Self, Error> {
        Shared::new(tables).map(Self)
    }

    /// Lets the process with this CR3 (its address bits) enter. `Exists` if it can already.
    pub(crate) fn bind(
        &mut self,
        tables: &mut impl Tables,
        cr3: GuestPhys,
    ) -> Result<Relink, Error> {
        self.0.bind(tables, cr3)?;
        Ok(self.0.relink())
    }

    /// The opposite of [`GateTables::bind`]. Returns whether the process was bound.
    pub(crate) fn unbind(&mut self, tables: &mut impl Tables, cr3: GuestPhys) -> bool {
        self.0.unbind(tables, cr3)
    }
}

/// The pages of one vCPU's gate view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatePages {
    /// The image of E, to be executed only.
    pub(crate) gate: HostPhys,
    /// The EPTP list.
    pub(crate) list: HostPhys,
    pub(crate) slot: HostPhys,
}

/// The gate view (E) of a vCPU.
#[derive(Debug)]
pub(crate) struct GateView(Ept);

impl GateView {
    pub(crate) fn new(
        tables: &mut impl Tables,
        shared: &GateTables,
        pages: GatePages,
    ) -> Result<Self, Error> {
        let pages = [
            (GATE_PAGE, pages.gate, Rights::EXECUTE),
            (LIST_PAGE, pages.list, Rights::READ_WRITE),
            (SLOT_PAGE, pages.slot, Rights::READ_WRITE),
        ];
        new_view(tables, &shared.0, &pages).map(Self)
    }

    /// See [`Relink`]. Doing it needlessly is no error.
    pub(crate) fn relink(
        &self,
        tables: &mut impl Tables,
        shared: &GateTables,
    ) -> Result<(), Error> {
        self.0.link_all(tables, &shared.0.directories)
    }

    pub(crate) fn eptp(&self) -> Eptp {
        self.0.eptp()
    }
}

/// Hands out numbers, the smallest first when there are none that were given back.
///
/// Those are on a stack of pages: entry 0 is the page before, entry 1 the page after, the others
/// are numbers. It has room for all numbers that were ever handed out.
#[derive(Debug)]
struct Numbers {
    limit: u64,
    /// Has never been handed out, like all above.
    next: u64,
    /// How many fit in the stack.
    room: u64,
    /// The stack's top, and how many numbers are in that page.
    top: Option<HostPhys>,
    used: usize,
    /// The stack's last page.
    last: Option<HostPhys>,
}

impl Numbers {
    const BEFORE: usize = 0;
    const AFTER: usize = 1;
    const LINKS: usize = 2;
    const PER_PAGE: usize = table::ENTRIES - Self::LINKS;

    const fn new(limit: u64) -> Self {
        Self {
            limit,
            next: 0,
            room: 0,
            top: None,
            used: 0,
            last: None,
        }
    }

    /// The page that `page` is linked to.
    fn linked(tables: &impl Tables, page: HostPhys, link: usize) -> Option<HostPhys> {
        HostPhys::new(tables.read(page, link)).filter(|linked| linked.address() != 0)
    }

    fn take(&mut self, tables: &mut impl Tables) -> Result<u64, Error> {
        if let Some(number) = self.pop(tables) {
            return Ok(number);
        }
        if self.next >= self.limit {
            return Err(Error::NoMemory);
        }
        if self.next >= self.room {
            let page = tables.allocate().ok_or(Error::NoMemory)?;
            if let Some(last) = self.last {
                tables.write(page, Self::BEFORE, last.address());
                tables.write(last, Self::AFTER, page.address());
            }
            self.last = Some(page);
            self.top = self.top.or(self.last);
            self.room += Self::PER_PAGE as u64;
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    fn pop(&mut self, tables: &impl Tables) -> Option<u64> {
        let mut top = self.top?;
        if self.used == 0 {
            top = Self::linked(tables, top, Self::BEFORE)?;
            self.top = Some(top);
            self.used = Self::PER_PAGE;
        }
        self.used -= 1;
        Some(tables.read(top, Self::LINKS + self.used))
    }

    /// Takes back a number that was handed out.
    fn give_back(&mut self, tables: &mut impl Tables, number: u64) {
        let Some(mut top) = self.top else { return };
        if self.used == Self::PER_PAGE {
            let Some(after) = Self::linked(tables, top, Self::AFTER) else {
                return;
            };
            top = after;
            self.top = Some(top);
            self.used = 0;
        }
        tables.write(top, Self::LINKS + self.used, number);
        self.used += 1;
    }
}

/// What the server views (V) of a session share: the server process's registered memory.
#[derive(Debug)]
pub(crate) struct ServerSpace {
    shared: Shared,
    /// Of the pages in R2.
    numbers: Numbers,
    cr3: Option<GuestPhys>,
}

impl ServerSpace {
    /// With nothing registered, and not bound.
    pub(crate) fn new(tables: &mut impl Tables) -> Result<Self, Error> {
        Ok(Self {
            shared: Shared::new(tables)?,
            numbers: Numbers::new(R2_PAGES),
            cr3: None,
        })
    }

    /// Lets the process with this CR3 (its address bits) in. `Exists` if one is already.
    pub(crate) fn bind(
        &mut self,
        tables: &mut impl Tables,
        cr3: GuestPhys,
    ) -> Result<Relink, Error> {
        if self.cr3.is_some() {
            return Err(Error::Exists);
        }
        self.shared.bind(tables, cr3)?;
        self.cr3 = Some(cr3);
        Ok(self.shared.relink())
    }

    /// The opposite of [`ServerSpace::bind`]. Returns the CR3 that was bound.
    pub(crate) fn unbind(&mut self, tables: &mut impl Tables) -> Option<GuestPhys> {
        let cr3 = self.cr3.take()?;
        self.shared.unbind(tables, cr3);
        Some(cr3)
    }

    /// The directory and the offset in it of page `number` of R2.
    fn place(number: u64) -> (usize, u64) {
        let address = R2 + (number << 12);
        (gib_index(address), gib_offset(address))
    }

    /// Maps `page` at `linear`. `Invalid` if it would be writable and executable.
    pub(crate) fn register(
        &mut self,
        tables: &mut impl Tables,
        linear: GuestLinear,
        page: HostPhys,
        rights: Rights,
    ) -> Result<Relink, Error> {
        if rights.write && rights.execute || !GuestTables::can_map(linear) {
            return Err(Error::Invalid);
        }
        if self.shared.guest.lookup(tables, linear).is_some() {
            return Err(Error::Exists);
        }
        let number = self.numbers.take(tables)?;
        let result = self.map(tables, linear, number, page, rights);
        if let Err(error) = result {
            self.numbers.give_back(tables, number);
            return Err(error);
        }
        Ok(self.shared.relink())
    }

    fn map(
        &mut self,
        tables: &mut impl Tables,
        linear: GuestLinear,
        number: u64,
        page: HostPhys,
        rights: Rights,
    ) -> Result<(), Error> {
        let (gib_index, offset) = Self::place(number);
        let directory = self.shared.directories.get_or_add(tables, gib_index)?;
        directory.map(tables, offset, page, rights)?;
        let address = GuestPhys(R2 + (number << 12));
        let result = self.shared.guest.map(tables, linear, address, rights);
        if result.is_err() {
            directory.unmap(tables, offset);
        }
        result
    }

    /// Number of the page at `linear`, and its directory and offset.
    fn find(&self, tables: &impl Tables, linear: GuestLinear) -> Option<(u64, EptDirectory, u64)> {
        let (address, _) = self.shared.guest.lookup(tables, linear)?;
        let number = address.0.checked_sub(R2)? >> 12;
        let (gib_index, offset) = Self::place(number);
        let directory = self.shared.directories.get(tables, gib_index)?;
        Some((number, directory, offset))
    }

    /// The page at `linear`.
    #[cfg(test)]
    pub(crate) fn lookup(
        &self,
        tables: &impl Tables,
        linear: GuestLinear,
    ) -> Option<(HostPhys, Rights)> {
        let (_, directory, offset) = self.find(tables, linear)?;
        directory.lookup(tables, offset)
    }

    /// Takes out the page at `linear`, and returns it.
    pub(crate) fn unregister(
        &mut self,
        tables: &mut impl Tables,
        linear: GuestLinear,
    ) -> Option<HostPhys> {
        let (number, directory, offset) = self.find(tables, linear)?;
        self.shared.guest.unmap(tables, linear)?;
        let page = directory.unmap(tables, offset)?;
        self.numbers.give_back(tables, number);
        Some(page)
    }
}

/// The pages of one carrier's server view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerPages {
    /// The image of V, to be executed only.
    pub(crate) gate: HostPhys,
    pub(crate) carrier: HostPhys,
}

/// The server view (V) of a carrier.
#[derive(Debug)]
pub(crate) struct ServerView(Ept);

impl ServerView {
    pub(crate) fn new(
        tables: &mut impl Tables,
        space: &ServerSpace,
        pages: ServerPages,
    ) -> Result<Self, Error> {
        let pages = [
            (GATE_PAGE, pages.gate, Rights::EXECUTE),
            (CARRIER_PAGE, pages.carrier, Rights::READ),
        ];
        new_view(tables, &space.shared, &pages).map(Self)
    }

    /// See [`Relink`]. Doing it needlessly is no error.
    pub(crate) fn relink(
        &self,
        tables: &mut impl Tables,
        space: &ServerSpace,
    ) -> Result<(), Error> {
        self.0.link_all(tables, &space.shared.directories)
    }

    pub(crate) fn eptp(&self) -> Eptp {
        self.0.eptp()
    }
}

/// Where a client can get to in a view, whatever it has in its registers.
#[cfg(test)]
mod reach {
    use super::paging::walk::{mapped, physical, Access};
    use super::table::{testing::Store, HostPhys};

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum Mode {
        FiveLevel,
        FourLevel,
        /// With the table at this PDPTE.
        Pae(u64),
        /// 32-bit paging, with 4 MiB pages and PSE-36.
        Legacy,
    }

    /// A page that a mode, with a root table, has at a linear address.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Reached {
        pub(super) mode: Mode,
        pub(super) root: u64,
        pub(super) linear: u64,
        pub(super) page: HostPhys,
        pub(super) writable: bool,
        pub(super) executable: bool,
    }

    struct Walk<'a> {
        store: &'a Store,
        eptp: u64,
        mapped: Vec<(u64, HostPhys, u64)>,
        found: Vec<Reached>,
    }

    impl Walk<'_> {
        /// All of a table's entries; `level` 1 is a page table. The guest's rights and reserved
        /// bits are not looked at, but for PS where no page can be.
        fn table(&mut self, mode: Mode, root: u64, table: u64, level: u32, linear: u64) {
            let Ok(page) = physical(self.store, self.eptp, table, Access::Read) else {
                return;
            };
            let legacy = mode == Mode::Legacy;
            let (count, bits) = if legacy { (1024, 10) } else { (512, 9) };
            let entries = self.store.entries(page);
            for index in 0..count {
                let entry = if legacy {
                    entries[index >> 1] >> (index as u64 % 2 * 32) & 0xffff_ffff
                } else {
                    entries[index]
                };
                if entry & 1 == 0 {
                    continue;
                }
                let shift = 12 + (level - 1) * bits;
                let linear = linear | (index as u64) << shift;
                let address = entry & 0xf_ffff_ffff_f000;
                let large = level > 1 && entry & 0x80 != 0;
                if large && level > 3 {
                    continue;
                }
                if large && legacy {
                    let base = entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32;
                    self.leaf(mode, root, linear, base, shift);
                } else if large || level == 1 {
                    self.leaf(mode, root, linear, address >> shift << shift, shift);
                } else {
                    self.table(mode, root, address, level - 1, linear);
                }
            }
        }

        fn leaf(&mut self, mode: Mode, root: u64, linear: u64, base: u64, shift: u32) {
            let first = self.mapped.partition_point(|(address, ..)| *address < base);
            for (address, page, entry) in &self.mapped[first..] {
                if address >> shift != base >> shift {
                    break;
                }
                self.found.push(Reached {
                    mode,
                    root,
                    linear: linear + (address - base),
                    page: *page,
                    writable: entry & 2 != 0,
                    executable: entry & 4 != 0,
                });
            }
        }
    }

    /// From each page that is mapped, as the root of each mode.
    pub(super) fn all(store: &Store, eptp: u64) -> Vec<Reached> {
        let mut mapped = mapped(store, eptp);
        mapped.sort_by_key(|(address, ..)| *address);
        let mut roots: Vec<_> = mapped.iter().map(|(address, ..)| *address).collect();
        // Of CR3, 32-bit paging uses only the lower half.
        roots.extend(mapped.iter().map(|(address, ..)| address & 0xffff_ffff));
        roots.sort();
        roots.dedup();
        let mut walk = Walk {
            store,
            eptp,
            mapped,
            found: Vec::new(),
        };
        for root in roots {
            walk.table(Mode::FiveLevel, root, root, 5, 0);
            walk.table(Mode::FourLevel, root, root, 4, 0);
            for pdpte in 0..4 {
                walk.table(Mode::Pae(pdpte), root, root, 2, pdpte << 30);
            }
            if root >> 32 == 0 {
                walk.table(Mode::Legacy, root, root, 2, 0);
            }
        }
        walk.found
    }
}

#[cfg(test)]
mod tests {
    use super::paging::walk::{linear, mapped, physical, Access, Fault};
    use super::paging::{GATE_REGION, HOLE};
    use super::reach::{Mode, Reached};
    use super::table::testing::{Random, Store};
    use super::*;
    use std::collections::HashMap;

    const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];
    /// Some of them where 32-bit paging finds the guest's tables, and its pages of 4 MiB.
    const CR3S: [u64; 8] = [
        0,
        0x10_5000,
        0x4000_0000,
        0x4000_1000,
        0x4000_2000,
        0x1_2345_6000,
        0x20_4000_2000,
        VIEW_BASE - PAGE_SIZE,
    ];

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

    fn allows(rights: Rights, access: Access) -> bool {
        match access {
            Access::Read => rights.read,
            Access::Write => rights.write,
            Access::Fetch => rights.execute,
        }
    }

    /// The pages of E, with what the worst client can have written there: the EPTPs are not its
    /// own, and the words of the slot's upper half are without bit 0.
    fn gate_pages(store: &mut Store) -> GatePages {
        let gate = store.allocate().unwrap();
        let list = store.allocate().unwrap();
        let slot = store.allocate().unwrap();
        for index in 0..512 {
            store.write(gate, index, 0xcccc_cccc_cccc_cccc);
        }
        for (index, number) in [0xabcdef, 0x12345, 0x54321].into_iter().enumerate() {
            store.write(list, index, page(number).address() | 0x81e);
        }
        for index in 256..512 {
            store.write(slot, index, !1);
        }
        GatePages { gate, list, slot }
    }

    struct Gate {
        store: Store,
        tables: GateTables,
        view: GateView,
        pages: GatePages,
    }

    impl Gate {
        fn new() -> Self {
            let mut store = Store::new();
            let mut tables = GateTables::new(&mut store).unwrap();
            let pages = gate_pages(&mut store);
            let view = GateView::new(&mut store, &tables, pages).unwrap();
            for cr3 in CR3S {
                let _ = tables.bind(&mut store, GuestPhys(cr3)).unwrap();
            }
            view.relink(&mut store, &tables).unwrap();
            Self {
                store,
                tables,
                view,
                pages,
            }
        }

        fn eptp(&self) -> u64 {
            self.view.eptp().value()
        }

        /// What is reached at another address or in another way than it should.
        fn escapes(&self, eptp: u64) -> Vec<Reached> {
            let own = [
                (GATE_PAGE, self.pages.gate),
                (LIST_PAGE, self.pages.list),
                (SLOT_PAGE, self.pages.slot),
            ];
            let mut found = reach::all(&self.store, eptp);
            found.retain(|reached| {
                let pml4 = physical(&self.store, eptp, reached.root, Access::Read);
                let right = reached.mode == Mode::FourLevel
                    && pml4 == Ok(self.tables.0.guest.pml4())
                    && own.contains(&(reached.linear.wrapping_sub(GATE_REGION), reached.page));
                let harmless = !reached.writable && !reached.executable;
                !right && !harmless
            });
            found
        }
    }

    #[test]
    fn layout_is_that_of_the_header() {
        assert_eq!(GATE_REGION + GATE_PAGE, 0x6f5a_5234_5000);
        assert_eq!(
            (R0, R1, R2),
            (0x40_0000_0000, 0x40_4000_0000, 0x40_8000_0000)
        );
        assert_eq!(HOLE, VIEW_BASE + 0x20_0000_0000);
        assert!(R2 + R2_PAGES * PAGE_SIZE <= HOLE);
        for offset in [GATE_PAGE, LIST_PAGE, SLOT_PAGE, CARRIER_PAGE] {
            assert!(offset >= 4 << 20 && offset < GIB);
        }
    }

    #[test]
    fn gate_view_has_its_pages_only() {
        let gate = Gate::new();
        let mut found: Vec<_> = mapped(&gate.store, gate.eptp())
            .into_iter()
            .map(|(address, page, entry)| (address, page, entry & 0xfff))
            .collect();
        let pml4 = gate.tables.0.guest.pml4();
        let mut expected: Vec<_> = CR3S.iter().map(|cr3| (*cr3, pml4, 0x71)).collect();
        expected.extend([
            (R0 + GATE_PAGE, gate.pages.gate, 0x474),
            (R0 + LIST_PAGE, gate.pages.list, 0x73),
            (R0 + SLOT_PAGE, gate.pages.slot, 0x73),
        ]);
        let tables = gate.tables.0.guest.pages(&gate.store);
        expected.extend(tables.map(|(address, page)| (address.0, page, 0x71)));
        found.sort_by_key(|entry| entry.0);
        expected.sort_by_key(|entry| entry.0);
        assert_eq!(found, expected);
        assert_eq!(found.len(), CR3S.len() + 6);
    }

    #[test]
    fn gate_view_does_what_the_gate_needs() {
        let gate = Gate::new();
        for cr3 in CR3S {
            for (offset, page, allowed) in [
                (GATE_PAGE, gate.pages.gate, Rights::EXECUTE),
                (LIST_PAGE, gate.pages.list, Rights::READ_WRITE),
                (SLOT_PAGE, gate.pages.slot, Rights::READ_WRITE),
            ] {
                for access in ACCESSES {
                    let address = GATE_REGION + offset;
                    let found = linear(&gate.store, gate.eptp(), cr3, address, access, true);
                    let expected = if allows(allowed, access) {
                        Ok(page)
                    } else {
                        Err(Fault::Violation)
                    };
                    assert_eq!(found, expected, "{offset:#x} {access:?}");
                }
            }
        }
        // Not bound: the first read of a table is a violation.
        let unbound = linear(
            &gate.store,
            gate.eptp(),
            0x2000,
            GATE_REGION + GATE_PAGE,
            Access::Fetch,
            true,
        );
        assert_eq!(unbound, Err(Fault::Violation));
    }

    #[test]
    fn no_cr3_and_no_mode_leads_elsewhere() {
        let gate = Gate::new();
        let all = reach::all(&gate.store, gate.eptp());
        // It does find what is there, from each CR3 and from where the PML4 is itself.
        for page in [gate.pages.gate, gate.pages.list, gate.pages.slot] {
            let count = all.iter().filter(|reached| reached.page == page).count();
            assert_eq!(count, CR3S.len() + 1);
        }
        assert_eq!(gate.escapes(gate.eptp()), []);
    }

    /// A gate view like [`GateView`], with its pages elsewhere in the region.
    fn misplaced(gate: &mut Gate, offsets: [u64; 3]) -> Vec<Reached> {
        let pages = [
            (offsets[0], gate.pages.gate, Rights::EXECUTE),
            (offsets[1], gate.pages.list, Rights::READ_WRITE),
            (offsets[2], gate.pages.slot, Rights::READ_WRITE),
        ];
        let ept = new_view(&mut gate.store, &gate.tables.0, &pages).unwrap();
        let mut found = gate.escapes(ept.eptp().value());
        found.retain(|reached| reached.mode != Mode::FourLevel);
        found
    }

    #[test]
    fn pages_at_the_start_of_the_region_would_escape() {
        let mut gate = Gate::new();
        let found = misplaced(&mut gate, [0x2000, 0, 0x4000]);
        let of_list = |mode| {
            let list = gate.pages.list;
            let mut of_list = found.iter().filter(move |reached| reached.page == list);
            of_list.any(|reached| reached.mode == mode && reached.writable)
        };
        assert!(of_list(Mode::Pae(0)));

        let found = misplaced(&mut gate, [0x2000, (2 << 20) - PAGE_SIZE, 2 << 20]);
        let list = gate.pages.list;
        assert!(found.iter().any(|reached| reached.page == list));
        let slot = gate.pages.slot;
        assert!(!found.iter().any(|reached| reached.page == slot));
        let found = misplaced(&mut gate, [4 << 20, 6 << 20, 8 << 20]);
        assert_eq!(found, []);
    }

    #[test]
    fn small_pages_for_the_region_would_escape() {
        let mut gate = Gate::new();
        let at = GuestLinear(0x1234_5000);
        let list = GuestPhys(R0 + LIST_PAGE);
        gate.tables
            .0
            .guest
            .map(&mut gate.store, at, list, Rights::READ_WRITE)
            .unwrap();
        let found = gate.escapes(gate.eptp());
        for mode in [Mode::FourLevel, Mode::Pae(0), Mode::Pae(3)] {
            let found = found.iter().find(|reached| reached.mode == mode);
            assert_eq!(found.unwrap().page, gate.pages.list);
        }
    }

    #[test]
    fn a_slot_that_is_odd_would_escape() {
        let mut gate = Gate::new();
        gate.store
            .write(gate.pages.slot, 0x808 / 8, (R0 + LIST_PAGE) | 0xe7);
        assert_ne!(gate.escapes(gate.eptp()), []);
    }

    #[test]
    fn upper_half_is_a_violation_in_both_views() {
        let gate = Gate::new();
        let mut server = Server::new();
        let _ = server
            .space
            .bind(&mut server.store, GuestPhys(CR3S[0]))
            .unwrap();
        server
            .view
            .relink(&mut server.store, &server.space)
            .unwrap();
        let mut random = Random(99);
        for round in 0..5_000 {
            let address = match round {
                0 => 1 << 63 >> 16 | 0xffff << 48,
                1 => u64::MAX,
                _ => !random.below(1 << 47),
            };
            for access in ACCESSES {
                for (store, eptp) in [
                    (&gate.store, gate.eptp()),
                    (&server.store, server.view.eptp().value()),
                ] {
                    let found = linear(store, eptp, CR3S[0], address, access, false);
                    assert_eq!(found, Err(Fault::Violation), "{address:#x}");
                }
            }
        }
    }

    #[test]
    fn binding() {
        let mut gate = Gate::new();
        let store = &mut gate.store;
        let tables = &mut gate.tables;
        for cr3 in [VIEW_BASE, R1, u64::MAX, 1, 0x1001] {
            let result = tables.bind(store, GuestPhys(cr3));
            assert_eq!(result, Err(Error::Invalid), "{cr3:#x}");
            assert!(!tables.unbind(store, GuestPhys(cr3)));
        }
        // Also where the tables are.
        assert!(!tables.unbind(store, GuestPhys(R1)));
        let again = tables.bind(store, GuestPhys(CR3S[0]));
        assert_eq!(again, Err(Error::Exists));
        let near = tables.bind(store, GuestPhys(0x3000));
        assert_eq!(near, Ok(Relink::NotNeeded));
        let far = GuestPhys(GIB * 77);
        assert_eq!(tables.bind(store, far), Ok(Relink::Needed));

        let enter = GATE_REGION + GATE_PAGE;
        let enters = |store: &Store, view: &GateView, cr3: GuestPhys| {
            linear(
                store,
                view.eptp().value(),
                cr3.0,
                enter,
                Access::Fetch,
                true,
            )
            .is_ok()
        };
        assert!(enters(store, &gate.view, GuestPhys(0x3000)));
        assert!(!enters(store, &gate.view, far));
        gate.view.relink(store, tables).unwrap();
        assert!(enters(store, &gate.view, far));
        // A view that is made later has it from the beginning.
        let other = GateView::new(store, tables, gate.pages).unwrap();
        assert!(enters(store, &other, far));

        assert!(tables.unbind(store, far));
        assert!(!tables.unbind(store, far));
        assert!(!enters(store, &gate.view, far) && !enters(store, &other, far));
        assert_eq!(tables.bind(store, far), Ok(Relink::NotNeeded));
        assert!(enters(store, &gate.view, far) && enters(store, &other, far));
    }

    #[test]
    fn a_failed_bind_does_not_lose_the_relink() {
        let mut gate = Gate::new();
        let far = GuestPhys(GIB * 77);
        gate.store.limit = gate.store.count() + 1;
        let result = gate.tables.bind(&mut gate.store, far);
        assert_eq!(result, Err(Error::NoMemory));
        gate.store.limit += 1;
        let result = gate.tables.bind(&mut gate.store, far);
        assert_eq!(result, Ok(Relink::Needed));
    }

    struct Server {
        store: Store,
        space: ServerSpace,
        view: ServerView,
        pages: ServerPages,
    }

    impl Server {
        fn new() -> Self {
            let mut store = Store::new();
            let space = ServerSpace::new(&mut store).unwrap();
            let pages = ServerPages {
                gate: page(0x10_0000),
                carrier: page(0x10_0001),
            };
            let view = ServerView::new(&mut store, &space, pages).unwrap();
            Self {
                store,
                space,
                view,
                pages,
            }
        }

        fn register(&mut self, address: u64, page: HostPhys, rights: Rights) -> Result<(), Error> {
            let linear = GuestLinear(address);
            match self.space.register(&mut self.store, linear, page, rights)? {
                Relink::Needed => self.view.relink(&mut self.store, &self.space),
                Relink::NotNeeded => Ok(()),
            }
        }

        fn unregister(&mut self, address: u64) -> Option<HostPhys> {
            self.space.unregister(&mut self.store, GuestLinear(address))
        }

        fn access(&self, address: u64, access: Access) -> Result<HostPhys, Fault> {
            let eptp = self.view.eptp().value();
            linear(&self.store, eptp, CR3S[1], address, access, true)
        }

        fn bind(&mut self) {
            let cr3 = GuestPhys(CR3S[1]);
            let relink = self.space.bind(&mut self.store, cr3).unwrap();
            assert_eq!(relink, Relink::Needed);
            self.view.relink(&mut self.store, &self.space).unwrap();
        }
    }

    #[test]
    fn server_view_has_its_own_pages() {
        let mut server = Server::new();
        let gate = GATE_REGION + GATE_PAGE;
        assert_eq!(server.access(gate, Access::Fetch), Err(Fault::Violation));
        server.bind();
        assert_eq!(server.access(gate, Access::Fetch), Ok(server.pages.gate));
        for access in [Access::Read, Access::Write] {
            assert_eq!(server.access(gate, access), Err(Fault::Violation));
        }
        let carrier = GATE_REGION + CARRIER_PAGE;
        assert_eq!(
            server.access(carrier, Access::Read),
            Ok(server.pages.carrier)
        );
        for access in [Access::Write, Access::Fetch] {
            assert_eq!(server.access(carrier, access), Err(Fault::Violation));
        }
        for offset in [LIST_PAGE, SLOT_PAGE] {
            for access in ACCESSES {
                let found = server.access(GATE_REGION + offset, access);
                assert_eq!(found, Err(Fault::Violation));
            }
        }

        let again = server.space.bind(&mut server.store, GuestPhys(0x9000));
        assert_eq!(again, Err(Error::Exists));
        let unbound = server.space.unbind(&mut server.store);
        assert_eq!(unbound, Some(GuestPhys(CR3S[1])));
        assert_eq!(server.space.unbind(&mut server.store), None);
        assert_eq!(server.access(gate, Access::Fetch), Err(Fault::Violation));
    }

    #[test]
    fn bad_registrations_are_refused() {
        let mut server = Server::new();
        for bits in [0, 2, 6, 7] {
            let result = server.register(0x1000, page(1), rights(bits));
            assert_eq!(result, Err(Error::Invalid), "{bits:#b}");
        }
        for address in [1, GATE_REGION + GATE_PAGE, 1 << 47, !0xfff] {
            let result = server.register(address, page(1), Rights::READ);
            assert_eq!(result, Err(Error::Invalid), "{address:#x}");
            assert_eq!(server.unregister(address), None);
        }
        assert_eq!(server.register(0x1000, page(1), Rights::READ), Ok(()));
        assert_eq!(
            server.register(0x1000, page(2), Rights::READ),
            Err(Error::Exists)
        );
        assert_eq!(server.unregister(0x1000), Some(page(1)));
        assert_eq!(server.unregister(0x1000), None);
        // None of them has cost a number.
        assert_eq!(server.space.numbers.next, 1);
    }

    /// Compares a view with a model of it, both ways.
    fn compare(server: &Server, model: &HashMap<u64, (HostPhys, Rights)>) {
        let eptp = server.view.eptp().value();
        let registered = mapped(&server.store, eptp)
            .iter()
            .filter(|(address, ..)| *address >= R2)
            .count();
        assert_eq!(registered, model.len());
        for (address, (page, rights)) in model {
            let linear = GuestLinear(*address);
            let found = server.space.lookup(&server.store, linear);
            assert_eq!(found, Some((*page, *rights)));
            for access in ACCESSES {
                let found = server.access(*address, access);
                assert_eq!(
                    found.is_ok(),
                    allows(*rights, access),
                    "{rights:?} {access:?}"
                );
                assert!(found.is_err() || found == Ok(*page));
            }
        }
    }

    /// Registers and unregisters at random, with `memory` failing now and then.
    fn random_registrations(seed: u64, memory: bool) {
        let mut random = Random(seed);
        let mut server = Server::new();
        server.bind();
        let mut model = HashMap::new();
        let mut most = 0;
        for round in 0..12_000 {
            let address = match random.below(3) {
                0 => random.below(512) << 12,
                1 => 0x7fff_0000_0000 - (random.below(512) << 12),
                _ => random.below(32) << 42 | random.below(4) << 12,
            };
            if !memory {
                server.store.limit = server.store.count() + random.below(3) as usize;
            }
            // Rather more at one time, and rather fewer at another.
            if random.below(8) < 3 + round / 3_000 % 2 * 2 {
                let new = (
                    page(random.below(1 << 20)),
                    rights([1, 3, 4, 5][random.below(4) as usize]),
                );
                match server.register(address, new.0, new.1) {
                    Ok(()) => assert_eq!(model.insert(address, new), None),
                    Err(Error::Exists) => assert!(model.contains_key(&address)),
                    Err(error) => assert!(!memory && error == Error::NoMemory),
                }
            } else {
                let old = server.unregister(address);
                assert_eq!(old, model.remove(&address).map(|(page, _)| page));
            }
            most = most.max(model.len() as u64);
            let found = server.access(address, Access::Read);
            match model.get(&address) {
                Some((page, rights)) if rights.read => assert_eq!(found, Ok(*page)),
                Some(_) => assert_eq!(found, Err(Fault::Violation)),
                None => assert_eq!(found, Err(Fault::Page)),
            }
            if round % 2_000 == 0 {
                compare(&server, &model);
            }
        }
        compare(&server, &model);
        assert!(most > 520);
        // Numbers are used again.
        let next = server.space.numbers.next;
        assert!(next == most || !memory && next <= most + 1, "{next} {most}");
        for address in model.keys() {
            server.unregister(*address).unwrap();
        }
        compare(&server, &HashMap::new());
    }

    #[test]
    fn random_registrations_are_what_a_walk_finds() {
        random_registrations(1, true);
        random_registrations(2, true);
    }

    #[test]
    fn random_registrations_without_memory() {
        random_registrations(3, false);
        random_registrations(4, false);
    }

    #[test]
    fn registrations_go_on_in_the_next_gib() {
        let mut server = Server::new();
        server.bind();
        let count = GIB / PAGE_SIZE + 3;
        server.register(0, page(1), Rights::READ).unwrap();
        server.space.numbers.next = count - 3;
        server.space.numbers.room = count + 100;
        for number in 1..6 {
            let relink = server
                .space
                .register(
                    &mut server.store,
                    GuestLinear(number << 12),
                    page(number),
                    Rights::READ,
                )
                .unwrap();
            let expected = if number == 1 {
                Relink::Needed
            } else {
                Relink::NotNeeded
            };
            assert_eq!(relink, expected);
        }
        assert_eq!(server.access(0x2000, Access::Read), Err(Fault::Violation));
        server
            .view
            .relink(&mut server.store, &server.space)
            .unwrap();
        assert_eq!(server.access(0x2000, Access::Read), Ok(page(2)));
        assert_eq!(server.unregister(0x2000), Some(page(2)));
    }

    #[test]
    fn numbers_have_a_limit() {
        let mut store = Store::new();
        let mut numbers = Numbers::new(1500);
        let all: Vec<_> = (0..1500).map(|_| numbers.take(&mut store)).collect();
        assert!(all
            .iter()
            .zip(0..)
            .all(|(found, number)| *found == Ok(number)));
        assert_eq!(numbers.take(&mut store), Err(Error::NoMemory));
        assert_eq!(store.count(), 3);
        for number in 0..1500 {
            numbers.give_back(&mut store, number);
        }
        let again: std::collections::HashSet<_> = (0..1500)
            .filter_map(|_| numbers.take(&mut store).ok())
            .collect();
        assert_eq!(again.len(), 1500);
        assert_eq!(numbers.take(&mut store), Err(Error::NoMemory));
    }
}
