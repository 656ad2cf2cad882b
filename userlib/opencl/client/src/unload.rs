// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is left to do when the library is unloaded, which is at the latest when the process ends.

use std::panic::catch_unwind;

use crate::{callback, connection, stats};

extern "C" fn at_unload() {
    // The last releases may not have been sent. A panic must not reach the loader, and what
    // went wrong is nobody's concern any more.
    let _ = catch_unwind(connection::leave);
    let _ = catch_unwind(callback::settle);
    let _ = catch_unwind(stats::write);
}

/// Run by the loader, after the program's own atexit handlers.
#[used]
#[link_section = ".fini_array"]
static AT_UNLOAD: extern "C" fn() = at_unload;
