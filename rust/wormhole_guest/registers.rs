// SPDX-License-Identifier: GPL-2.0

//! BAR0 of ivshmem-doorbell (QEMU's docs/specs/ivshmem-spec.rst).

use crate::geometry::Role;
use kernel::{
    device::Bound,
    io::{
        register,
        Io, //
    },
    pci,
    prelude::*, //
};

/// Number of the BAR.
const BAR: u32 = 0;

/// The registers up to here are accessed, bytes.
const END: usize = 0x10;

register! {
    /// This device's peer ID; all ones while it has none.
    IV_POSITION(u32) @ 0x8 {
        31:0 id;
    }

    /// Writing interrupts the peer.
    DOORBELL(u32) @ 0xc {
        31:16 peer;
        15:0 vector;
    }
}

/// The mapped BAR; access ends when the device is unbound.
pub(crate) type Registers = pci::DevresBar<END>;

/// BAR0 while the device is bound.
pub(crate) type BoundRegisters<'a> = pci::Bar<'a, END>;

/// Reserves and maps BAR0.
pub(crate) fn map<'a>(device: &'a pci::Device<Bound>) -> Result<BoundRegisters<'a>> {
    device.iomap_region_sized::<END>(BAR, c"wormhole_guest")
}

/// The device's peer ID.
pub(crate) fn peer_id(registers: &BoundRegisters<'_>) -> u32 {
    registers.read(IV_POSITION).into_raw()
}

/// Rings the doorbell of `peer` for an MSI-X vector. What the peer is to see must be written
/// before.
pub(crate) fn ring(registers: &Registers, peer: Role, vector: u16) {
    if let Some(registers) = registers.try_access() {
        let peer = match peer {
            Role::Server => 0u16,
            Role::Client => 1u16,
        };
        registers.write_reg(DOORBELL::zeroed().with_peer(peer).with_vector(vector));
    }
}
