// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the program has threads.

use std::ffi::c_char;
use std::sync::atomic::{AtomicI8, Ordering};
use std::sync::LazyLock;

/// The C library's variable that is not 0 while the process has one thread. Older ones have none.
static SINGLE_THREADED: LazyLock<Option<&'static AtomicI8>> = LazyLock::new(|| {
    const { assert!(size_of::<c_char>() == size_of::<AtomicI8>()) };
    // SAFETY: a null-terminated name. What has it is a variable of that type, for ever.
    unsafe {
        let variable = libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr());
        variable.cast::<AtomicI8>().as_ref()
    }
});

/// Whether this thread is known to be the program's only one. Then it is until it makes another.
pub(crate) fn is_alone() -> bool {
    SINGLE_THREADED.is_some_and(|variable| variable.load(Ordering::Relaxed) != 0)
}
