// SPDX-License-Identifier: GPL-2.0

//! The kernel's random numbers.

use kernel::bindings;

/// A random word; not for secrets.
pub(crate) fn word() -> u32 {
    // SAFETY: Callable from any context.
    unsafe { bindings::get_random_u32() }
}
