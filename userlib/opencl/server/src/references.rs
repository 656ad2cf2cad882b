// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counts the references that this process holds to the vendor's objects, at the border to the
//! vendor's library, whatever the rest of the server believes it holds.

use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::OnceLock;

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::types::cl_uint;

use crate::api::Vendor;
use crate::live::Live;

/// Whose functions are called.
static VENDOR: OnceLock<Vendor> = OnceLock::new();
static HELD: [AtomicI64; Kind::ALL.len()] = [const { AtomicI64::new(0) }; Kind::ALL.len()];
/// The vendor's own count of the last object's references, when the last of ours was given back.
static LAST: AtomicU32 = AtomicU32::new(0);

/// The references that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    ours: Live,
    /// See [`LAST`]; 0 if there was none, or the vendor does not say.
    last: cl_uint,
}

impl Display for Held {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ours)?;
        match self.last {
            // With its last reference an object goes.
            0 | 1 => Ok(()),
            last => write!(f, "; the vendor keeps {} to the last object", last - 1),
        }
    }
}

/// A table of the same functions, which count from now on. Once in a process.
pub fn counted(vendor: Vendor) -> Vendor {
    match VENDOR.set(vendor) {
        Ok(()) => counting(vendor),
        Err(vendor) => vendor,
    }
}

/// What is held now.
pub fn held() -> Held {
    Held {
        ours: Live::of(|kind| HELD[kind as usize].load(Ordering::Relaxed)),
        last: LAST.load(Ordering::Relaxed),
    }
}

fn vendor() -> &'static Vendor {
    // Who counts got the table from `counted`.
    VENDOR.get().expect("a vendor")
}

fn taken(kind: Kind, number: cl_uint) {
    HELD[kind as usize].fetch_add(number.into(), Ordering::Relaxed);
}

/// # Safety
/// `object` is a live object of this kind.
unsafe fn given_back(kind: Kind, object: usize) {
    HELD[kind as usize].fetch_sub(1, Ordering::Relaxed);
    if held().ours.is_none() {
        // SAFETY: the caller promises it.
        let count = unsafe { vendors_count(kind, object) };
        LAST.store(count.unwrap_or(0), Ordering::Relaxed);
    }
}

use generated::{counting, vendors_count};

/// Generated: the functions that count.
// Lints of style are for people who write.
#[allow(
    non_snake_case,
    clippy::missing_safety_doc,
    clippy::style,
    clippy::complexity,
    clippy::undocumented_unsafe_blocks
)]
mod generated {
    use std::ffi::{c_char, c_uchar, c_void};

    use wormhole_opencl_protocol::api::*;
    use wormhole_opencl_protocol::constants::*;
    use wormhole_opencl_protocol::types::*;

    use super::{given_back, taken, vendor};
    use crate::api::Vendor;

    include!(concat!(env!("OUT_DIR"), "/references.rs"));
}
