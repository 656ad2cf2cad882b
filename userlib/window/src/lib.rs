// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The window that two paired VMs share: where everything in it lies, and its
//! header. Pure arithmetic on numbers and copied bytes; nothing here touches
//! the window itself. The format is `include/uapi/linux/wormhole_window.h`.
#![no_std]
#![forbid(unsafe_code)]

mod counts;
mod header;
mod layout;
mod link;
mod name;
mod role;

pub use counts::{Count, FunctionCounts, COUNTED_FUNCTIONS, COUNTS_OFFSET, COUNTS_SIZE};
pub use header::{Header, HeaderError, HEADER_SIZE};
pub use layout::{Layout, LayoutError};
pub use link::Link;
pub use name::{Name, NameError};
pub use role::Role;
