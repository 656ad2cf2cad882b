// SPDX-License-Identifier: GPL-2.0

//! The C structure behind a `pci::Device`, for what `kernel::pci` does not offer.

use kernel::{
    bindings,
    pci,
    types::Opaque, //
};

/// The device's `struct pci_dev`, valid as long as `device`.
pub(crate) fn raw(device: &pci::Device) -> *mut bindings::pci_dev {
    // CAST: `pci::Device` is a transparent wrapper of `Opaque<bindings::pci_dev>`.
    Opaque::cast_into(core::ptr::from_ref(device).cast::<Opaque<bindings::pci_dev>>())
}
