// SPDX-License-Identifier: GPL-2.0

//! Having a function of the kernel call one of ours first, at the cost of a call: ftrace's direct
//! calls (`Documentation/trace/ftrace-uses.rst`; C header: `include/linux/ftrace.h`).

use crate::bindings as ftrace;
use kernel::{error::to_result, prelude::*, types::Opaque};

/// The address of a kernel function or of a loaded module's, by name: that of a kprobe on it.
fn address_of(symbol: &'static CStr) -> Result<usize> {
    let probe = KBox::pin_init(
        Opaque::ffi_init(|slot: *mut ftrace::kprobe| {
            // SAFETY: `slot` may be written; all zeroes but for the name is a probe that does
            // nothing.
            unsafe {
                slot.write_bytes(0, 1);
                (*slot).symbol_name = symbol.as_char_ptr();
            }
        }),
        GFP_KERNEL,
    )?;
    // SAFETY: The probe is fresh and pinned, and is unregistered before it is freed.
    unsafe {
        to_result(ftrace::register_kprobe(probe.get()))?;
        let address = (*probe.get()).addr as usize;
        ftrace::unregister_kprobe(probe.get());
        Ok(address)
    }
}

/// A direct call that is in place.
///
/// # Invariants
///
/// `ops` is registered with `target`; it does not move.
pub(crate) struct DirectCall {
    ops: Pin<KBox<Opaque<ftrace::ftrace_ops>>>,
    target: usize,
}

// SAFETY: ftrace has its own locks.
unsafe impl Send for DirectCall {}
// SAFETY: As above; nothing can be done with a shared reference.
unsafe impl Sync for DirectCall {}

impl DirectCall {
    /// Has `function` call `target` at its start. ENOENT: there is no such function, or it cannot be
    /// traced; EBUSY: somebody else (a BPF trampoline) has a direct call there.
    ///
    /// # Safety
    ///
    /// `target` must be the address of code that keeps to ftrace's rules for direct calls, until
    /// the value was dropped and [`synchronize`] has returned.
    pub(crate) unsafe fn new(function: &'static CStr, target: usize) -> Result<Self> {
        let address = address_of(function)?;
        let ops = KBox::pin_init(
            Opaque::ffi_init(|slot: *mut ftrace::ftrace_ops| {
                // SAFETY: `slot` may be written; all zeroes is an `ftrace_ops` that is not in use.
                unsafe { slot.write_bytes(0, 1) }
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The ops are fresh and pinned. They are freed after they are unregistered.
        unsafe {
            to_result(ftrace::ftrace_set_filter_ip(ops.get(), address, 0, 1))?;
            let registered = to_result(ftrace::register_ftrace_direct(ops.get(), target));
            if registered.is_err() {
                ftrace::ftrace_free_filter(ops.get());
            }
            registered?;
        }
        // INVARIANT: Just registered.
        Ok(Self { ops, target })
    }
}

impl Drop for DirectCall {
    /// Sleeps until no CPU is in the trampoline that is not preempted there.
    fn drop(&mut self) {
        // SAFETY: Registered by the invariants. It frees the filter.
        unsafe { ftrace::unregister_ftrace_direct(self.ops.get(), self.target, true) };
    }
}

/// Sleeps until no thread is in code that was entered by a direct call that has been dropped and
/// that has not slept since.
pub(crate) fn synchronize() {
    // SAFETY: Process context, where all callers are.
    unsafe { ftrace::synchronize_rcu_tasks() };
}
