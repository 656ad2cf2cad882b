// SPDX-License-Identifier: GPL-2.0

//! The device's two MSI-X vectors.

use crate::{
    device::Device,
    uapi, //
};
use kernel::{
    device::Bound,
    irq::{
        Flags,
        Handler,
        IrqReturn,
        Registration, //
    },
    pci,
    prelude::*,
    sync::Arc, //
};

/// Vector [`uapi::WORMHOLE_VECTOR_CHANNEL`].
struct ChannelInterrupt(Arc<Device>);

impl Handler for ChannelInterrupt {
    fn handle(&self) -> IrqReturn {
        self.0.channel_interrupt();
        IrqReturn::Handled
    }
}

/// Vector [`uapi::WORMHOLE_VECTOR_LINK`].
struct LinkInterrupt(Arc<Device>);

impl Handler for LinkInterrupt {
    fn handle(&self) -> IrqReturn {
        self.0.wake_everybody();
        IrqReturn::Handled
    }
}

/// Both vectors, with their handlers.
///
/// # Invariants
///
/// The registrations borrow from `_vectors`: they are declared, and so dropped, before it.
pub(crate) struct Interrupts<'bound> {
    _channel: Pin<KBox<Registration<'bound, ChannelInterrupt>>>,
    _link: Pin<KBox<Registration<'bound, LinkInterrupt>>>,
    _vectors: Arc<pci::IrqVectorRegistration<'bound>>,
}

impl<'bound> Interrupts<'bound> {
    /// Allocates the vectors and registers the handlers, which may run before this returns.
    pub(crate) fn register(pdev: &'bound pci::Device<Bound>, device: &Arc<Device>) -> Result<Self> {
        let vectors = Arc::new(
            pdev.alloc_irq_vectors(
                uapi::WORMHOLE_VECTORS,
                uapi::WORMHOLE_VECTORS,
                pci::IrqTypes::default().with(pci::IrqType::MsiX),
            )?,
            GFP_KERNEL,
        )?;
        // SAFETY: The allocation behind the `Arc` does not move, and lives as long as `_vectors`,
        // which is dropped after the registrations that borrow from it (type invariants).
        let borrowed: &'bound pci::IrqVectorRegistration<'bound> =
            unsafe { &*Arc::as_ptr(&vectors) };
        let channel = borrowed.index(uapi::WORMHOLE_VECTOR_CHANNEL as usize)?;
        let link = borrowed.index(uapi::WORMHOLE_VECTOR_LINK as usize)?;
        // INVARIANT: See the fields' order.
        Ok(Self {
            _channel: KBox::pin_init(
                // SAFETY: It is dropped with the driver's data, never forgotten.
                unsafe {
                    Registration::new(
                        channel.into(),
                        Flags::TRIGGER_NONE,
                        c"wormhole_guest-channel",
                        Ok::<_, Error>(ChannelInterrupt(device.clone())),
                    )
                },
                GFP_KERNEL,
            )?,
            _link: KBox::pin_init(
                // SAFETY: As above.
                unsafe {
                    Registration::new(
                        link.into(),
                        Flags::TRIGGER_NONE,
                        c"wormhole_guest-link",
                        Ok::<_, Error>(LinkInterrupt(device.clone())),
                    )
                },
                GFP_KERNEL,
            )?,
            _vectors: vectors,
        })
    }
}
