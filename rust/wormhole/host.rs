// SPDX-License-Identifier: GPL-2.0

//! What exists once per module: KVM's symbols, the work queue, and the list of pairings.

use crate::{
    hook::Hooks,
    kvm::{Kvm, Vm},
    name::Name,
    pairing::{Handle, Pairing},
    statistics,
    workqueue::OwnedQueue,
};
use core::ops::Deref;
use kernel::{
    debugfs, fmt, impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed, Release},
        Arc, Mutex,
    },
    workqueue::{Work, WorkItem},
};

/// See the module's description.
#[pin_data]
pub(crate) struct Host {
    pub(crate) kvm: Arc<Kvm>,
    /// Where pairings are taken apart when a VM has gone.
    pub(crate) queue: OwnedQueue,
    /// /sys/kernel/debug/wormhole
    pub(crate) debugfs: debugfs::Dir,
    /// KVM's hooks, while pairings use them and a little longer: to take them away takes seconds, and
    /// one pairing often follows another.
    #[pin]
    pub(crate) hooks: Mutex<Option<Hooks>>,
    /// Pairings that use the hooks. It leaves 0 under their lock alone.
    pub(crate) hook_users: Atomic<usize>,
    /// Held while VMs are enrolled and taken off the registry.
    #[pin]
    pub(crate) members: Mutex<()>,
    /// Work need not wait for anything that might come.
    pub(crate) unloading: Atomic<bool>,
    #[pin]
    detach_hooks: Work<Self>,
    next_id: Atomic<u64>,
    /// Every pairing whose file is open, those that have ended included.
    #[pin]
    pairings: Mutex<KVec<Arc<Pairing>>>,
}

impl_has_work! {
    impl HasWork<Self> for Host { self.detach_hooks }
}

impl WorkItem for Host {
    type Pointer = Arc<Self>;

    fn run(host: Arc<Self>) {
        host.detach_hooks();
    }
}

impl Host {
    fn new(kvm: Kvm) -> Result<Arc<Self>> {
        let kvm = Arc::new(kvm, GFP_KERNEL)?;
        let queue = OwnedQueue::new(c"wormhole")?;
        Arc::pin_init(
            pin_init!(Self {
                kvm,
                queue,
                debugfs: debugfs::Dir::new(c"wormhole"),
                hooks <- new_mutex!(None, "wormhole_hooks"),
                hook_users: Atomic::new(0),
                members <- new_mutex!((), "wormhole_members"),
                unloading: Atomic::new(false),
                detach_hooks <- new_work!("wormhole_detach_hooks"),
                next_id: Atomic::new(1),
                pairings <- new_mutex!(KVec::new(), "wormhole_pairings"),
            }),
            GFP_KERNEL,
        )
    }

    /// Enters a new pairing of two VMs into the list, unless it conflicts with another one: EBUSY.
    /// Nothing is attached to the VMs yet.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        name: Name,
        key: u32,
        client: &Vm,
        server: &Vm,
    ) -> Result<Handle> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let pairing = Pairing::new(self.clone(), id, key, name, client, server)?;

        let mut pairings = self.pairings.lock();
        if pairings.iter().any(|other| other.conflicts(&pairing)) {
            return Err(EBUSY);
        }
        pairings.push(pairing.clone(), GFP_KERNEL)?;
        drop(pairings);
        Ok(Handle::new(pairing))
    }

    /// Takes a pairing out of the list.
    pub(crate) fn remove(&self, pairing: &Arc<Pairing>) {
        self.pairings
            .lock()
            .retain(|other| !Arc::ptr_eq(other, pairing));
    }

    /// The number of pairings that have not ended.
    pub(crate) fn live_pairings(&self) -> usize {
        let pairings = self.pairings.lock();
        pairings.iter().filter(|pairing| pairing.is_live()).count()
    }

    /// All pairings as a table, one line each.
    pub(crate) fn write_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        statistics::write_table_head(f)?;
        self.pairings
            .lock()
            .iter()
            .try_for_each(|pairing| pairing.statistics().write_table_line(f))
    }
}

/// The module's own reference to its [`Host`]. When it is dropped no file of the module is open any
/// more, but work may be queued, with references of its own: it is waited for, since the queue
/// must not be destroyed from within itself.
pub(crate) struct HostOwner(Arc<Host>);

impl HostOwner {
    pub(crate) fn new(kvm: Kvm) -> Result<Self> {
        Host::new(kvm).map(Self)
    }
}

impl Deref for HostOwner {
    type Target = Arc<Host>;

    fn deref(&self) -> &Arc<Host> {
        &self.0
    }
}

impl Drop for HostOwner {
    fn drop(&mut self) {
        self.0.unloading.store(true, Release);
        self.0.queue.drain();
    }
}
