// SPDX-License-Identifier: GPL-2.0

//! An open file of the device: unbound, or one end of a connection.

use crate::{
    accept,
    address_space::AddressSpace,
    argument,
    channel::{
        self,
        Connection,
        Standing, //
    },
    connect,
    device::Device,
    exitless::{
        Exitless,
        Request, //
    },
    geometry::Role,
    mapping::{
        Fault,
        Mapping,
        VmFault, //
    },
    uapi,
    user_memory::Channel,
    wait_queue::{
        Deadline,
        PollTable, //
    }, //
};
use kernel::{
    bindings,
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Full,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    }, //
};

/// Pages mapped by one fault, aligned. Also what `touched` is rounded up to, and so what CONNECT
/// clears.
const FAULT_AROUND: usize = 16;

const READABLE: u32 = bindings::POLLIN | bindings::POLLRDNORM;

/// What a file is bound to, for good.
#[derive(Clone, Copy)]
struct Binding {
    index: usize,
    connection: Connection,
}

/// An open file.
pub(crate) struct Endpoint {
    device: Arc<Device>,
    /// Set under the table's mutex.
    binding: SetOnce<Binding>,
    /// CONNECT or ACCEPT is on its way, or was successful.
    taken: AtomicFlag,
    /// Polled while it was unbound. Set under the table's mutex.
    polled_unbound: Atomic<bool>,
    /// The event word that WAIT gave last.
    waited: Atomic<u32>,
    space: AddressSpace,
    exitless: Arc<Exitless>,
}

impl Endpoint {
    /// Opens the device.
    pub(crate) fn open(device: Arc<Device>, file: &File) -> Result<Self> {
        if device.gone() {
            return Err(ENODEV);
        }
        Ok(Self {
            device,
            binding: SetOnce::new(),
            taken: AtomicFlag::new(false),
            polled_unbound: Atomic::new(false),
            waited: Atomic::new(0),
            space: AddressSpace::of(file),
            exitless: Exitless::new()?,
        })
    }

    /// Where the file is mapped.
    pub(crate) fn address_space(&self) -> AddressSpace {
        self.space.clone()
    }

    /// What it has to do with exitless calls.
    pub(crate) fn exitless(&self) -> Arc<Exitless> {
        self.exitless.clone()
    }

    /// Binds the file; the caller holds the table's mutex and the channel, and no other thread
    /// binds this file. Gives whether the file was polled while it was unbound.
    pub(crate) fn bind(&self, index: usize, connection: Connection, event: u32) -> bool {
        self.waited.store(event, Relaxed);
        self.binding.populate(Binding { index, connection });
        self.polled_unbound.load(Relaxed)
    }

    fn bound(&self) -> Result<Binding> {
        self.binding.copy().ok_or(ENOTCONN)
    }

    /// `ioctl(2)`.
    pub(crate) fn ioctl(&self, file: &File, command: u32, address: usize) -> Result<isize> {
        // The structures say their size themselves, which the one in the command repeats.
        const SIZE: u32 = bindings::_IOC_SIZEMASK << bindings::_IOC_SIZESHIFT;
        const INFO: u32 = uapi::WORMHOLE_GUEST_IOC_INFO & !SIZE;
        const CONNECT: u32 = uapi::WORMHOLE_GUEST_IOC_CONNECT & !SIZE;
        const ACCEPT: u32 = uapi::WORMHOLE_GUEST_IOC_ACCEPT & !SIZE;
        const NOTIFY: u32 = uapi::WORMHOLE_GUEST_IOC_NOTIFY & !SIZE;
        const WAIT: u32 = uapi::WORMHOLE_GUEST_IOC_WAIT & !SIZE;
        const SERVE: u32 = uapi::WORMHOLE_GUEST_IOC_SERVE & !SIZE;
        const REGISTER: u32 = uapi::WORMHOLE_GUEST_IOC_REGISTER & !SIZE;
        const CARRIER: u32 = uapi::WORMHOLE_GUEST_IOC_CARRIER & !SIZE;
        const RETURN: u32 = uapi::WORMHOLE_GUEST_IOC_RETURN & !SIZE;
        const BIND: u32 = uapi::WORMHOLE_GUEST_IOC_BIND & !SIZE;
        const AWAIT: u32 = uapi::WORMHOLE_GUEST_IOC_AWAIT & !SIZE;
        const END: u32 = uapi::WORMHOLE_GUEST_IOC_END & !SIZE;
        const RETIRE: u32 = uapi::WORMHOLE_GUEST_IOC_RETIRE & !SIZE;
        match command & !SIZE {
            INFO => self.info(address)?,
            CONNECT => self.connect(address)?,
            ACCEPT => self.accept(file, address)?,
            NOTIFY => self.device.notify(self.bound()?.index)?,
            WAIT => self.wait(address)?,
            SERVE => self.serve(address)?,
            REGISTER => self.register(file, address)?,
            CARRIER => self.carrier(address)?,
            RETURN => self.finish(address)?,
            BIND => self.bind_session()?,
            AWAIT => self.await_hop(address)?,
            END => self.end_session()?,
            RETIRE => self.retire(address)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn info(&self, address: usize) -> Result {
        argument::copy_in::<uapi::wormhole_guest_info>(address)?;
        let geometry = self.device.geometry();
        let info = uapi::wormhole_guest_info {
            size: size_of::<uapi::wormhole_guest_info>().try_into()?,
            abi_version: uapi::WORMHOLE_GUEST_ABI_VERSION,
            role: self.device.role().index().try_into()?,
            channels: geometry.channels(),
            channel_size: geometry.channel_size(),
            channel: match self.binding.as_ref() {
                Some(binding) => binding.index.try_into()?,
                None => uapi::WORMHOLE_GUEST_UNBOUND,
            },
            peer_up: channel::link_up(self.device.peer_link()?).into(),
        };
        argument::copy_out(address, &info)
    }

    fn connect(&self, address: usize) -> Result {
        self.open_channel(Role::Client, address, |deadline| {
            connect::connect(&self.device, self, deadline)
        })
    }

    fn accept(&self, file: &File, address: usize) -> Result {
        let nonblocking = file.flags() & O_NONBLOCK != 0;
        self.open_channel(Role::Server, address, |deadline| {
            accept::accept(&self.device, self, (!nonblocking).then_some(deadline))
        })
    }

    /// What CONNECT and ACCEPT have in common; `open` binds this file.
    fn open_channel(
        &self,
        role: Role,
        address: usize,
        open: impl FnOnce(Deadline) -> Result,
    ) -> Result {
        let mut bind = argument::copy_in::<uapi::wormhole_guest_bind>(address)?;
        if bind.flags != 0 {
            return Err(EINVAL);
        }
        let deadline = Deadline::after(bind.timeout_ns)?;
        if self.device.role() != role {
            return Err(EOPNOTSUPP);
        }
        if self.taken.xchg(true, Full) {
            return Err(if self.binding.as_ref().is_some() {
                EISCONN
            } else {
                EALREADY
            });
        }
        if let Err(error) = open(deadline) {
            self.taken.store(false, Relaxed);
            return Err(error);
        }
        let binding = self.bound()?;
        bind.channel = binding.index.try_into()?;
        bind.connection = binding.connection.number;
        argument::copy_out(address, &bind)
    }

    fn wait(&self, address: usize) -> Result {
        let mut wait = argument::copy_in::<uapi::wormhole_guest_wait>(address)?;
        let deadline = Deadline::after(wait.timeout_ns)?;
        let binding = self.bound()?;
        let look = || self.look(binding);
        let (event, standing) = if wait.timeout_ns == 0 {
            look()?
        } else {
            let queue = &self.device.sleepers(binding.index)?.get_ref().queue;
            queue.wait_until(deadline, || match look() {
                Ok((event, standing)) if event == wait.seen && !standing.ended() => None,
                outcome => Some(outcome),
            })??
        };
        wait.event = event;
        wait.status = status(standing);
        argument::copy_out(address, &wait)?;
        self.waited.store(event, Relaxed);
        Ok(())
    }

    /// Our event word now, and how the connection stands. Does not sleep.
    fn look(&self, Binding { index, connection }: Binding) -> Result<(u32, Standing)> {
        if self.device.gone() {
            return Err(ENODEV);
        }
        self.device.look(index, connection)
    }

    /// The channel that is bound, for exitless calls of this role.
    fn exitless_channel(&self, role: Role) -> Result<usize> {
        if self.device.role() != role {
            return Err(EOPNOTSUPP);
        }
        // Its sessions ended with it; those of that number now are whose who has it since.
        if self.device.gone() {
            return Err(ENODEV);
        }
        Ok(self.bound()?.index)
    }

    fn serve(&self, address: usize) -> Result {
        let serve = argument::copy_in::<uapi::wormhole_guest_serve>(address)?;
        if serve.flags != 0 {
            return Err(EINVAL);
        }
        let channel = self.exitless_channel(Role::Server)?;
        let session = self.device.session(channel)?;
        self.exitless
            .serve(session, serve.entry, self.device.carriers())
    }

    fn register(&self, file: &File, address: usize) -> Result {
        let mut register = argument::copy_in::<uapi::wormhole_guest_register>(address)?;
        let index = self.exitless_channel(Role::Server)?;
        let request = Request {
            address: register.address,
            length: register.length,
            rights: register.rights,
        };
        let channel = Channel {
            file,
            pfn: self.device.channel_pfn(index)?,
        };
        register.done = 0;
        let outcome = self
            .exitless
            .register(&request, channel, &mut register.done, || {
                if self.device.gone() {
                    Err(ENODEV)
                } else if kernel::current!().signal_pending() {
                    Err(EINTR)
                } else {
                    Ok(())
                }
            });
        argument::copy_out(address, &register)?;
        outcome
    }

    fn carrier(&self, address: usize) -> Result {
        let carrier = argument::copy_in::<uapi::wormhole_guest_carrier>(address)?;
        self.exitless_channel(Role::Server)?;
        self.exitless.add_carrier(carrier.index, carrier.context)
    }

    /// RETURN. Without the session's lock, which a long REGISTER may hold: the session is the
    /// channel's, and it is the host that knows which carriers are to return.
    fn finish(&self, address: usize) -> Result {
        let finish = argument::copy_in::<uapi::wormhole_guest_return>(address)?;
        let channel = self.exitless_channel(Role::Server)?;
        let session = self.device.session(channel)?;
        session.finish(finish.index, finish.result)?;
        self.device.notify(channel)
    }

    /// AWAIT.
    fn await_hop(&self, address: usize) -> Result {
        let mut request = argument::copy_in::<uapi::wormhole_guest_await>(address)?;
        if request.reserved != 0 {
            return Err(EINVAL);
        }
        let deadline = Deadline::after(request.timeout_ns)?;
        self.exitless_channel(Role::Server)?;
        let binding = self.bound()?;
        let standing = self.exitless.await_hop(request.index, deadline, || {
            self.look(binding).map(|(_, standing)| standing)
        })?;
        request.status = status(standing);
        argument::copy_out(address, &request)
    }

    /// END.
    fn end_session(&self) -> Result {
        self.exitless_channel(Role::Server)?;
        self.exitless.end_session()
    }

    /// RETIRE.
    fn retire(&self, address: usize) -> Result {
        let retire = argument::copy_in::<uapi::wormhole_guest_retire>(address)?;
        self.exitless_channel(Role::Server)?;
        self.exitless.retire(retire.index)
    }

    /// BIND.
    fn bind_session(&self) -> Result {
        let channel = self.exitless_channel(Role::Client)?;
        self.exitless.bind(self.device.session(channel)?)
    }

    /// `poll(2)`: an `EPOLL*` mask.
    pub(crate) fn poll(&self, file: &File, poll: &PollTable<'_>) -> u32 {
        self.try_poll(file, poll)
            .unwrap_or(bindings::POLLERR | bindings::POLLHUP)
    }

    fn try_poll(&self, file: &File, poll: &PollTable<'_>) -> Result<u32> {
        let Binding { index, connection } = {
            // The mutex: this file may be bound by another thread just now.
            let table = self.device.lock()?;
            match self.binding.copy() {
                Some(binding) => binding,
                None => {
                    self.polled_unbound.store(true, Relaxed);
                    self.device.unbound.register_poll(file, poll);
                    let acceptable =
                        self.device.role() == Role::Server && self.device.offered(&table).is_some();
                    return Ok(if acceptable { READABLE } else { 0 });
                }
            }
        };
        let queue = &self.device.sleepers(index)?.get_ref().queue;
        queue.register_poll(file, poll);
        let (event, standing) = self.device.look(index, connection)?;
        let mut mask = 0;
        if event != self.waited.load(Relaxed) {
            mask |= READABLE;
        }
        if standing.ended() {
            mask |= bindings::POLLHUP;
        }
        Ok(mask)
    }

    /// `mmap(2)`: of the bound channel, nothing else.
    pub(crate) fn mmap(&self, mapping: &Mapping<'_>) -> Result {
        self.bound()?;
        if !mapping.shared() {
            return Err(EINVAL);
        }
        if !self
            .device
            .geometry()
            .holds(mapping.offset()?, mapping.length())
        {
            return Err(EINVAL);
        }
        if self.device.gone() {
            return Err(ENODEV);
        }
        mapping.forbid_execution()?;
        mapping.install();
        Ok(())
    }

    /// A page of the mapping is missing.
    pub(crate) fn fault(&self, fault: &Fault<'_>) -> VmFault {
        self.try_fault(fault).unwrap_or(VmFault::BUS_ERROR)
    }

    fn try_fault(&self, fault: &Fault<'_>) -> Result<VmFault> {
        let index = self.bound()?.index;
        let pages = usize::try_from(self.device.geometry().channel_size())? / PAGE_SIZE;
        if fault.page() >= pages {
            return Err(EINVAL);
        }
        let first = fault.page() & !(FAULT_AROUND - 1);
        let around = first..first.saturating_add(FAULT_AROUND).min(pages);
        let touched = u32::try_from(around.end)?;
        let pfn = self.device.channel_pfn(index)?;
        // Held until the pages are in: `Device::shut_down` takes away what was mapped before.
        let _table = self.device.lock()?;
        self.device.with_channel(index, |_, words| {
            let word = words.touched(self.device.role());
            if word.load(Relaxed) < touched {
                word.store(touched, Relaxed);
            }
        })?;
        Ok(fault.map(around, pfn))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The file's mappings hold it, so they have gone too.
        if let Some(binding) = self.binding.as_ref() {
            // Before the channel, and so the session's number, is another file's.
            self.exitless.end();
            self.device.release(binding.index);
        }
    }
}

/// `wormhole_guest_wait.status`.
fn status(standing: Standing) -> u32 {
    let mut status = 0;
    if standing.peer_closed {
        status |= uapi::WORMHOLE_GUEST_WAIT_PEER_CLOSED;
    }
    if standing.link_down {
        status |= uapi::WORMHOLE_GUEST_WAIT_LINK_DOWN;
    }
    status
}
