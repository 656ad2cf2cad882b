// SPDX-License-Identifier: GPL-2.0

//! What an open file has to do with exitless calls: it serves a session, is bound to one, or
//! neither.

use crate::{
    carriers::Carriers,
    channel::Standing,
    client::{
        self,
        Client, //
    },
    die_notifier::CallTrap,
    hypercall::Session,
    registered::{
        self,
        Rights, //
    },
    server::{
        self,
        Server, //
    },
    user_memory::{
        Channel,
        Lookup, //
    },
    wait_queue::{
        Deadline,
        WaitQueue, //
    }, //
};
use kernel::{
    mm::Mm,
    new_mutex,
    new_spinlock,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    }, //
};

enum Part {
    None,
    Serves(Pin<KBox<Server>>),
    Calls(Pin<KBox<Client>>),
    /// The device or the file has gone: none any more.
    Over,
}

/// A file's part in a session.
#[pin_data]
pub(crate) struct Exitless {
    #[pin]
    part: Mutex<Part>,
    /// Of the session that `part` serves. Apart from it, for those who are about to sleep.
    #[pin]
    carriers: SpinLock<Option<Arc<Carriers>>>,
    /// For the process that was bound last. It may go on calling whatever becomes of the session,
    /// so this stays as long as the file. Taken under `part`.
    #[pin]
    call_trap: Mutex<Option<Pin<KBox<CallTrap>>>>,
}

/// What REGISTER is asked for.
pub(crate) struct Request {
    pub(crate) address: u64,
    pub(crate) length: u64,
    pub(crate) rights: u32,
}

impl Exitless {
    /// No part.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                part <- new_mutex!(Part::None, "wormhole_guest exitless"),
                carriers <- new_spinlock!(None, "wormhole_guest carriers of a file"),
                call_trap <- new_mutex!(None, "wormhole_guest call trap"),
            }),
            GFP_KERNEL,
        )
    }

    /// Closes or unbinds the session; there will not be another. When this returns, the session's
    /// number may be another file's.
    pub(crate) fn end(&self) {
        let mut part = self.part.lock();
        self.set_carriers(None);
        // Dropped under the lock: whoever ends it at the same time waits.
        *part = Part::Over;
    }

    fn set_carriers(&self, carriers: Option<Arc<Carriers>>) {
        // The old ones are dropped after the lock.
        let _old = core::mem::replace(&mut *self.carriers.lock(), carriers);
    }

    /// SERVE. `sleepers`: where carriers sleep.
    pub(crate) fn serve(&self, session: Session, entry: u64, sleepers: Arc<WaitQueue>) -> Result {
        let mut part = self.part.lock();
        match &*part {
            Part::Over => return Err(ENODEV),
            Part::Serves(server) if server.closed() => {
                self.set_carriers(None);
                *part = Part::None;
            }
            Part::None => (),
            Part::Serves(_) | Part::Calls(_) => return Err(EBUSY),
        }
        let current = kernel::current!();
        let mm = current.mm().ok_or(EINVAL)?;
        let carriers = Carriers::new(mm, sleepers)?;
        *part = Part::Serves(server::serve(mm, session, entry, carriers.clone())?);
        self.set_carriers(Some(carriers));
        Ok(())
    }

    /// REGISTER. `done`: bytes that were, also when it fails.
    pub(crate) fn register(
        &self,
        request: &Request,
        channel: Channel<'_>,
        done: &mut u64,
        go_on: impl Fn() -> Result,
    ) -> Result {
        let rights = Rights::new(request.rights).ok_or(EINVAL)?;
        let range = registered::request(request.address, request.length).ok_or(EINVAL)?;
        let start = range.start;
        self.with_server(|server, mm| {
            let lookup = Lookup {
                mm,
                channel,
                rights,
            };
            let progress = |at: usize| *done = at.saturating_sub(start) as u64;
            server.register(range, &lookup, progress, go_on)
        })
    }

    /// CARRIER.
    pub(crate) fn add_carrier(&self, index: u32, context: u64) -> Result {
        let context = usize::try_from(context)?;
        if context % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        self.with_server(|server, _| server.add_carrier(index, context))
    }

    /// AWAIT; gives how the connection stands, or that it has not ended if the call has hopped.
    /// Sleeps without a lock. `look` says how the connection stands; it must not sleep.
    pub(crate) fn await_hop(
        &self,
        index: u32,
        deadline: Deadline,
        look: impl Fn() -> Result<Standing> + Sync,
    ) -> Result<Standing> {
        let carriers = self.carriers.lock().clone().ok_or(ENOENT)?;
        let current = kernel::current!();
        if !carriers.are_of(current.mm().ok_or(EINVAL)?) {
            return Err(EPERM);
        }
        carriers.await_hop(index, deadline, look)
    }

    /// RETIRE.
    pub(crate) fn retire(&self, index: u32) -> Result {
        self.with_server(|server, _| server.retire(index))
    }

    /// END.
    pub(crate) fn end_session(&self) -> Result {
        self.with_server(|server, _| server.end())
    }

    /// Runs `f` on the session that the calling process serves: `ENOENT` if the file has none,
    /// `EPERM` if it is another process's.
    fn with_server(&self, f: impl FnOnce(&Server, &kernel::mm::MmWithUser) -> Result) -> Result {
        let part = self.part.lock();
        let server = match &*part {
            Part::Serves(server) => server,
            Part::Over => return Err(ENODEV),
            Part::None | Part::Calls(_) => return Err(ENOENT),
        };
        let current = kernel::current!();
        let mm = current.mm().ok_or(EINVAL)?;
        if !server.watches(mm) {
            return Err(EPERM);
        }
        f(server, mm)
    }

    /// BIND.
    pub(crate) fn bind(&self, session: Session) -> Result {
        let mut part = self.part.lock();
        match &*part {
            Part::Over => return Err(ENODEV),
            Part::Calls(client) if client.ended() => *part = Part::None,
            Part::None => (),
            Part::Serves(_) | Part::Calls(_) => return Err(EBUSY),
        }
        let current = kernel::current!();
        let mm = current.mm().ok_or(EINVAL)?;
        self.trap_calls(mm)?;
        *part = Part::Calls(client::bind(mm, session)?);
        Ok(())
    }

    fn trap_calls(&self, mm: &Mm) -> Result {
        let mut trap = self.call_trap.lock();
        if !trap.as_ref().is_some_and(|trap| trap.is_for(mm)) {
            *trap = Some(CallTrap::new(mm)?);
        }
        Ok(())
    }
}
