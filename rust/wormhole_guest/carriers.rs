// SPDX-License-Identifier: GPL-2.0

//! The carriers of a session, and how their threads sleep until a call hops home.
//!
//! The host writes a call's registers into the carrier's context, then its state, and then has the
//! device interrupt this VM. Nothing in the window changes for that. So the interrupt handler looks
//! at the contexts of those who sleep, which are pinned: by the session, and by each who sleeps.

use crate::{
    channel::Standing,
    uapi,
    user_memory::PinnedPage,
    wait_queue::{
        Deadline,
        WaitQueue, //
    }, //
};
use core::mem::{
    forget,
    offset_of,
    take, //
};
use kernel::{
    mm::MmWithUser,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        SpinLock, //
    }, //
};

/// A carrier's number, and its context.
type Carrier = (u32, Arc<PinnedPage>);

/// What becomes of the contexts at a session's end.
pub(crate) enum Contexts {
    /// They tell whose call had hopped by then, until [`Carriers::forget`] or the last use.
    Keep,
    /// The host may still write to them: nobody else may get these pages.
    StayPinned,
}

/// The carriers of one session.
#[pin_data]
pub(crate) struct Carriers {
    /// The address of the process's `struct mm_struct`, which is there as long as the session.
    process: usize,
    /// The session has ended: no call hops any more.
    closed: Atomic<bool>,
    /// Where they sleep.
    sleepers: Arc<WaitQueue>,
    /// Room for all that there can be.
    #[pin]
    list: SpinLock<KVec<Carrier>>,
}

impl Carriers {
    /// None yet, of the process with this address space.
    pub(crate) fn new(mm: &MmWithUser, sleepers: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let list = KVec::with_capacity(uapi::WORMHOLE_MAX_CARRIERS as usize, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                process: mm.as_raw() as usize,
                closed: Atomic::new(false),
                sleepers,
                list <- new_spinlock!(list, "wormhole_guest carriers"),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether they are of the process with this address space.
    pub(crate) fn are_of(&self, mm: &MmWithUser) -> bool {
        self.process == mm.as_raw() as usize
    }

    /// Adds one. EINVAL its number is too high; EEXIST; EPIPE.
    pub(crate) fn add(&self, index: u32, context: Arc<PinnedPage>) -> Result {
        if index >= uapi::WORMHOLE_MAX_CARRIERS {
            return Err(EINVAL);
        }
        let mut list = self.list.lock();
        if self.closed() {
            return Err(EPIPE);
        }
        if list.iter().any(|(its, _)| *its == index) {
            return Err(EEXIST);
        }
        Ok(list.push_within_capacity((index, context))?)
    }

    /// Takes out one that the host does not have.
    pub(crate) fn remove(&self, index: u32) {
        // Dropped after the guard.
        let _removed;
        let mut list = self.list.lock();
        if let Some(at) = list.iter().position(|(its, _)| *its == index) {
            _removed = list.remove(at);
        }
    }

    /// Whether the session has ended.
    pub(crate) fn closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// The session has ended: wakes all who sleep.
    pub(crate) fn close(&self, contexts: Contexts) {
        {
            let mut list = self.list.lock();
            self.closed.store(true, Release);
            if let Contexts::StayPinned = contexts {
                forget(take(&mut *list));
            }
        }
        self.sleepers.wake_all();
    }

    /// The process has ended: nobody will ask for its contexts.
    pub(crate) fn forget(&self) {
        // Dropped after the guard.
        let _list = take(&mut *self.list.lock());
    }

    /// Sleeps until [`Self::close`] has been called. EINTR.
    pub(crate) fn wait_for_close(&self) -> Result {
        self.sleepers
            .wait_until_concerned(Deadline::NEVER, || self.closed().then_some(()))
    }

    fn context(&self, index: u32) -> Result<Arc<PinnedPage>> {
        let list = self.list.lock();
        match list.iter().find(|(its, _)| *its == index) {
            Some((_, context)) => Ok(context.clone()),
            None if self.closed() => Err(EPIPE),
            None => Err(ENOENT),
        }
    }

    /// Sleeps until the call of carrier `index` has hopped, which leaves the connection standing as
    /// far as the caller is told; or until that or the session is at its end. `look` says how the
    /// connection stands.
    pub(crate) fn await_hop(
        &self,
        index: u32,
        deadline: Deadline,
        look: impl Fn() -> Result<Standing> + Sync,
    ) -> Result<Standing> {
        let context = self.context(index)?;
        self.sleepers.wait_until_concerned(deadline, || {
            // Before the context: the last calls hop before a session ends.
            let closed = self.closed();
            if hopped(&context) {
                return Some(Ok(Standing::OPEN));
            }
            if closed {
                // The device's end is a session's too.
                return Some(look().and(Err(EPIPE)));
            }
            match look() {
                Ok(standing) if !standing.ended() => None,
                ended => Some(ended),
            }
        })?
    }
}

const _: () = assert!(offset_of!(uapi::wormhole_carrier, state) == 0);

/// Whether the call of this context has hopped home.
fn hopped(context: &PinnedPage) -> bool {
    context.first_word().load(Acquire) == uapi::WORMHOLE_CARRIER_HOPPED
}
