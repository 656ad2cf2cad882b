// SPDX-License-Identifier: GPL-2.0

//! One ivshmem device whose window is Wormhole's: who holds which channel, who sleeps, and what
//! the two interrupts wake.

use crate::{
    address_space::AddressSpace,
    channel::{
        self,
        Channel,
        Connection,
        Offer,
        Standing, //
    },
    endpoint::Endpoint,
    exitless::Exitless,
    geometry::{
        Geometry,
        Role, //
    },
    hypercall::Session,
    random,
    registers::{
        self,
        Registers, //
    },
    uapi,
    wait_queue::{
        new_wait_queue,
        WaitQueue, //
    },
    window::{
        full_barrier,
        ChannelWords,
        Window, //
    }, //
};
use kernel::{
    devres::Devres,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    }, //
};

/// What the table's mutex protects.
pub(crate) struct Table {
    /// Per channel: who holds it.
    pub(crate) channels: KVec<Channel>,
    /// Per channel: where the file bound to it is mapped.
    mappings: KVec<Option<AddressSpace>>,
    /// Per channel: what the file bound to it has to do with exitless calls.
    exitless: KVec<Option<Arc<Exitless>>>,
    /// Client: the number of the last connection.
    pub(crate) number: u32,
    /// Unbound from the driver: no state word of ours is to be set any more, no page mapped.
    gone: bool,
}

/// What interrupts need to know of a channel.
#[pin_data]
pub(crate) struct Sleepers {
    /// Those of the file bound to the channel, and a CONNECT that has offered it.
    #[pin]
    pub(crate) queue: WaitQueue,
    /// Our event word when an interrupt last looked.
    seen: Atomic<u32>,
    /// The channel's events concern [`Device::unbound`] too: nobody is bound to it, or somebody
    /// who polled the file before that, so that epoll listens there.
    wakes_unbound: Atomic<bool>,
}

/// A bound device. Open files keep it; its registers and its window go when it is unbound.
#[pin_data]
pub(crate) struct Device {
    role: Role,
    geometry: Geometry,
    /// Of the sessions of exitless calls, if they are this device's.
    key: Option<u32>,
    /// Page frame of the window's start.
    window_pfn: usize,
    registers: Registers,
    window: Devres<Window>,
    sleepers: KVec<Pin<KBox<Sleepers>>>,
    /// Carriers, of all channels. They look at their own contexts.
    carriers: Arc<WaitQueue>,
    /// ACCEPT, a CONNECT that finds no free channel, and polls of unbound files.
    #[pin]
    pub(crate) unbound: WaitQueue,
    /// Moves whenever those in `unbound` should look again.
    news: Atomic<u32>,
    /// `Table::gone`, for those who cannot sleep.
    gone: Atomic<bool>,
    #[pin]
    table: Mutex<Table>,
}

/// The table of a device that is still there, locked.
pub(crate) type LockedTable<'a> = kernel::sync::lock::mutex::MutexGuard<'a, Table>;

impl Device {
    /// Takes over a window: closes whatever this side had open in it, so that the peer notices.
    /// [`Device::announce`] tells it.
    pub(crate) fn new(
        role: Role,
        geometry: Geometry,
        key: Option<u32>,
        registers: Registers,
        window: Devres<Window>,
    ) -> Result<Arc<Self>> {
        let count = geometry.channels() as usize;
        let mut channels = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut mappings = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut exitless = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut sleepers = KVec::with_capacity(count, GFP_KERNEL)?;
        for index in 0..geometry.channels() {
            let (offer, seen) = {
                let window = window.try_access().ok_or(ENODEV)?;
                let words = geometry
                    .channel_offset(index)
                    .and_then(|offset| window.channel(offset))
                    .ok_or(EINVAL)?;
                words.state(role).store(0, Relaxed);
                full_barrier();
                words.event(role.peer()).fetch_add(1, Full);
                let offer = Offer {
                    link: window.link(role.peer()).load(Relaxed),
                    number: words.state(role.peer()).load(Relaxed),
                };
                (offer, words.event(role).load(Acquire))
            };
            channels.push(Channel::at_probe(offer), GFP_KERNEL)?;
            mappings.push(None, GFP_KERNEL)?;
            exitless.push(None, GFP_KERNEL)?;
            let queue = KBox::pin_init(
                pin_init!(Sleepers {
                    queue <- new_wait_queue!("wormhole_guest channel"),
                    seen: Atomic::new(seen),
                    wakes_unbound: Atomic::new(true),
                }),
                GFP_KERNEL,
            )?;
            sleepers.push(queue, GFP_KERNEL)?;
        }
        let start = window.try_access().ok_or(ENODEV)?.start();
        let table = Table {
            channels,
            mappings,
            exitless,
            // Not where a driver before us started, as far as chance can tell: the server must not
            // take a new offer for one that it saw.
            number: random::word(),
            gone: false,
        };
        Arc::pin_init(
            try_pin_init!(Self {
                role,
                geometry,
                key,
                window_pfn: usize::try_from(start)? >> kernel::page::PAGE_SHIFT,
                registers,
                window,
                sleepers,
                carriers: Arc::pin_init(
                    new_wait_queue!("wormhole_guest carriers"),
                    GFP_KERNEL
                )?,
                unbound <- new_wait_queue!("wormhole_guest unbound"),
                news: Atomic::new(0),
                gone: Atomic::new(false),
                table <- new_mutex!(table, "wormhole_guest table"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Has the peer look at what [`Device::new`] changed.
    pub(crate) fn announce(&self) {
        self.ring();
    }

    /// This VM's side.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// A channel's session of exitless calls. `EOPNOTSUPP` if it has none.
    pub(crate) fn session(&self, channel: usize) -> Result<Session> {
        Session::new(self.key.ok_or(EOPNOTSUPP)?, channel)
    }

    /// The window's layout.
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Page frame of a channel's first page.
    pub(crate) fn channel_pfn(&self, index: usize) -> Result<usize> {
        let offset = self
            .geometry
            .channel_offset(index.try_into()?)
            .ok_or(EINVAL)?;
        self.window_pfn
            .checked_add(usize::try_from(offset)? >> kernel::page::PAGE_SHIFT)
            .ok_or(EOVERFLOW)
    }

    /// What interrupts know of a channel.
    pub(crate) fn sleepers(&self, index: usize) -> Result<Pin<&Sleepers>> {
        Ok(self.sleepers.get(index).ok_or(EINVAL)?.as_ref())
    }

    /// Where carriers sleep.
    pub(crate) fn carriers(&self) -> Arc<WaitQueue> {
        self.carriers.clone()
    }

    /// Whether the device was unbound.
    pub(crate) fn gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    /// What [`Device::unbound`] sleepers compare.
    pub(crate) fn news(&self) -> u32 {
        self.news.load(Acquire)
    }

    /// Locks the table; `ENODEV` if the device was unbound.
    pub(crate) fn lock(&self) -> Result<LockedTable<'_>> {
        let table = self.table.lock();
        if table.gone {
            return Err(ENODEV);
        }
        Ok(table)
    }

    /// Runs `f` on the window, which stays mapped meanwhile; `f` must not sleep.
    pub(crate) fn with_window<R>(&self, f: impl FnOnce(&Window) -> Result<R>) -> Result<R> {
        self.window.try_access_with(f).ok_or(ENODEV)?
    }

    /// Runs `f` on a channel's words; `f` must not sleep.
    pub(crate) fn with_channel<R>(
        &self,
        index: usize,
        f: impl FnOnce(&Window, ChannelWords<'_>) -> R,
    ) -> Result<R> {
        let offset = self
            .geometry
            .channel_offset(index.try_into()?)
            .ok_or(EINVAL)?;
        self.with_window(|window| Ok(f(window, window.channel(offset).ok_or(EINVAL)?)))
    }

    /// The peer's word of `link[]`.
    pub(crate) fn peer_link(&self) -> Result<u32> {
        self.with_window(|window| Ok(window.link(self.role.peer()).load(Acquire)))
    }

    /// The peer's state word of a channel; 0 of a window that has gone.
    pub(crate) fn peer_state(&self, index: usize) -> u32 {
        self.with_channel(index, |_, words| {
            words.state(self.role.peer()).load(Acquire)
        })
        .unwrap_or(0)
    }

    /// Our event word of a channel, and how a connection on it stands.
    pub(crate) fn look(&self, index: usize, connection: Connection) -> Result<(u32, Standing)> {
        let peer = self.role.peer();
        self.with_channel(index, |window, words| {
            let event = words.event(self.role).load(Acquire);
            let state = words.state(peer).load(Acquire);
            let link = window.link(peer).load(Acquire);
            (event, Standing::of(connection, state, link))
        })
    }

    /// Adds one to the peer's event word of a channel and rings its doorbell.
    pub(crate) fn notify(&self, index: usize) -> Result {
        self.with_channel(index, |_, words| {
            words.event(self.role.peer()).fetch_add(1, Full);
        })?;
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        registers::ring(
            &self.registers,
            self.role.peer(),
            uapi::WORMHOLE_VECTOR_CHANNEL as u16,
        );
    }

    /// Shows the peer that this side's end of a channel is closed. On a device that has gone,
    /// [`Device::shut_down`] did.
    fn show_closed(&self, index: usize) {
        let shown = self.with_channel(index, |_, words| {
            words.state(self.role).store(0, Release);
            // The client looks at the server's state next (`channel::pick`), the server's ACCEPT
            // at the client's after writing its own: one of them sees the other's.
            full_barrier();
        });
        if shown.is_ok() {
            let _ = self.notify(index);
        }
    }

    /// Makes `endpoint` the file of a channel that it holds.
    pub(crate) fn bind(
        &self,
        table: &mut Table,
        endpoint: &Endpoint,
        index: usize,
        connection: Connection,
        event: u32,
    ) -> Result {
        let sleepers = self.sleepers(index)?;
        *table.mappings.get_mut(index).ok_or(EINVAL)? = Some(endpoint.address_space());
        *table.exitless.get_mut(index).ok_or(EINVAL)? = Some(endpoint.exitless());
        let polled = endpoint.bind(index, connection, event);
        sleepers.wakes_unbound.store(polled, Release);
        Ok(())
    }

    /// Gives a held channel back, its end here closed.
    pub(crate) fn release(&self, index: usize) {
        {
            let mut table = self.table.lock();
            if !table.gone {
                self.show_closed(index);
            }
            if let Some(mapping) = table.mappings.get_mut(index) {
                *mapping = None;
            }
            if let Some(exitless) = table.exitless.get_mut(index) {
                *exitless = None;
            }
            if let Some(channel) = table.channels.get_mut(index) {
                channel.release();
            }
            if let Ok(sleepers) = self.sleepers(index) {
                sleepers.wakes_unbound.store(true, Release);
            }
        }
        self.wake_unbound();
    }

    /// Whether ACCEPT would find an offer.
    pub(crate) fn offered(&self, table: &Table) -> Option<(usize, Offer)> {
        let link = self.peer_link().ok()?;
        channel::offered(&table.channels, link, |index| self.peer_state(index))
    }

    fn wake_unbound(&self) {
        self.news.fetch_add(1, Full);
        self.unbound.wake_all();
    }

    /// Vector `WORMHOLE_VECTOR_CHANNEL`: wakes the sleepers of the channels whose event word
    /// moved, and the carriers whose call has hopped. In hard interrupt context.
    pub(crate) fn channel_interrupt(&self) {
        // The host, which signals a hop, does not touch the window.
        self.carriers.wake_all();
        let mut unbound = false;
        for (index, sleepers) in self.sleepers.iter().enumerate() {
            let Ok(event) =
                self.with_channel(index, |_, words| words.event(self.role).load(Acquire))
            else {
                return;
            };
            if sleepers.seen.xchg(event, Full) != event {
                sleepers.queue.wake_all();
                unbound |= sleepers.wakes_unbound.load(Acquire);
            }
        }
        if unbound {
            self.wake_unbound();
        }
    }

    /// Vector `WORMHOLE_VECTOR_LINK`: the other VM came or went. In hard interrupt context.
    pub(crate) fn wake_everybody(&self) {
        for sleepers in &self.sleepers {
            sleepers.queue.wake_all();
        }
        self.carriers.wake_all();
        self.wake_unbound();
    }

    /// The device is being unbound while files may be open: closes what they hold, takes their
    /// mappings away, ends their exitless calls and wakes their sleepers, who find `ENODEV`.
    pub(crate) fn shut_down(&self) {
        {
            let mut table = self.table.lock();
            table.gone = true;
            self.gone.store(true, Release);
            for (index, channel) in table.channels.iter().enumerate() {
                if channel.held() {
                    self.show_closed(index);
                }
            }
            // Page faults take the table's mutex to map: none maps after this.
            for mapping in table.mappings.iter().flatten() {
                mapping.unmap_all();
            }
        }
        // None is bound any more, and an end takes a lock that comes before the table's.
        for index in 0..self.sleepers.len() {
            let exitless = {
                let mut table = self.table.lock();
                table.exitless.get_mut(index).and_then(Option::take)
            };
            if let Some(exitless) = exitless {
                exitless.end();
            }
        }
        self.wake_everybody();
    }
}
