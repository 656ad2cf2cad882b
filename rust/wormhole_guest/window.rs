// SPDX-License-Identifier: GPL-2.0

//! The window: BAR2, mapped cacheable, and the words in it that the drivers of both VMs write.
//!
//! Every access is atomic or goes through C, and nothing read is believed here. Each word has one
//! VM that writes it, so read-modify-write of it needs no bus lock (the kernel patches LOCK
//! prefixes away on one CPU). Order between two words matters where noted, and is then made by
//! release, acquire and [`full_barrier`].

use crate::{
    geometry::{
        Header,
        Role, //
    },
    pci_dev,
    uapi, //
};
use core::{
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    device::Bound,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Atomic,
        barrier, //
    }, //
};

/// Number of the BAR, from QEMU's docs/specs/ivshmem-spec.rst.
const BAR: u32 = 2;

/// The start of a channel that belongs to the drivers, bytes.
const DRIVER_SIZE: usize = uapi::WORMHOLE_CHANNEL_DRIVER_SIZE as usize;

const _: () = assert!(size_of::<uapi::wormhole_channel>() <= DRIVER_SIZE);

/// BAR2, reserved and mapped write-back.
///
/// # Invariants
///
/// `base` is a mapping of `length` bytes, at least `size_of::<wormhole_window>()`, page-aligned,
/// valid until drop; `device` has BAR2 reserved by us.
pub(crate) struct Window {
    device: ARef<pci::Device>,
    base: NonNull<u8>,
    length: usize,
    start: u64,
}

// SAFETY: The mapping is the kernel's and has no affinity to a task.
unsafe impl Send for Window {}
// SAFETY: All accesses through `&Window` are atomic, or race with the other VM anyway and go
// through C.
unsafe impl Sync for Window {}

impl Window {
    /// Reserves and maps BAR2.
    pub(crate) fn map(device: &pci::Device<Bound>) -> Result<Self> {
        let start = device.resource_start(BAR)?;
        let size = device.resource_len(BAR)?;
        let length = usize::try_from(size)?;
        if start == 0 || length < size_of::<uapi::wormhole_window>() {
            return Err(ENODEV);
        }
        // SAFETY: The device is valid, the BAR exists, and the name lives for ever.
        kernel::error::to_result(unsafe {
            bindings::pci_request_region(
                pci_dev::raw(device),
                BAR as c_int,
                c"wormhole_guest".as_char_ptr(),
            )
        })?;
        // SAFETY: A reserved memory BAR may be mapped, and is backed by the host's memory, so
        // caching it is right.
        let base = unsafe { bindings::memremap(start, length, bindings::MEMREMAP_WB as c_ulong) };
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            // SAFETY: Reserved above.
            unsafe { bindings::pci_release_region(pci_dev::raw(device), BAR as c_int) };
            return Err(ENOMEM);
        };
        // INVARIANT: Just reserved and mapped; `length` was checked, and BARs are page-aligned.
        Ok(Self {
            device: device.into(),
            base,
            length,
            start,
        })
    }

    /// Size of the BAR, bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length as u64
    }

    /// Guest-physical address of the window.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Whether the window is mapped write-back here. It is not where the MTRRs say uncached, which
    /// the kernel heeds; see [`crate`].
    pub(crate) fn write_back(&self) -> bool {
        let mut level = 0;
        // SAFETY: A kernel address, mapped by the type invariants.
        let entry = unsafe { bindings::lookup_address(self.base.as_ptr() as c_ulong, &mut level) };
        if entry.is_null() {
            return false;
        }
        // SAFETY: The entry of a mapping that stays; read once.
        let entry = unsafe { core::ptr::read_volatile(entry) };
        // PWT and PCD at any level; without them, either entry of Linux's PAT is write-back.
        entry.pte & (1 << 3 | 1 << 4) == 0
    }

    /// Copies the header in.
    pub(crate) fn header(&self) -> Header {
        // SAFETY: By the type invariants the header lies within the mapping, which is aligned;
        // the other VM may write it, hence volatile; any bytes are a valid `wormhole_window`.
        let header = unsafe {
            self.base
                .cast::<uapi::wormhole_window>()
                .as_ptr()
                .read_volatile()
        };
        Header {
            magic: header.magic,
            version: header.version,
            channels: header.channels,
            size: header.size,
            channel_size: header.channel_size,
            key: header.key,
        }
    }

    /// A VM's word of `link[]`.
    pub(crate) fn link(&self, role: Role) -> &Atomic<u32> {
        let offset = offset_of!(uapi::wormhole_window, link) + role.index() * size_of::<u32>();
        // SAFETY: Within the header, which lies in the mapping by the type invariants, aligned;
        // accessed atomically alone (the other VM's stores are those of another CPU).
        unsafe { Atomic::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// The drivers' part of the channel that starts at byte `offset`, page-aligned; `None`
    /// outside of the window.
    pub(crate) fn channel(&self, offset: u64) -> Option<ChannelWords<'_>> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(DRIVER_SIZE)?;
        if end > self.length || offset % bindings::PAGE_SIZE != 0 {
            return None;
        }
        // SAFETY: In bounds, just checked.
        let base = unsafe { self.base.add(offset) };
        // INVARIANT: Just checked.
        Some(ChannelWords {
            base,
            _window: core::marker::PhantomData,
        })
    }

    /// Fills `length` bytes from byte `offset` with zeroes.
    pub(crate) fn clear(&self, offset: u64, length: usize) -> Result {
        let offset = usize::try_from(offset)?;
        let end = offset.checked_add(length).ok_or(EINVAL)?;
        if end > self.length {
            return Err(EINVAL);
        }
        // SAFETY: In bounds, just checked. In C, because the other VM may write there too, which
        // Rust must not know.
        unsafe { bindings::memset(self.base.as_ptr().add(offset).cast(), 0, length) };
        Ok(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: Mapped and reserved by `map`, undone once, here.
        unsafe {
            bindings::memunmap(self.base.as_ptr().cast());
            bindings::pci_release_region(pci_dev::raw(&self.device), BAR as c_int);
        }
    }
}

/// The drivers' part of one channel.
///
/// # Invariants
///
/// `base` is page-aligned and valid for [`DRIVER_SIZE`] bytes and the lifetime.
#[derive(Clone, Copy)]
pub(crate) struct ChannelWords<'a> {
    base: NonNull<u8>,
    _window: core::marker::PhantomData<&'a Window>,
}

impl<'a> ChannelWords<'a> {
    fn word(self, offset: usize) -> &'a Atomic<u32> {
        const { assert!(size_of::<uapi::wormhole_channel>() <= DRIVER_SIZE) };
        // SAFETY: Callers name fields of `wormhole_channel`, so aligned and in bounds by the type
        // invariants; accessed atomically alone.
        unsafe { Atomic::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// `state[role]`: 0 or the connection's number, written by that VM.
    pub(crate) fn state(self, role: Role) -> &'a Atomic<u32> {
        self.word(offset_of!(uapi::wormhole_channel, state) + role.index() * size_of::<u32>())
    }

    /// `touched[role]`: pages, written by that VM.
    pub(crate) fn touched(self, role: Role) -> &'a Atomic<u32> {
        self.word(offset_of!(uapi::wormhole_channel, touched) + role.index() * size_of::<u32>())
    }

    /// The number of notifications sent to `role`, written by the other VM.
    pub(crate) fn event(self, role: Role) -> &'a Atomic<u32> {
        self.word(match role {
            Role::Server => offset_of!(uapi::wormhole_channel, event_server),
            Role::Client => offset_of!(uapi::wormhole_channel, event_client),
        })
    }
}

/// Orders all accesses before it against all after it, towards the other VM. Not `smp_mb`: the
/// other VM is there on a kernel for one CPU too.
pub(crate) fn full_barrier() {
    barrier::mb(barrier::Full);
}
