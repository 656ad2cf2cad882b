// SPDX-License-Identifier: GPL-2.0

//! Being told what becomes of an address space.
//!
//! C header: `include/linux/mmu_notifier.h`.

use core::{
    marker::PhantomData,
    ops::{
        Deref,
        Range, //
    }, //
};
use kernel::{
    bindings,
    container_of,
    error::to_result,
    mm::MmWithUser,
    prelude::*,
    types::Opaque, //
};

/// Who is told. None of it may sleep, allocate memory, or take locks that are held where memory is
/// allocated or the address space is changed.
pub(crate) trait Watcher: Send + Sync {
    /// Whether [`Self::invalidate`] and [`Self::invalidated`] are called.
    const INVALIDATIONS: bool;

    /// Pages of this range are about to be taken away, replaced, or to lose rights. Nothing that
    /// was derived from them may be in use when this returns.
    fn invalidate(&self, range: Range<usize>) {
        let _ = range;
    }

    /// The end of what [`Self::invalidate`] began; as many as there were of those.
    fn invalidated(&self) {}

    /// The last user of the address space has gone, or the notifier is dropped, whichever comes
    /// first, or both at once.
    fn released(&self);
}

/// Tells `T` about an address space. Dropping it waits until no call runs.
///
/// # Invariants
///
/// `inner` is registered with the mm that `inner.mm` names.
#[pin_data(PinnedDrop)]
pub(crate) struct MmuNotifier<T: Watcher> {
    #[pin]
    watcher: T,
    #[pin]
    inner: Opaque<bindings::mmu_notifier>,
}

// SAFETY: `mmu_notifier_unregister` may be called on another thread than `mmu_notifier_register`,
// and `T` is `Send`.
unsafe impl<T: Watcher> Send for MmuNotifier<T> {}
// SAFETY: A shared reference gives access to `inner.mm` alone, which does not change, and to the
// watcher, which is `Sync`.
unsafe impl<T: Watcher> Sync for MmuNotifier<T> {}

impl<T: Watcher> MmuNotifier<T> {
    /// Registers with `mm`, whose lock must not be held. ENOMEM; EINTR if a signal is pending.
    pub(crate) fn new(mm: &MmWithUser, watcher: impl PinInit<T, Error>) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                watcher <- watcher,
                inner <- Opaque::try_ffi_init(|slot: *mut bindings::mmu_notifier| {
                    let notifier = bindings::mmu_notifier {
                        ops: Operations::<T>::TABLE,
                        ..pin_init::zeroed()
                    };
                    // SAFETY: `slot` may be written.
                    unsafe { slot.write(notifier) };
                    // SAFETY: It is pinned, and unregistered before it is freed. `mm` has users for
                    // the whole call.
                    // INVARIANT: Registered if this returns `Ok`.
                    to_result(unsafe { bindings::mmu_notifier_register(slot, mm.as_raw()) })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Whether it is this address space that it tells about.
    pub(crate) fn watches(&self, mm: &MmWithUser) -> bool {
        // SAFETY: Registered, by the invariants; `mm` is set by that, for good.
        let mine = unsafe { (*self.inner.get()).mm };
        mine == mm.as_raw()
    }
}

impl<T: Watcher> Deref for MmuNotifier<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.watcher
    }
}

#[pinned_drop]
impl<T: Watcher> PinnedDrop for MmuNotifier<T> {
    fn drop(self: Pin<&mut Self>) {
        let inner = self.inner.get();
        // SAFETY: Registered, by the invariants; the registration has a reference (`mmgrab`) to
        // the mm.
        unsafe { bindings::mmu_notifier_unregister(inner, (*inner).mm) };
    }
}

struct Operations<T: Watcher>(PhantomData<T>);

impl<T: Watcher> Operations<T> {
    const TABLE: &'static bindings::mmu_notifier_ops = &bindings::mmu_notifier_ops {
        release: Some(Self::release),
        // The kernel has it that whoever has an end does not refuse a start.
        invalidate_range_start: if T::INVALIDATIONS {
            Some(Self::start)
        } else {
            None
        },
        invalidate_range_end: if T::INVALIDATIONS {
            Some(Self::end)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// The watcher of a notifier.
    ///
    /// # Safety
    ///
    /// `inner` must be that of an `MmuNotifier<T>` that is registered for `'a`.
    unsafe fn watcher<'a>(inner: *mut bindings::mmu_notifier) -> &'a T {
        let inner = inner.cast::<Opaque<bindings::mmu_notifier>>();
        // SAFETY: The caller's promise; `Opaque` is transparent. The watcher was initialised before
        // the notifier was registered, and is dropped after it is unregistered.
        unsafe { &(*container_of!(inner, MmuNotifier<T>, inner)).watcher }
    }

    /// # Safety
    ///
    /// `inner` must be that of a registered `MmuNotifier<T>`.
    unsafe extern "C" fn release(
        inner: *mut bindings::mmu_notifier,
        _mm: *mut bindings::mm_struct,
    ) {
        // SAFETY: By the safety requirements.
        unsafe { Self::watcher(inner) }.released();
    }

    /// # Safety
    ///
    /// `inner` must be that of a registered `MmuNotifier<T>`, `range` valid.
    unsafe extern "C" fn start(
        inner: *mut bindings::mmu_notifier,
        range: *const bindings::mmu_notifier_range,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let range = unsafe { (*range).start..(*range).end };
        // SAFETY: By the safety requirements.
        unsafe { Self::watcher(inner) }.invalidate(range);
        0
    }

    /// # Safety
    ///
    /// `inner` must be that of a registered `MmuNotifier<T>`.
    unsafe extern "C" fn end(
        inner: *mut bindings::mmu_notifier,
        _range: *const bindings::mmu_notifier_range,
    ) {
        // SAFETY: By the safety requirements.
        unsafe { Self::watcher(inner) }.invalidated();
    }
}
