// SPDX-License-Identifier: GPL-2.0

//! Wormhole's guest driver, for QEMU's ivshmem-doorbell device.
//!
//! One driver for both sides of a pairing; the device's peer ID says which. The window's layout
//! is `include/uapi/linux/wormhole_window.h`, what user space sees
//! `include/uapi/linux/wormhole_guest.h`. Life of a channel: [`channel`].
//!
//! Trust: whatever stands in the window may be forged, by the other VM and by processes of this
//! one. Who holds a channel here stands in [`device::Table`], which is the kernel's own.
//!
//! Exitless calls are the host's to make; what the driver does for them is to say which memory of a
//! server's process the client may reach, and as long as it is that process's: [`server`].
//!
//! # Caching
//!
//! The window is ordinary memory of the host, and mapped write-back. Below 4 GiB, though, where
//! SeaBIOS puts BARs as long as they fit, the VM's MTRRs say uncached, the kernel takes the stricter
//! of the two, and user mappings follow. KVM on Intel ignores that, unless a device with non-coherent
//! DMA is assigned to the VM; KVM on AMD does not. Above 4 GiB (OVMF, or a window of some GiB) all is
//! well everywhere. [`window::Window::write_back`] tells, and probe says so.
//!
//! # Locks
//!
//! In this order:
//!
//! 1. [`exitless::Exitless`]'s part, a mutex. Not under a lock of the kernel's: an MMU notifier is
//!    registered and unregistered under it.
//! 2. `mmap_lock` or a VMA's lock (held by the kernel around [`endpoint::Endpoint::fault`] and
//!    [`endpoint::Endpoint::mmap`]), or `misc_mtx` (held around [`endpoint::Endpoint::open`])
//! 3. [`device::Device`]'s table, a mutex. User memory is not accessed under it.
//! 4. `i_mmap_rwsem`, `anon_vma` locks, a page's lock; then page-table locks (the first and the
//!    last taken by [`address_space::AddressSpace::unmap_all`] and [`mapping::Fault::map`])
//! 5. The spin lock of a [`server::Session`], which MMU notifiers take under any of the above but
//!    page-table locks. The host is called under it: that waits for nothing of this VM.
//! 6. RCU, as the guard of the window and the registers: no sleep within. Hard interrupts take
//!    this and the next alone.
//! 7. A wait queue's spin lock. That of the carriers' queue comes before RCU: who wakes there
//!    looks at the window.
//!
//! The spin locks of [`exitless::Exitless`]'s carriers and of [`carriers::Carriers`] are taken
//! alone, but for the mutex that comes first, as is the mutex of a file's call trap.

#[path = "wormhole_guest/accept.rs"]
mod accept;
#[path = "wormhole_guest/address_space.rs"]
mod address_space;
#[path = "wormhole_guest/argument.rs"]
mod argument;
#[path = "wormhole_guest/bindings.rs"]
mod bindings;
#[path = "wormhole_guest/carriers.rs"]
mod carriers;
#[path = "wormhole_guest/channel.rs"]
mod channel;
#[path = "wormhole_guest/chardev.rs"]
mod chardev;
#[path = "wormhole_guest/client.rs"]
mod client;
#[path = "wormhole_guest/connect.rs"]
mod connect;
#[path = "wormhole_guest/device.rs"]
mod device;
#[path = "wormhole_guest/die_notifier.rs"]
mod die_notifier;
#[path = "wormhole_guest/endpoint.rs"]
mod endpoint;
#[path = "wormhole_guest/exitless.rs"]
mod exitless;
#[path = "wormhole_guest/geometry.rs"]
mod geometry;
#[path = "wormhole_guest/hypercall.rs"]
mod hypercall;
#[path = "wormhole_guest/interrupt.rs"]
mod interrupt;
#[path = "wormhole_guest/mapping.rs"]
mod mapping;
#[path = "wormhole_guest/mmu_notifier.rs"]
mod mmu_notifier;
#[path = "wormhole_guest/pci_dev.rs"]
mod pci_dev;
#[path = "wormhole_guest/random.rs"]
mod random;
#[path = "wormhole_guest/registered.rs"]
mod registered;
#[path = "wormhole_guest/registers.rs"]
mod registers;
#[path = "wormhole_guest/server.rs"]
mod server;
mod uapi;
#[path = "wormhole_guest/user_memory.rs"]
mod user_memory;
#[path = "wormhole_guest/vmfunc.rs"]
mod vmfunc;
#[path = "wormhole_guest/wait_queue.rs"]
mod wait_queue;
#[path = "wormhole_guest/window.rs"]
mod window;

use crate::{
    device::Device,
    geometry::{
        Geometry,
        HeaderError,
        Role, //
    },
    hypercall::Claim,
    interrupt::Interrupts,
    window::Window, //
};
use kernel::{
    device::Core,
    devres::Devres,
    pci,
    prelude::*,
    sync::Arc, //
};

/// The driver.
struct GuestDriver;

/// A bound device's share of the driver. Dropped from top to bottom: nobody opens the device any
/// more, no interrupt comes any more. Open files keep `device`.
struct Bound<'bound> {
    _node: Pin<KBox<chardev::Registration>>,
    _interrupts: Interrupts<'bound>,
    device: Arc<Device>,
    _sessions: Option<Claim>,
}

kernel::pci_device_table!(
    PCI_TABLE,
    <GuestDriver as pci::Driver>::IdInfo,
    [(
        // QEMU's ivshmem, plain and doorbell
        pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, 0x1110),
        ()
    )]
);

impl pci::Driver for GuestDriver {
    type IdInfo = ();
    type Data<'bound> = Bound<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pdev.enable_device_mem()?;
        pdev.set_master();

        let registers = registers::map(pdev)?;
        let id = registers::peer_id(&registers);
        let Some(role) = Role::from_peer_id(id) else {
            dev_err!(
                pdev,
                "peer ID is {:#x}, neither server (0) nor client (1)\n",
                id
            );
            return Err(ENXIO);
        };
        let window = Window::map(pdev)
            .inspect_err(|_| dev_err!(pdev, "cannot map the shared memory (BAR2)\n"))?;
        let header = window.header();
        let geometry = Geometry::new(header, window.length()).map_err(|error| {
            dev_err!(pdev, "{}\n", error);
            errno(error)
        })?;

        if !window.write_back() {
            dev_info!(
                pdev,
                "BAR2 lies where the MTRRs forbid caching (below 4 GiB): slow if KVM heeds that\n"
            );
        }

        let sessions = Claim::new(role, header.key, geometry.channels());
        let device = Device::new(
            role,
            geometry,
            sessions.as_ref().map(Claim::key),
            registers.into_devres()?,
            Devres::new(pdev.as_ref(), window)?,
        )?;
        let interrupts = Interrupts::register(pdev, &device)
            .inspect_err(|_| dev_err!(pdev, "cannot have two MSI-X vectors (vectors=2)\n"))?;
        let node = chardev::Registration::register(pdev, device.clone())?;
        device.announce();
        dev_info!(
            pdev,
            "{}: {}, {} channels of {} KiB\n",
            node.name(),
            role.name(),
            geometry.channels(),
            geometry.channel_size() >> 10
        );
        Ok(Bound {
            _node: node,
            _interrupts: interrupts,
            device,
            _sessions: sessions,
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, bound: Pin<&Self::Data<'bound>>) {
        bound.device.shut_down();
    }
}

impl kernel::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        self.describe(f)
    }
}

/// What probe fails with.
fn errno(error: HeaderError) -> Error {
    match error {
        HeaderError::Magic(_) => ENODEV,
        HeaderError::Version(_) => EPROTONOSUPPORT,
        HeaderError::SizeMismatch { .. }
        | HeaderError::Size(_)
        | HeaderError::ChannelSize(_)
        | HeaderError::Channels { .. } => EINVAL,
    }
}

// The limits, which `geometry` repeats in order to be pure, are the contract's; so is the gate, which
// `vmfunc` repeats.
const _: () = {
    assert!(geometry::MAGIC == uapi::WORMHOLE_WINDOW_MAGIC);
    assert!(geometry::VERSION == uapi::WORMHOLE_WINDOW_VERSION);
    assert!(*geometry::WINDOW_SIZE.start() == uapi::WORMHOLE_WINDOW_MIN_SIZE as u64);
    assert!(*geometry::WINDOW_SIZE.end() == uapi::WORMHOLE_WINDOW_MAX_SIZE);
    assert!(geometry::CHANNEL_SIZE_MIN == uapi::WORMHOLE_CHANNEL_MIN_SIZE as u64);
    assert!(geometry::CHANNELS_MAX == uapi::WORMHOLE_CHANNELS_MAX);
    assert!(Role::Server as u32 == uapi::WORMHOLE_ROLE_SERVER);
    assert!(Role::Client as u32 == uapi::WORMHOLE_ROLE_CLIENT);
    assert!(vmfunc::GATE == uapi::WORMHOLE_GATE_ADDRESS);
    assert!(vmfunc::ENTER == uapi::WORMHOLE_GATE_ENTER as u64);
    assert!(vmfunc::PAD == uapi::WORMHOLE_GATE_PAD as u64);
    assert!(vmfunc::PAD_ERROR == uapi::WORMHOLE_PAD_ERROR as u64);
    assert!(vmfunc::USER_CS as u32 == kernel::bindings::__USER_CS);
};

kernel::module_pci_driver! {
    type: GuestDriver,
    name: "wormhole_guest",
    authors: ["Wormhole contributors"],
    description: "Wormhole: exitless calls between VMs, guest side",
    license: "GPL",
}
