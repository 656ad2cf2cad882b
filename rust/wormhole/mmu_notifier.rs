// SPDX-License-Identifier: GPL-2.0

//! Being told of the end of an address space (`mmu_notifier_ops.release`).
//!
//! C header: `include/linux/mmu_notifier.h`.

use core::marker::PhantomData;
use kernel::{bindings, container_of, error::to_result, mm::MmWithUser, prelude::*, types::Opaque};

/// What is to happen when the address space ends.
pub(crate) trait Released: Send + Sync {
    /// Runs when the last user of the address space has gone, or the notifier is dropped,
    /// whichever comes first, or both at once. Sleeping is allowed, but within an SRCU read-side
    /// section of all MMU notifiers: dropping one from here would wait for itself.
    fn released(&self);
}

/// Calls `T::released()` at the end of an address space. Dropping it waits until no call runs.
///
/// # Invariants
///
/// `inner` is registered with the mm that `inner.mm` names.
#[pin_data(PinnedDrop)]
pub(crate) struct MmuNotifier<T: Released> {
    #[pin]
    inner: Opaque<bindings::mmu_notifier>,
    target: T,
}

// SAFETY: `mmu_notifier_unregister` may be called on another thread than `mmu_notifier_register`,
// and `T` is `Send`.
unsafe impl<T: Released> Send for MmuNotifier<T> {}
// SAFETY: There is nothing to call on a shared reference; `T` is `Sync`.
unsafe impl<T: Released> Sync for MmuNotifier<T> {}

impl<T: Released> MmuNotifier<T> {
    /// Registers with `mm`, whose lock must not be held. ENOMEM; EINTR if a signal is pending.
    pub(crate) fn new(mm: &MmWithUser, target: T) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                target,
                inner <- Opaque::try_ffi_init(|slot: *mut bindings::mmu_notifier| {
                    let notifier = bindings::mmu_notifier {
                        ops: Operations::<T>::TABLE,
                        ..pin_init::zeroed()
                    };
                    // SAFETY: `slot` may be written. It is pinned, and unregistered before it is
                    // freed. `mm` has users for the whole call.
                    // INVARIANT: Registered if this returns `Ok`.
                    to_result(unsafe {
                        slot.write(notifier);
                        bindings::mmu_notifier_register(slot, mm.as_raw())
                    })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }
}

#[pinned_drop]
impl<T: Released> PinnedDrop for MmuNotifier<T> {
    fn drop(self: Pin<&mut Self>) {
        let inner = self.inner.get();
        // SAFETY: Registered, by the invariants; the registration has a reference (`mmgrab`) to
        // the mm.
        unsafe { bindings::mmu_notifier_unregister(inner, (*inner).mm) };
    }
}

struct Operations<T: Released>(PhantomData<T>);

impl<T: Released> Operations<T> {
    const TABLE: &'static bindings::mmu_notifier_ops = &bindings::mmu_notifier_ops {
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inner` must be that of a registered `MmuNotifier<T>`.
    unsafe extern "C" fn release(
        inner: *mut bindings::mmu_notifier,
        _mm: *mut bindings::mm_struct,
    ) {
        // SAFETY: The caller's promise; `Opaque` is transparent. `target` was initialised before
        // the notifier was registered, and is dropped after it is unregistered.
        let target = unsafe {
            let inner = inner.cast::<Opaque<bindings::mmu_notifier>>();
            &(*container_of!(inner, MmuNotifier<T>, inner)).target
        };
        target.released();
    }
}
