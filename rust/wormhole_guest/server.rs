// SPDX-License-Identifier: GPL-2.0

//! The server's half of a session of exitless calls: what of a process's memory the client can
//! reach.
//!
//! # Registrations and invalidations
//!
//! REGISTER notes the range, looks the pages up (which sleeps, without our lock), then takes the
//! lock and, if nothing of the range was invalidated since, has the host map them, all under the
//! lock. An invalidation takes the lock to note itself and to see whether anything in its range is
//! registered; if so it has the host unmap the range, without the lock, and then forgets the pages
//! and gives their pins back. So either REGISTER came first and the invalidation finds its pages,
//! or REGISTER sees the invalidation and looks again.

use crate::{
    carriers::{
        Carriers,
        Contexts, //
    },
    hypercall,
    mmu_notifier::{
        MmuNotifier,
        Watcher, //
    },
    registered::{
        self,
        Invalidations,
        Rights,
        Slot,
        BLOCK_PAGES,
        PAGE, //
    },
    uapi,
    user_memory::{
        self,
        Found,
        Lookup,
        PhysicalPage,
        PinnedPage, //
    }, //
};
use core::{
    mem::take,
    ops::Range, //
};
use kernel::{
    bindings,
    mm::MmWithUser,
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        SpinLock, //
    }, //
};

const _: () = {
    assert!(PAGE == kernel::page::PAGE_SIZE);
    assert!(BLOCK_PAGES * size_of::<uapi::wormhole_mapping>() == PAGE);
    assert!(Rights::READ as u64 == uapi::WORMHOLE_MAP_READ as u64);
    assert!(Rights::WRITE as u64 == uapi::WORMHOLE_MAP_WRITE as u64);
    assert!(Rights::EXECUTE as u64 == uapi::WORMHOLE_MAP_EXECUTE as u64);
};

/// What a session's spin lock protects.
struct State {
    /// The host has it, and nobody has begun to close it.
    open: bool,
    invalidations: Invalidations,
    /// What is registered: by [`registered::block_of`], [`BLOCK_PAGES`] of them. No block is empty.
    blocks: RBTree<usize, KVec<Slot>>,
}

impl State {
    fn slot(&self, address: usize) -> Slot {
        let block = self.blocks.get(&registered::block_of(address));
        block
            .and_then(|slots| slots.get(index(address)))
            .copied()
            .unwrap_or(Slot::EMPTY)
    }

    /// Whether anything in `range` is registered.
    fn any(&self, range: &Range<usize>) -> bool {
        let mut from = registered::block_of(range.start);
        while let Some(cursor) = self.blocks.cursor_lower_bound(&from) {
            let (start, slots) = cursor.current();
            if *start >= range.end {
                return false;
            }
            // Not many turns: no block is empty, so this can fail for the first and the last alone.
            if slots_in(*start, slots, range).any(|slot| !slot.is_empty()) {
                return true;
            }
            from = registered::block_end(*start);
        }
        false
    }
}

/// The place of an address in its block.
fn index(address: usize) -> usize {
    address.wrapping_sub(registered::block_of(address)) / PAGE
}

/// The slots of the block at `start` that lie in `range`.
fn slots_in<'a>(
    start: usize,
    slots: &'a [Slot],
    range: &'a Range<usize>,
) -> impl Iterator<Item = &'a Slot> {
    slots
        .iter()
        .zip((start..).step_by(PAGE))
        .filter_map(|(slot, address)| range.contains(&address).then_some(slot))
}

/// A session, in the server's process. Closed at the end of the process's address space.
#[pin_data(PinnedDrop)]
pub(crate) struct Session {
    host: hypercall::Session,
    carriers: Arc<Carriers>,
    #[pin]
    state: SpinLock<State>,
}

/// A session that is told what becomes of the memory.
pub(crate) type Server = MmuNotifier<Session>;

/// How a step of REGISTER ended.
enum Step {
    /// All before this address is registered.
    Until(usize),
    /// Something got in between.
    Again,
}

/// Room for one step of REGISTER. Gives back, on drop as well, what was pinned and not registered.
struct Batch {
    wanted: KVec<usize>,
    pages: KVec<*mut bindings::page>,
    found: KVec<Found>,
    table: PhysicalPage,
}

impl Batch {
    fn new() -> Result<Self> {
        Ok(Self {
            wanted: KVec::with_capacity(BLOCK_PAGES, GFP_KERNEL)?,
            pages: KVec::from_elem(core::ptr::null_mut(), BLOCK_PAGES, GFP_KERNEL)?,
            found: KVec::with_capacity(BLOCK_PAGES, GFP_KERNEL)?,
            table: PhysicalPage::new()?,
        })
    }

    fn clear(&mut self) {
        for found in self.found.iter_mut() {
            user_memory::unpin(take(&mut found.slot));
        }
        self.found.clear();
        self.wanted.clear();
    }

    /// Writes what was found as the hypercall wants it.
    fn fill_table(&mut self, rights: Rights) -> Result {
        for (index, found) in self.found.iter().enumerate() {
            let mapping = uapi::wormhole_mapping {
                address: (found.address | rights.bits()) as u64,
                gpa: found.gpa,
            };
            self.table.write(index, mapping)?;
        }
        Ok(())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Opens a session for the calling process, whose address space is `mm`.
pub(crate) fn serve(
    mm: &MmWithUser,
    host: hypercall::Session,
    entry: u64,
    carriers: Arc<Carriers>,
) -> Result<Pin<KBox<Server>>> {
    host.check()?;
    let state = State {
        open: false,
        invalidations: Invalidations::default(),
        blocks: RBTree::new(),
    };
    let server = MmuNotifier::new(
        mm,
        try_pin_init!(Session {
            host,
            carriers,
            state <- new_spinlock!(state, "wormhole_guest session"),
        }? Error),
    )?;
    host.open(entry)?;
    server.state.lock().open = true;
    Ok(server)
}

impl Session {
    /// Whether it has been closed.
    pub(crate) fn closed(&self) -> bool {
        !self.state.lock().open
    }

    /// Registers `range`, whole pages, with the rights in `lookup`. `progress` learns the address
    /// up to which all is registered; `go_on` is asked now and then. One at a time.
    pub(crate) fn register(
        &self,
        range: Range<usize>,
        lookup: &Lookup<'_>,
        mut progress: impl FnMut(usize),
        go_on: impl Fn() -> Result,
    ) -> Result {
        let mut batch = Batch::new()?;
        let mut at = range.start;
        while at < range.end {
            let until = registered::block_end(at).min(range.end);
            match self.step(at..until, lookup, &mut batch)? {
                Step::Until(address) => {
                    at = address;
                    progress(at);
                }
                Step::Again => kernel::time::delay::fsleep(kernel::time::Delta::from_micros(20)),
            }
            if at < range.end {
                go_on()?;
            }
        }
        Ok(())
    }

    /// Registers a part of `range`, which lies in one block.
    fn step(&self, range: Range<usize>, lookup: &Lookup<'_>, batch: &mut Batch) -> Result<Step> {
        batch.clear();
        if !self.begin(&range, lookup.rights, batch)? {
            return Ok(Step::Again);
        }
        let outcome = lookup.find(&batch.wanted, &mut batch.pages, &mut batch.found);
        if batch.found.is_empty() {
            return outcome.map(|()| Step::Until(range.end));
        }
        batch.fill_table(lookup.rights)?;
        let slots = KVec::from_elem(Slot::EMPTY, BLOCK_PAGES, GFP_KERNEL)?;
        let block = RBTreeNode::new(registered::block_of(range.start), slots, GFP_KERNEL)?;
        let Some(done) = self.commit(block, lookup.rights, batch)? else {
            return Ok(Step::Again);
        };
        // Where the first is that could not be found, or was refused: it comes first next time, and
        // says why.
        let next = batch.wanted.get(done).copied().unwrap_or(range.end);
        Ok(Step::Until(next))
    }

    /// Begins to register `range`: what is not registered with these rights is wanted. `false`: not
    /// now, it is just changing.
    fn begin(&self, range: &Range<usize>, rights: Rights, batch: &mut Batch) -> Result<bool> {
        let mut lesser = 0..0;
        {
            let mut state = self.state.lock();
            if !state.open {
                return Err(EPIPE);
            }
            if !state.invalidations.begin(range.clone()) {
                return Ok(false);
            }
            for address in range.clone().step_by(PAGE) {
                let slot = state.slot(address);
                if slot.allows(rights) {
                    continue;
                }
                if !slot.is_empty() && (lesser.is_empty() || lesser.end == address) {
                    let start = if lesser.is_empty() {
                        address
                    } else {
                        lesser.start
                    };
                    lesser = start..address.saturating_add(PAGE);
                    continue;
                }
                batch.wanted.push_within_capacity(address)?;
            }
        }
        if lesser.is_empty() {
            return Ok(true);
        }
        // What is registered with other rights is registered anew, the first such pages first.
        self.withdraw(lesser)?;
        batch.wanted.clear();
        Ok(false)
    }

    /// Has the host map what was found, unless it may have changed since [`Self::begin`]. Gives how
    /// many it mapped, not 0.
    fn commit(
        &self,
        block: RBTreeNode<usize, KVec<Slot>>,
        rights: Rights,
        batch: &mut Batch,
    ) -> Result<Option<usize>> {
        // Dropped after the guard if it is not needed.
        let mut block = Some(block);
        let mut state = self.state.lock();
        if !state.open {
            return Err(EPIPE);
        }
        if !state.invalidations.undisturbed() {
            return Ok(None);
        }
        let first = batch.found.first().ok_or(EINVAL)?.address;
        let key = registered::block_of(first);
        let done = match self.host.map(batch.table.gpa(), batch.found.len()) {
            Ok(0) => return Err(EIO),
            Ok(done) => done,
            Err(error) if error == EEXIST => {
                // We know better; nothing there is ours.
                drop(state);
                self.host.unmap(first, 1)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if state.blocks.get(&key).is_none() {
            if let Some(block) = block.take() {
                state.blocks.insert(block);
            }
        }
        if let Some(slots) = state.blocks.get_mut(&key) {
            for found in batch.found.iter_mut().take(done) {
                if let Some(slot) = slots.get_mut(index(found.address)) {
                    *slot = if rights.execute() {
                        // The host has a copy: the pin stays with the batch, which gives it back.
                        Slot::new(0, rights)
                    } else {
                        take(&mut found.slot)
                    };
                }
            }
        }
        Ok(Some(done))
    }

    /// Takes what is registered in `range` away from the client, and gives its pins back. No
    /// registration of it may be under way, or it must be noted as being invalidated.
    fn withdraw(&self, range: Range<usize>) -> Result {
        let pages = range.end.saturating_sub(range.start) / PAGE;
        if let Err(error) = self.host.unmap(range.start, pages) {
            pr_err!("the host does not unmap: {:?}\n", error);
            // Rather nothing than what is not the process's any more.
            self.close();
            return Err(error);
        }
        self.forget(range);
        Ok(())
    }

    /// Gives back the pins of what was registered in `range`, and is no more.
    fn forget(&self, range: Range<usize>) {
        let mut at = range.start;
        while let Some(next) = self.forget_block(at..range.end) {
            at = next;
        }
    }

    /// The same, of the first block in `range`; gives where the next begins. The lock is let go in
    /// between.
    fn forget_block(&self, range: Range<usize>) -> Option<usize> {
        // Dropped after the guard.
        let _empty;
        let mut state = self.state.lock();
        let from = registered::block_of(range.start);
        let mut cursor = state.blocks.cursor_lower_bound_mut(&from)?;
        let (start, slots) = cursor.current_mut();
        let start = *start;
        if start >= range.end {
            return None;
        }
        for (slot, address) in slots.iter_mut().zip((start..).step_by(PAGE)) {
            if range.contains(&address) {
                user_memory::unpin(take(slot));
            }
        }
        if slots.iter().all(|slot| slot.is_empty()) {
            _empty = state.blocks.remove_node(&start);
        }
        Some(registered::block_end(start))
    }

    /// Gives the session a carrier, whose context is at `address`, a page of the calling process.
    /// One at a time.
    pub(crate) fn add_carrier(&self, index: u32, address: usize) -> Result {
        let context = Arc::new(PinnedPage::new(address)?, GFP_KERNEL)?;
        self.carriers.add(index, context.clone())?;
        self.host
            .carrier(index, context.gpa())
            .inspect_err(|_| self.carriers.remove(index))
    }

    /// Takes a carrier back, after which nobody uses its context. EBUSY: not yet.
    pub(crate) fn retire(&self, index: u32) -> Result {
        if self.carriers.closed() {
            return Err(EPIPE);
        }
        self.host.retire(index)?;
        self.carriers.remove(index);
        Ok(())
    }

    /// Closes it, when nobody has before: the client can reach nothing of it afterwards.
    pub(crate) fn end(&self) -> Result {
        if self.carriers.closed() {
            return Err(EPIPE);
        }
        self.close();
        self.carriers.wait_for_close()
    }

    /// Closes it: the client can reach nothing of it afterwards. If somebody else is closing it,
    /// that may be yet to come.
    fn close(&self) {
        if !take(&mut self.state.lock().open) {
            return;
        }
        if let Err(error) = self.host.close() {
            pr_err!("the host does not close a session: {:?}\n", error);
            self.carriers.close(Contexts::StayPinned);
            return;
        }
        self.carriers.close(Contexts::Keep);
        let blocks = core::mem::replace(&mut self.state.lock().blocks, RBTree::new());
        for slot in blocks.values().flatten() {
            user_memory::unpin(*slot);
        }
    }
}

impl Watcher for Session {
    const INVALIDATIONS: bool = true;

    fn invalidate(&self, range: Range<usize>) {
        let range = registered::pages_over(range);
        let registered = {
            let mut state = self.state.lock();
            state.invalidations.start(range.clone());
            state.any(&range)
        };
        if registered {
            // On failure the pins stay, see `drop`.
            let _ = self.withdraw(range);
        }
    }

    fn invalidated(&self) {
        self.state.lock().invalidations.end();
    }

    fn released(&self) {
        self.close();
        self.carriers.forget();
    }
}

#[pinned_drop]
impl PinnedDrop for Session {
    fn drop(self: Pin<&mut Self>) {
        // The notifier's end has closed it. What is left the host did not let go: the client may be
        // able to reach it still, so nobody else may get these pages, and they stay pinned.
        if !self.state.lock().blocks.is_empty() {
            pr_err!("memory of a session that the host did not close stays pinned\n");
        }
    }
}
