// SPDX-License-Identifier: GPL-2.0

//! Being asked about an invalid instruction before the kernel makes a SIGILL of it.
//!
//! C header: `include/linux/kdebug.h`.

use crate::{
    bindings as c,
    vmfunc::{
        self,
        AtPad, //
    }, //
};
use kernel::{
    bindings,
    container_of,
    error::to_result,
    mm::Mm,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

/// Answers the calls of one address space that find no VMFUNC, until it is dropped, which sleeps.
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct CallTrap {
    /// Held, so that its address is not another one's.
    mm: ARef<Mm>,
    #[pin]
    block: Opaque<bindings::notifier_block>,
}

// SAFETY: A notifier may be unregistered by any task.
unsafe impl Send for CallTrap {}
// SAFETY: A shared reference gives access to `mm` alone, whose address is all that is used.
unsafe impl Sync for CallTrap {}

impl CallTrap {
    /// For the calls of `mm`.
    pub(crate) fn new(mm: &Mm) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                mm: mm.into(),
                block <- Opaque::try_ffi_init(|slot: *mut bindings::notifier_block| {
                    let block = bindings::notifier_block {
                        notifier_call: Some(notify),
                        ..pin_init::zeroed()
                    };
                    // SAFETY: `slot` may be written.
                    unsafe { slot.write(block) };
                    // SAFETY: It is pinned, and unregistered before it is freed; `mm` is
                    // initialised above.
                    // INVARIANT: Registered if this returns `Ok`.
                    to_result(unsafe { c::register_die_notifier(slot) })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Whether it is for this address space.
    pub(crate) fn is_for(&self, mm: &Mm) -> bool {
        self.mm.as_raw() == mm.as_raw()
    }
}

#[pinned_drop]
impl PinnedDrop for CallTrap {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered, by the invariants. Waits until no call of `notify` runs.
        let _ = unsafe { c::unregister_die_notifier(self.block.get()) };
    }
}

/// # Safety
///
/// To be called by the die chain alone, with the block of a [`CallTrap`].
unsafe extern "C" fn notify(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    data: *mut c_void,
) -> c_int {
    const DONE: c_int = bindings::NOTIFY_DONE as c_int;

    if event != c::die_val_DIE_TRAP as c_ulong {
        return DONE;
    }
    // SAFETY: What the chain is called with, valid during the call.
    let args = unsafe { &*data.cast::<c::die_args>() };
    if args.trapnr != c::X86_TRAP_UD as c_int {
        return DONE;
    }
    // SAFETY: Those of the interrupted code, which nobody else accesses.
    let regs = unsafe { &mut *args.regs };
    // SAFETY: An integer, whichever member was written.
    let cs = unsafe { regs.__bindgen_anon_1.cs };
    let Some(at_pad) = vmfunc::answer(cs, regs.ip as u64) else {
        return DONE;
    };
    let block = block.cast::<Opaque<bindings::notifier_block>>();
    // SAFETY: By the safety requirements; it is registered, so it is valid.
    let trap = unsafe { &*container_of!(block, CallTrap, block) };
    // SAFETY: The running task's own, which does not change while it is in a trap.
    let current = unsafe { (*kernel::current!().as_ptr()).mm };
    if current != trap.mm.as_raw() {
        return DONE;
    }
    put_at_pad(regs, at_pad);
    bindings::NOTIFY_STOP as c_int
}

/// Leaves CS, SS and RSP.
fn put_at_pad(regs: &mut bindings::pt_regs, at_pad: AtPad) {
    for register in [
        &mut regs.bx,
        &mut regs.bp,
        &mut regs.cx,
        &mut regs.dx,
        &mut regs.si,
        &mut regs.r8,
        &mut regs.r9,
        &mut regs.r10,
        &mut regs.r11,
        &mut regs.r12,
        &mut regs.r13,
        &mut regs.r14,
        &mut regs.r15,
    ] {
        *register = 0;
    }
    regs.ip = at_pad.ip as c_ulong;
    regs.flags = at_pad.flags as c_ulong;
    regs.ax = at_pad.ax as c_ulong;
    regs.di = at_pad.di as c_ulong;
}
