// SPDX-License-Identifier: GPL-2.0

//! What sessions are made of: views, their tables, and the memory that the server has registered.
//! Process context; [`crate::switch`] has what the hooks need of it.

use crate::{
    ept::Eptp,
    gate,
    guest_memory::PinnedPage,
    paging,
    switch::{CarrierCalls, Saved, SessionCalls, Switch, VcpuCalls},
    table::{self, GuestLinear, GuestPhys, HostPhys, Rights},
    table_page::{TablePage, TablePages},
    tlb, tracepoint, uapi,
    view::{self, GatePages, GateTables, GateView, Relink, ServerPages, ServerSpace, ServerView},
};
use core::mem::offset_of;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    page::{PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
    rbtree::RBTree,
};

// The gate and the views are laid out in files of their own, so that each can be tested alone.
const _: () = assert!(gate::PAGE == view::GATE_PAGE);
const _: () = assert!(gate::LIST == view::LIST_PAGE);
const _: () = assert!(gate::SLOT == view::SLOT_PAGE);
const _: () = assert!(gate::CARRIER == view::CARRIER_PAGE);
const _: () = assert!(gate::REGION == paging::GATE_REGION);
const _: () = assert!(gate::REGION + gate::PAGE == uapi::WORMHOLE_GATE_ADDRESS);
const _: () = assert!(gate::REGION == uapi::WORMHOLE_GATE_REGION);
const _: () = assert!(gate::ENTER == uapi::WORMHOLE_GATE_ENTER as u64);
const _: () = assert!(gate::HOME == uapi::WORMHOLE_GATE_HOME as u64);
const _: () = assert!(gate::PAD == uapi::WORMHOLE_GATE_PAD as u64);

/// Executable pages of a session: 256 MiB, which are copied.
const MAX_COPIES: usize = 65536;

/// First address that is not of the lower half.
const USER_END: u64 = 1 << 47;

impl From<table::Error> for Error {
    fn from(error: table::Error) -> Self {
        match error {
            table::Error::Invalid => EINVAL,
            table::Error::Exists => EEXIST,
            table::Error::NoMemory => ENOMEM,
        }
    }
}

/// The page behind a registered address.
enum Backing {
    /// The server's own.
    Pinned(PinnedPage),
    /// A copy, which the server cannot change: what is executable.
    Copy(TablePage),
}

impl Backing {
    fn physical(&self) -> HostPhys {
        match self {
            Self::Pinned(page) => page.physical(),
            Self::Copy(page) => page.physical(),
        }
    }
}

/// What a carrier is made of. It stays when the carrier is taken back, for the next of its number.
struct CarrierSetup {
    index: usize,
    view: ServerView,
    /// What the view reads.
    page: TablePage,
}

/// A session, but for what the hooks need.
struct Session {
    entry: u64,
    bound: Option<GuestPhys>,
    space: ServerSpace,
    carriers: KVec<CarrierSetup>,
    /// Of `carriers`: taking something out of their views must not need memory.
    views: KVec<Eptp>,
    /// How many of `pages` are copies.
    copies: usize,
    pages: RBTree<u64, Backing>,
    /// Of the views, which come first.
    tables: TablePages,
}

impl Session {
    fn new(entry: u64) -> Result<Self> {
        let mut tables = TablePages::default();
        Ok(Self {
            entry,
            bound: None,
            space: ServerSpace::new(&mut tables)?,
            carriers: KVec::new(),
            views: KVec::new(),
            copies: 0,
            pages: RBTree::new(),
            tables,
        })
    }

    fn relink(&mut self, relink: Relink) -> Result {
        if let Relink::Needed = relink {
            for carrier in &self.carriers {
                carrier.view.relink(&mut self.tables, &self.space)?;
            }
        }
        Ok(())
    }

    /// Registers the page `memory` of the server at `linear`.
    fn register(&mut self, linear: GuestLinear, memory: PinnedPage, rights: Rights) -> Result {
        if rights.write && rights.execute || !(rights.read || rights.execute) {
            return Err(EINVAL);
        }
        let backing = if rights.execute {
            if self.copies >= MAX_COPIES {
                return Err(ENOMEM);
            }
            let mut copy = TablePage::new()?;
            memory.copy_to(copy.bytes_mut());
            self.refuse_vmfunc(linear, copy.bytes_mut())?;
            Backing::Copy(copy)
        } else {
            Backing::Pinned(memory)
        };
        let page = backing.physical();
        let node = kernel::rbtree::RBTreeNode::new(linear.0, backing, GFP_KERNEL_ACCOUNT)?;
        let relink = self
            .space
            .register(&mut self.tables, linear, page, rights)?;
        self.pages.insert(node);
        if rights.execute {
            self.copies = self.copies.saturating_add(1);
        }
        self.relink(relink)
    }

    /// EPERM if a page would have a VMFUNC, be it with its neighbours: code that the server executes
    /// in its view must not be able to leave it for a place of its choice.
    fn refuse_vmfunc(&self, linear: GuestLinear, page: &[u8; PAGE_SIZE]) -> Result {
        let step = PAGE_SIZE as u64;
        let code = |address: Option<u64>| match address.and_then(|at| self.pages.get(&at)) {
            Some(Backing::Copy(copy)) => copy.bytes().as_slice(),
            _ => &[],
        };
        let before = code(linear.0.checked_sub(step));
        let after = code(linear.0.checked_add(step));
        if gate::contains_vmfunc(before, page, after) {
            return Err(EPERM);
        }
        Ok(())
    }

    /// Makes the view of a carrier that is absent.
    fn set_up_carrier(
        &mut self,
        index: usize,
        server_image: HostPhys,
        stack: u64,
        fs_base: u64,
    ) -> Result<Eptp> {
        let mut known = self.carriers.iter_mut();
        if let Some(carrier) = known.find(|carrier| carrier.index == index) {
            // Nobody uses it: it was absent, and so no vCPU's.
            gate::carrier_page(stack, fs_base, self.entry, carrier.page.bytes_mut());
            return Ok(carrier.view.eptp());
        }
        let mut page = TablePage::new()?;
        gate::carrier_page(stack, fs_base, self.entry, page.bytes_mut());
        let pages = ServerPages {
            gate: server_image,
            carrier: page.physical(),
        };
        self.carriers.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.views.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let view = ServerView::new(&mut self.tables, &self.space, pages)?;
        let eptp = view.eptp();
        self.views.push(eptp, GFP_KERNEL_ACCOUNT)?;
        self.carriers
            .push(CarrierSetup { index, view, page }, GFP_KERNEL_ACCOUNT)?;
        Ok(eptp)
    }

    /// The first registered page from `linear` on.
    fn first_page(&self, linear: u64) -> Option<u64> {
        let cursor = self.pages.cursor_lower_bound(&linear)?;
        Some(*cursor.current().0)
    }
}

/// What a pairing's sessions are made of.
pub(crate) struct Setup {
    /// The gate in E, and in V.
    gate_image: TablePage,
    server_image: TablePage,
    sessions: KVec<Option<Session>>,
    gate_views: KVec<GateView>,
    /// Of `gate_views`, as in [`Session::views`].
    gates: KVec<Eptp>,
    /// `None` until a process is bound.
    gate_tables: Option<GateTables>,
    /// Of the gate views.
    tables: TablePages,
}

impl Setup {
    pub(crate) fn new() -> Result<Self> {
        let mut gate_image = TablePage::new()?;
        *gate_image.bytes_mut() = gate::gate_image();
        let mut server_image = TablePage::new()?;
        *server_image.bytes_mut() = gate::server_image();
        if cfg!(wormhole_break = "cpl") {
            break_privilege_check(server_image.bytes_mut());
        }
        let mut sessions = KVec::new();
        for _ in 0..uapi::WORMHOLE_MAX_SESSIONS {
            sessions.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            gate_image,
            server_image,
            sessions,
            gate_views: KVec::new(),
            gates: KVec::new(),
            gate_tables: None,
            tables: TablePages::default(),
        })
    }

    /// Where a session of a number of the VMs' is, if there is one. EINVAL: too high.
    fn slot(&mut self, number: u64) -> Result<&mut Option<Session>> {
        let number = usize::try_from(number)?;
        self.sessions.get_mut(number).ok_or(EINVAL)
    }

    fn session(&mut self, number: u64) -> Result<&mut Session> {
        self.slot(number)?.as_mut().ok_or(ENOENT)
    }

    /// Makes the gate views of a VM's first `count` vCPUs, unless there are some.
    fn make_gates(&mut self, count: usize) -> Result<KVec<VcpuCalls>> {
        let mut vcpus = KVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        if self.gate_tables.is_some() {
            return Ok(vcpus);
        }
        let shared = GateTables::new(&mut self.tables)?;
        self.gate_views.reserve(count, GFP_KERNEL_ACCOUNT)?;
        self.gates.reserve(count, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            let list = TablePage::new()?;
            let slot = TablePage::new()?;
            let pages = GatePages {
                gate: self.gate_image.physical(),
                list: list.physical(),
                slot: slot.physical(),
            };
            let view = GateView::new(&mut self.tables, &shared, pages)?;
            vcpus.push(VcpuCalls::new(view.eptp(), list, slot), GFP_KERNEL_ACCOUNT)?;
            self.gates.push(view.eptp(), GFP_KERNEL_ACCOUNT)?;
            self.gate_views.push(view, GFP_KERNEL_ACCOUNT)?;
        }
        self.gate_tables = Some(shared);
        Ok(vcpus)
    }

    /// Lets a process in: into E, and into its session's views.
    fn bind(&mut self, number: u64, cr3: GuestPhys) -> Result {
        let tables = &mut self.tables;
        let gate = self.gate_tables.as_mut().ok_or(ENOENT)?;
        let session = usize::try_from(number)
            .ok()
            .and_then(|number| self.sessions.get_mut(number)?.as_mut())
            .ok_or(ENOENT)?;
        if session.bound.is_some() {
            return Err(EEXIST);
        }
        if let Relink::Needed = gate.bind(tables, cr3)? {
            for view in &self.gate_views {
                view.relink(tables, gate)?;
            }
        }
        let linked = session
            .space
            .bind(&mut session.tables, cr3)
            .map_err(Error::from)
            .and_then(|relink| session.relink(relink));
        if linked.is_err() {
            gate.unbind(tables, cr3);
            linked?;
        }
        session.bound = Some(cr3);
        Ok(())
    }

    /// Has all vCPUs leave the gate and a session's views, and what changed there forgotten.
    fn evict(&self, number: u64) -> Result {
        let session = usize::try_from(number).ok();
        let session = session.and_then(|number| self.sessions.get(number)?.as_ref());
        let session = session.ok_or(ENOENT)?;
        tlb::evict_all([&self.gates, &session.views]);
        Ok(())
    }

    /// The opposite, if a process was bound. The views have yet to be invalidated.
    fn unbind(&mut self, number: u64) -> Result {
        let session = self.session(number)?;
        let Some(cr3) = session.bound.take() else {
            return Ok(());
        };
        session.space.unbind(&mut session.tables);
        if let Some(gate) = self.gate_tables.as_mut() {
            gate.unbind(&mut self.tables, cr3);
        }
        Ok(())
    }
}

/// Makes NOPs of the conditional jump behind the landing's check, for a test that must notice.
fn break_privilege_check(image: &mut [u8; PAGE_SIZE]) {
    const NOP: u8 = 0x90;
    // MOV, NOT and TEST come before it.
    const JNZ: usize = gate::LANDING as usize + 7;
    if let Some(jump) = image.get_mut(JNZ..JNZ + 2) {
        jump.fill(NOP);
    }
}

/// A registration, as MAP has it.
pub(crate) struct Mapping {
    pub(crate) linear: GuestLinear,
    pub(crate) rights: Rights,
}

impl Mapping {
    /// EINVAL unless it is a page-aligned address with known rights.
    pub(crate) fn new(word: u64) -> Result<Self> {
        const READ: u64 = uapi::WORMHOLE_MAP_READ as u64;
        const WRITE: u64 = uapi::WORMHOLE_MAP_WRITE as u64;
        const EXECUTE: u64 = uapi::WORMHOLE_MAP_EXECUTE as u64;
        let offset = word & (PAGE_SIZE as u64 - 1);
        if offset & !(READ | WRITE | EXECUTE) != 0 || offset & WRITE != 0 && offset & READ == 0 {
            return Err(EINVAL);
        }
        Ok(Self {
            linear: GuestLinear(word & !(PAGE_SIZE as u64 - 1)),
            rights: Rights {
                // Code is read as well: by jump tables, and constants in it.
                read: offset & (READ | EXECUTE) != 0,
                write: offset & WRITE != 0,
                execute: offset & EXECUTE != 0,
            },
        })
    }
}

impl Switch {
    /// OPEN.
    pub(crate) fn open(&self, number: u64, entry: u64) -> Result {
        if entry >= USER_END {
            return Err(EINVAL);
        }
        let mut setup = self.setup.lock();
        let slot = setup.slot(number)?;
        if slot.is_some() {
            return Err(EEXIST);
        }
        *slot = Some(Session::new(entry)?);
        Ok(())
    }

    /// CLOSE: nothing of the server's can be reached by the client afterwards. Calls that are under
    /// way go on in the server VM, or what they hold there would be held for ever.
    pub(crate) fn close(&self, number: u64) -> Result {
        let mut setup = self.setup.lock();
        setup.session(number)?;
        self.forbid(number)?;
        setup.unbind(number)?;
        setup.evict(number)?;
        let index = usize::try_from(number)?;
        let old = {
            let mut calls = self.calls.lock();
            calls.forget_carriers(number);
            calls.session_mut(number).map(|session| {
                self.abandon(session, index);
                core::mem::take(session)
            })
        };
        let session = setup.slot(number)?.take();
        drop(setup);
        drop((old, session));
        Ok(())
    }

    /// MAP, of one page.
    pub(crate) fn map(&self, number: u64, mapping: &Mapping, memory: PinnedPage) -> Result {
        let mut setup = self.setup.lock();
        setup
            .session(number)?
            .register(mapping.linear, memory, mapping.rights)
    }

    /// UNMAP. Pages that are not registered are passed over.
    pub(crate) fn unmap(&self, number: u64, linear: u64, pages: u64) -> Result {
        let step = PAGE_SIZE as u64;
        let end = pages
            .checked_mul(step)
            .and_then(|bytes| linear.checked_add(bytes))
            .ok_or(EINVAL)?;
        if linear % step != 0 || end > USER_END {
            return Err(EINVAL);
        }
        let mut setup = self.setup.lock();
        setup.session(number)?;
        // The tree knows what there is: the range may be all of the address space. In portions, so
        // that no memory is needed.
        loop {
            let mut removed = [const { None }; 64];
            let session = setup.session(number)?;
            for slot in &mut removed {
                let Some(address) = session.first_page(linear).filter(|at| *at < end) else {
                    break;
                };
                session
                    .space
                    .unregister(&mut session.tables, GuestLinear(address));
                if let Some(Backing::Copy(_)) = session.pages.get(&address) {
                    session.copies = session.copies.saturating_sub(1);
                }
                *slot = session.pages.remove_node(&address);
            }
            if let [None, ..] = removed {
                return Ok(());
            }
            // Before the pages are anybody else's.
            tlb::evict_all([&session.views, &[]]);
        }
    }

    /// CARRIER.
    pub(crate) fn add_carrier(&self, number: u64, index: u64, home: PinnedPage) -> Result {
        let index = usize::try_from(index)?;
        if index >= uapi::WORMHOLE_MAX_CARRIERS as usize {
            return Err(EINVAL);
        }
        let field = |at| home.read_u64(at).ok_or(EINVAL);
        let stack = field(offset_of!(uapi::wormhole_carrier, stack))?;
        let fs_base = field(offset_of!(uapi::wormhole_carrier, fs_base))?;
        if stack % 16 != 0 || stack >= USER_END || fs_base >= USER_END {
            return Err(EINVAL);
        }
        let mut setup = self.setup.lock();
        setup.session(number)?;
        if self.has_carrier(number, index) {
            return Err(EEXIST);
        }
        let server_image = setup.server_image.physical();
        let session = setup.session(number)?;
        let carrier = CarrierCalls {
            view: session.set_up_carrier(index, server_image, stack, fs_base)?,
            saved: Saved::boxed()?,
            home,
        };
        let mut states = KVec::with_capacity(index.saturating_add(1), GFP_KERNEL_ACCOUNT)?;
        let mut carriers = KVec::with_capacity(index.saturating_add(1), GFP_KERNEL_ACCOUNT)?;
        {
            let mut calls = self.calls.lock();
            let calls = calls.session_mut(number).ok_or(EINVAL)?;
            calls.give(index, carrier, &mut states, &mut carriers)?;
        }
        Ok(())
    }

    /// RETIRE.
    pub(crate) fn retire(&self, number: u64, index: u64) -> Result {
        let index = usize::try_from(index)?;
        let mut setup = self.setup.lock();
        setup.session(number)?;
        let carrier = self.take_back(number, index);
        drop(setup);
        carrier.map(drop)
    }

    fn has_carrier(&self, number: u64, index: usize) -> bool {
        let mut calls = self.calls.lock();
        let session = calls.session_mut(number);
        session.is_some_and(|session| matches!(session.carriers.get(index), Some(Some(_))))
    }

    /// RETURN.
    pub(crate) fn finish(&self, number: u64, index: u64, result: u64) -> Result {
        let index = usize::try_from(index)?;
        let mut calls = self.calls.lock();
        let session = calls.session_mut(number).ok_or(EINVAL)?;
        if session.finish(index, result) {
            tracepoint::returned(self.id, number, index);
            Ok(())
        } else {
            Err(ENOENT)
        }
    }

    /// BIND. `vcpus`: how many the client VM has.
    pub(crate) fn bind(&self, number: u64, cr3: u64, vcpus: usize) -> Result {
        if cr3 % PAGE_SIZE as u64 != 0 || cr3 >> PAGE_SHIFT == 0 {
            return Err(EINVAL);
        }
        let mut setup = self.setup.lock();
        setup.session(number)?;
        // Its server VM has just been reset.
        if self
            .calls
            .lock()
            .session_mut(number)
            .is_none_or(|session| session.closing || session.server_gone)
        {
            return Err(ENOENT);
        }
        let gates = setup.make_gates(vcpus)?;
        if !gates.is_empty() {
            self.calls.lock().vcpus = gates;
        }
        setup.bind(number, GuestPhys(cr3))?;
        let mut calls = self.calls.lock();
        let session = calls.session_mut(number).ok_or(EINVAL)?;
        session.cr3 = Some(cr3);
        Ok(())
    }

    /// UNBIND: calls that are under way go on in the server VM.
    pub(crate) fn unbind(&self, number: u64) -> Result {
        let mut setup = self.setup.lock();
        if setup.session(number)?.bound.is_none() {
            return Err(ENOENT);
        }
        self.forbid(number)?;
        setup.unbind(number)?;
        setup.evict(number)?;
        let mut calls = self.calls.lock();
        calls.forget_carriers(number);
        if let Some(session) = calls.session_mut(number) {
            self.abandon(session, usize::try_from(number)?);
            session.cr3 = None;
            session.closing = false;
        }
        Ok(())
    }

    /// No vCPU enters a session's view any more, nor the gate for it, and none is there still: to
    /// one in the gate the loss of its tables would look like an access of the client's own.
    fn forbid(&self, number: u64) -> Result {
        let mut calls = self.calls.lock();
        calls.session_mut(number).ok_or(EINVAL)?.closing = true;
        drop(calls);
        tlb::evict_all([&[], &[]]);
        Ok(())
    }

    /// The client has gone, and its vCPUs are in no view.
    fn abandon(&self, session: &mut SessionCalls, number: usize) {
        while let Some(carrier) = session.client_gone() {
            self.hop(session, number, carrier, uapi::WORMHOLE_HOP_CLIENT);
        }
    }

    /// The pairing ends. Afterwards no vCPU is in a view, nor can one enter any.
    pub(crate) fn end(&self) {
        let setup = self.setup.lock();
        self.calls.lock().dead = true;
        tlb::evict_all([&setup.gates, &[]]);
        for session in setup.sessions.iter().flatten() {
            tlb::evict_all([&session.views, &[]]);
        }
        for number in 0..uapi::WORMHOLE_MAX_SESSIONS as usize {
            // Anew each time: vCPUs wait for it with interrupts off.
            if let Some(session) = self.calls.lock().sessions.get_mut(number) {
                self.abandon(session, number);
            }
        }
    }

    /// Bytes of memory that the pairing's views take, the registered memory aside.
    pub(crate) fn table_bytes(&self) -> usize {
        let setup = self.setup.lock();
        let sessions: usize = setup
            .sessions
            .iter()
            .flatten()
            .map(|session| session.tables.len().saturating_add(session.carriers.len()))
            .sum();
        setup
            .tables
            .len()
            .saturating_add(sessions)
            .saturating_add(setup.gate_views.len().saturating_mul(2))
            .saturating_add(2)
            .saturating_mul(PAGE_SIZE)
    }
}
