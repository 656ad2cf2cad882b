// SPDX-License-Identifier: GPL-2.0

//! A pairing: its two VMs, and how it ends.
//!
//! A pairing ends when its file is closed, or when the address space of one of its VMs (QEMU's)
//! ends. Either way it is taken apart once: the MMU notifiers are unregistered and the references
//! to the VMs dropped, so that a VM does not outlive its QEMU. If a VM went, the file stays as a
//! shell that reports EPOLLHUP and the last statistics.

use crate::{
    eventfd::EventFd,
    exitless::Exitless,
    host::Host,
    kvm::{Exits, Vm, VmId},
    mmu_notifier::{MmuNotifier, Released},
    name::Name,
    statistics::{Side, Statistics},
    switch::Counts,
    tracepoint,
};
use kernel::{
    impl_has_work, new_mutex, new_spinlock, new_work,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{Acquire, Atomic, Full},
        poll::PollCondVarBox,
        Arc, Mutex, SpinLock,
    },
    time::{Instant, Monotonic},
    workqueue::{Work, WorkItem},
};

/// A VM's part in a pairing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// Where a pairing is in its life: it leaves `Paired` once, and for good.
/// The numbers are those of the tracepoint wormhole_unpair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Paired,
    ClientGone,
    ServerGone,
    /// Its file was closed.
    Closed,
}

/// What a pairing holds of one VM.
struct Member {
    // Dropped first: no more notifications once the reference is dropped.
    _notifier: Pin<KBox<MmuNotifier<Watch>>>,
    vm: Vm,
}

/// One VM of a pairing, as it was and as it is.
struct Slot {
    pid: i32,
    member: Option<Member>,
    /// When `member` was taken out.
    last_exits: Exits,
}

impl Slot {
    fn new(vm: &Vm) -> Self {
        Self {
            pid: vm.pid(),
            member: None,
            last_exits: Exits::default(),
        }
    }

    fn take(&mut self) -> Option<Member> {
        let member = self.member.take()?;
        self.last_exits = member.vm.exits();
        Some(member)
    }

    fn side(&self) -> Side {
        Side {
            pid: self.pid,
            exits: self
                .member
                .as_ref()
                .map_or(self.last_exits, |member| member.vm.exits()),
        }
    }
}

struct Slots {
    client: Slot,
    server: Slot,
    /// `None` where there are none, and once the pairing is taken apart.
    exitless: Option<Exitless>,
    last_counts: Counts,
}

/// See the module's description.
#[pin_data]
pub(crate) struct Pairing {
    host: Arc<Host>,
    id: u64,
    /// By which the VMs' hypercalls name it.
    key: u32,
    name: Name,
    created: Instant<Monotonic>,
    client_id: VmId,
    server_id: VmId,
    #[pin]
    state: SpinLock<State>,
    #[pin]
    slots: Mutex<Slots>,
    /// Held while it is taken apart: whoever comes second waits for the first.
    #[pin]
    apart: Mutex<()>,
    /// A VM has gone and the pairing has been taken apart.
    hung_up: Atomic<bool>,
    hang_up: PollCondVarBox,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Pairing { self.work }
}

impl WorkItem for Pairing {
    type Pointer = Arc<Self>;

    fn run(pairing: Arc<Self>) {
        pairing.take_apart();
    }
}

impl Pairing {
    pub(crate) fn new(
        host: Arc<Host>,
        id: u64,
        key: u32,
        name: Name,
        client: &Vm,
        server: &Vm,
    ) -> Result<Arc<Self>> {
        let hang_up = PollCondVarBox::new(c"wormhole_hang_up", static_lock_class!())?;
        let slots = Slots {
            client: Slot::new(client),
            server: Slot::new(server),
            exitless: None,
            last_counts: Counts::default(),
        };
        Arc::pin_init(
            pin_init!(Self {
                host,
                id,
                key,
                name,
                created: Instant::now(),
                client_id: client.id(),
                server_id: server.id(),
                state <- new_spinlock!(State::Paired, "wormhole_state"),
                slots <- new_mutex!(slots, "wormhole_slots"),
                apart <- new_mutex!((), "wormhole_apart"),
                hung_up: Atomic::new(false),
                hang_up,
                work <- new_work!("wormhole_take_apart"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_live(&self) -> bool {
        *self.state.lock() == State::Paired
    }

    /// Whether both have the same client VM, or the same server VM, which could not tell them apart.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        // While `self` lives there are references to its VMs, so nothing else has their IDs.
        // Nor may they have a part in two pairings before the first one's exitless calls have ended.
        let same_server = self.server_id == other.server_id && self.key == other.key;
        (self.client_id == other.client_id || same_server) && !self.hung_up()
    }

    /// A VM has gone, and the pairing been taken apart.
    pub(crate) fn hung_up(&self) -> bool {
        self.hung_up.load(Acquire)
    }

    /// Woken when [`Self::hung_up`] turns true.
    pub(crate) fn hang_up(&self) -> &PollCondVarBox {
        &self.hang_up
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let slots = self.slots.lock();
        // Let go of at once: what comes next sleeps.
        let state = *self.state.lock();
        Statistics {
            id: self.id,
            name: self.name,
            state,
            age_s: self.created.elapsed().as_millis() / 1000,
            client: slots.client.side(),
            server: slots.server.side(),
            counts: slots
                .exitless
                .as_ref()
                .map_or(slots.last_counts, Exitless::counts),
        }
    }

    /// Leaves `State::Paired`. Returns whether this call did it.
    fn end(&self, how: State) -> bool {
        let mut state = self.state.lock();
        let first = *state == State::Paired;
        if first {
            *state = how;
        }
        first
    }

    /// Lets go of both VMs. The pairing must have ended. Sleeps, and must not run within an MMU
    /// notifier.
    fn take_apart(&self) {
        let _apart = self.apart.lock();
        // Before the VMs: while these exist vCPUs may be in views. Without the lock: it waits for
        // hypercalls.
        let exitless = {
            let mut slots = self.slots.lock();
            if let Some(exitless) = &slots.exitless {
                slots.last_counts = exitless.counts();
            }
            slots.exitless.take()
        };
        drop(exitless);
        let members = {
            let mut slots = self.slots.lock();
            (slots.client.take(), slots.server.take())
        };
        drop(members);
        if !self.hung_up.xchg(true, Full) {
            tracepoint::unpair(self.id, *self.state.lock() as u32);
            self.hang_up.notify_all();
        }
    }
}

/// Owns a pairing: dropping it ends the pairing, takes it apart, and takes it off the list.
pub(crate) struct Handle(Arc<Pairing>);

impl Handle {
    pub(crate) fn new(pairing: Arc<Pairing>) -> Self {
        Self(pairing)
    }

    pub(crate) fn pairing(&self) -> &Arc<Pairing> {
        &self.0
    }

    /// Lets the VMs make exitless calls until the pairing ends. Both must be attached. See
    /// [`Exitless::start`].
    pub(crate) fn start_exitless(
        &self,
        client: &Vm,
        server: &Vm,
        event: Option<EventFd>,
    ) -> Result {
        let exitless = Exitless::start(&self.0.host, self.0.id, self.0.key, client, server, event)?;
        let unused = {
            let mut slots = self.0.slots.lock();
            if slots.client.member.is_some() && slots.server.member.is_some() {
                slots.exitless = Some(exitless);
                None
            } else {
                // Taken apart already.
                Some(exitless)
            }
        };
        drop(unused);
        Ok(())
    }

    /// Makes the pairing hold `vm` until it ends. ESRCH if the VM's address space has gone.
    ///
    /// The caller must see to it that the address space keeps a user until the handle is dropped
    /// or both VMs are attached.
    pub(crate) fn attach(&self, role: Role, vm: Vm) -> Result {
        let mm = vm.mm()?;
        let watch = Watch {
            pairing: self.0.clone(),
            role,
        };
        let member = Member {
            _notifier: MmuNotifier::new(&mm, watch)?,
            vm,
        };

        let mut slots = self.0.slots.lock();
        match role {
            Role::Client => slots.client.member = Some(member),
            Role::Server => slots.server.member = Some(member),
        }
        drop(slots);
        // Should it be the last user by now, the address space ends here, and `Watch` is called:
        // no lock may be held.
        drop(mm);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end(State::Closed);
        self.0.take_apart();
        self.0.host.remove(&self.0);
    }
}

/// Ends a pairing when the address space of one of its VMs ends. This is a cycle of references
/// (`Pairing`, `Member`, `MmuNotifier`, `Watch`) that [`Pairing::take_apart`] cuts.
struct Watch {
    pairing: Arc<Pairing>,
    role: Role,
}

impl Released for Watch {
    fn released(&self) {
        let gone = match self.role {
            Role::Client => State::ClientGone,
            Role::Server => State::ServerGone,
        };
        // Also called while the pairing is taken apart: then it has ended already.
        if self.pairing.end(gone) {
            // Taking it apart from here would wait for this very call. The work is queued once in
            // a pairing's life, so this does not fail.
            let _ = self.pairing.host.queue.enqueue(self.pairing.clone());
        }
    }
}
