// SPDX-License-Identifier: GPL-2.0

//! The character device `/dev/wormhole_guestN`: a misc device with file operations of its own,
//! since `kernel::miscdevice` has no poll and no names made at run time.

use crate::{
    device::Device,
    endpoint::Endpoint,
    geometry::Role,
    mapping::Mapping,
    pci_dev,
    wait_queue::PollTable,
    DriverModule, //
};
use kernel::{
    bindings,
    device::Bound,
    error::{
        from_result,
        to_result, //
    },
    fs::File,
    module::this_module,
    pci,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// Most devices at a time.
const NUMBERS: u32 = u64::BITS;

/// Bit n: number n is taken.
static TAKEN: Atomic<u64> = Atomic::new(0);

/// The N of a device's name; free again on drop.
struct Number(u32);

impl Number {
    /// The lowest free one.
    fn allocate() -> Result<Self> {
        let mut taken = TAKEN.load(Relaxed);
        loop {
            let number = taken.trailing_ones();
            if number >= NUMBERS {
                return Err(ENOSPC);
            }
            match TAKEN.cmpxchg(taken, taken | 1 << number, Full) {
                Ok(_) => return Ok(Self(number)),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut taken = TAKEN.load(Relaxed);
        while let Err(now) = TAKEN.cmpxchg(taken, taken & !(1 << self.0), Full) {
            taken = now;
        }
    }
}

/// A registered character device.
///
/// # Invariants
///
/// `misc` is registered; its name is that in `name`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    device: Arc<Device>,
    name: CString,
    _number: Number,
}

// SAFETY: A misc device may be deregistered by any task.
unsafe impl Send for Registration {}
// SAFETY: `&Registration` gives access to nothing that is not `Sync`.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes the device node, below `pdev` in sysfs. Opening it works before this returns.
    ///
    /// A client's node is for every user of the VM, as a GPU's is: each file gets a channel of its
    /// own and finds nothing of another in it. A server's is root's, since whoever accepts a
    /// client serves it.
    pub(crate) fn register(
        pdev: &pci::Device<Bound>,
        device: Arc<Device>,
    ) -> Result<Pin<KBox<Self>>> {
        let number = Number::allocate()?;
        let name = CString::try_from_fmt(fmt!("wormhole_guest{}", number.0))?;
        let mode: bindings::umode_t = match device.role() {
            Role::Client => 0o666,
            Role::Server => 0o600,
        };
        // SAFETY: Valid as long as `pdev`; its address alone is taken.
        let parent = unsafe { &raw mut (*pci_dev::raw(pdev)).dev };
        let misc = bindings::miscdevice {
            minor: bindings::MISC_DYNAMIC_MINOR as c_int,
            name: name.as_char_ptr(),
            fops: &OPERATIONS,
            parent,
            mode,
            ..pin_init::zeroed()
        };
        KBox::try_pin_init(
            // INVARIANT: Registered by the last initialiser that can fail; the name's bytes are
            // on the heap and do not move with `name`.
            try_pin_init!(Self {
                device,
                name,
                _number: number,
                misc <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                    // SAFETY: `slot` is valid for writes.
                    unsafe { slot.write(misc) };
                    // SAFETY: `slot` is pinned, and deregistered on drop. `open` needs `device`
                    // alone, which is initialised above.
                    to_result(unsafe { bindings::misc_register(slot) })
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// The name below /dev.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }
}

#[pinned_drop]
impl PinnedDrop for Registration {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered, by the type invariants. Nobody is in `open` afterwards.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}

const OPERATIONS: bindings::file_operations = bindings::file_operations {
    owner: this_module::<DriverModule>().as_ptr(),
    open: Some(open),
    release: Some(release),
    unlocked_ioctl: Some(ioctl),
    // The structures have one layout for 32 and 64 bits.
    #[cfg(CONFIG_COMPAT)]
    compat_ioctl: bindings::compat_ptr_ioctl,
    poll: Some(poll),
    mmap: Some(mmap),
    llseek: Some(bindings::noop_llseek),
    ..pin_init::zeroed()
};

/// # Safety
///
/// To be called by `misc_open` alone, which passes the `struct miscdevice` as private data.
unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    from_result(|| {
        // SAFETY: `misc_open` sees to it that the misc device stays registered meanwhile.
        let misc = unsafe { (*file).private_data };
        let misc = Opaque::cast_from(misc.cast::<bindings::miscdevice>());
        // SAFETY: It is that of a `Registration`, as these operations are of no other.
        let registration = unsafe { &*kernel::container_of!(misc, Registration, misc) };
        // SAFETY: The file is being opened, so it is valid and in no `fdget_pos`.
        let opened = unsafe { File::from_raw_file(file) };
        let endpoint = KBox::new(
            Endpoint::open(registration.device.clone(), opened)?,
            GFP_KERNEL,
        )?;
        // SAFETY: The private data is `->open()`'s to set.
        unsafe { (*file).private_data = endpoint.into_foreign() };
        Ok(0)
    })
}

/// # Safety
///
/// To be called by the kernel alone, once, on a file that [`open`] opened.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `open` put it there, and nobody uses the file any more.
    drop(unsafe { <KBox<Endpoint> as ForeignOwnable>::from_foreign((*file).private_data) });
    0
}

/// The endpoint of a file.
///
/// # Safety
///
/// `file` must be open for `'a`, by [`open`].
unsafe fn endpoint<'a>(file: *mut bindings::file) -> &'a Endpoint {
    // SAFETY: `open` put it there, and `release` takes it when the file is used no more.
    unsafe { <KBox<Endpoint> as ForeignOwnable>::borrow((*file).private_data) }
}

/// # Safety
///
/// To be called by the kernel alone, on a file that [`open`] opened.
unsafe extern "C" fn ioctl(file: *mut bindings::file, command: c_uint, address: c_ulong) -> c_long {
    // SAFETY: By the safety requirements; the caller holds the file.
    let endpoint = unsafe { endpoint(file) };
    // SAFETY: As above; ioctls are in no `fdget_pos`.
    let file = unsafe { File::from_raw_file(file) };
    match endpoint.ioctl(file, command, address) {
        Ok(value) => value as c_long,
        Err(error) => error.to_errno() as c_long,
    }
}

/// # Safety
///
/// To be called by the kernel alone, on a file that [`open`] opened.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: By the safety requirements; the caller holds the file.
    let endpoint = unsafe { endpoint(file) };
    // SAFETY: As above; polls are in no `fdget_pos`.
    let file = unsafe { File::from_raw_file(file) };
    // SAFETY: The kernel passes null or a table that is valid during the call.
    endpoint.poll(file, &unsafe { PollTable::from_raw(table) })
}

/// # Safety
///
/// To be called by the kernel alone, with a VMA that it sets up for a file that [`open`] opened.
unsafe extern "C" fn mmap(file: *mut bindings::file, vma: *mut bindings::vm_area_struct) -> c_int {
    // SAFETY: By the safety requirements; the caller holds the file.
    let endpoint = unsafe { endpoint(file) };
    from_result(|| {
        // SAFETY: By the safety requirements.
        endpoint.mmap(&unsafe { Mapping::from_raw(vma) })?;
        Ok(0)
    })
}
