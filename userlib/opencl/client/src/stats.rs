// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counts calls, and with `WORMHOLE_STATS=FILE` writes the counts there when
//! the library is unloaded, which is at the latest when the process ends.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use wormhole_opencl_protocol::api::{FUNCTIONS, FUNCTION_NAMES};
use wormhole_vmfunc::{Count, Counts, FunctionCounts};

use crate::connection;
use crate::log::{self, Level};

static CALLS: [AtomicU64; FUNCTIONS] = [const { AtomicU64::new(0) }; FUNCTIONS];
static POSTED: AtomicU64 = AtomicU64::new(0);
static SYNC: AtomicU64 = AtomicU64::new(0);
static SHARED_BYTES: AtomicU64 = AtomicU64::new(0);
static MESSAGE_BYTES: AtomicU64 = AtomicU64::new(0);

/// The program called a function.
#[inline]
pub(crate) fn count_call(slot: u16) {
    if let Some(count) = CALLS.get(usize::from(slot)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request went out that is not answered.
pub(crate) fn count_posted() {
    POSTED.fetch_add(1, Ordering::Relaxed);
}

/// A request went out and was waited for.
pub(crate) fn count_sync() {
    SYNC.fetch_add(1, Ordering::Relaxed);
}

/// So many bytes of a buffer are moved, in memory that the server has, too, or by messages.
pub(crate) fn count_data(shared: bool, len: usize) {
    let count = match shared {
        true => &SHARED_BYTES,
        false => &MESSAGE_BYTES,
    };
    count.fetch_add(len as u64, Ordering::Relaxed);
}

fn json() -> String {
    let counts: Vec<_> = CALLS.iter().map(|c| c.load(Ordering::Relaxed)).collect();
    let mut text = format!(
        "{{\"transport\":\"{}\",\"calls\":{},\"posted\":{},\"sync\":{},\
         \"data\":{{\"shared\":{},\"messages\":{}}},",
        connection::transport_name(),
        counts.iter().sum::<u64>(),
        POSTED.load(Ordering::Relaxed),
        SYNC.load(Ordering::Relaxed),
        SHARED_BYTES.load(Ordering::Relaxed),
        MESSAGE_BYTES.load(Ordering::Relaxed),
    );
    if let Some(ways) = connection::counts() {
        put_ways(&mut text, ways);
    }
    text.push_str("\"functions\":{");
    let used = FUNCTION_NAMES
        .iter()
        .zip(&counts)
        .filter(|(_, count)| **count > 0);
    for (number, (name, count)) in used.enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}\"{name}\":{count}");
    }
    text.push_str("}}\n");
    text
}

/// How requests went: exitless, of these hopped home, posted in batches, by ring.
fn put_ways(text: &mut String, ways: &Counts) {
    let fields = |of: FunctionCounts| {
        format!(
            "\"delegated\":{},\"hopped\":{},\"batched\":{},\"home\":{}",
            of.get(Count::Delegated),
            of.get(Count::Hopped),
            of.get(Count::Posted),
            of.get(Count::Home)
        )
    };
    let used = (0u16..)
        .zip(FUNCTION_NAMES)
        .map(|(number, name)| (name, ways.of(number)))
        .filter(|(_, of)| !of.is_zero())
        .map(|(name, of)| format!("\"{name}\":{{{}}}", fields(of)));
    let used: Vec<_> = used.collect();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "{},\"ways\":{{{}}},",
        fields(ways.total()),
        used.join(",")
    );
}

/// Writes the counts, if they are wanted.
pub(crate) fn write() {
    let Some(path) = std::env::var_os("WORMHOLE_STATS").filter(|path| !path.is_empty()) else {
        return;
    };
    if let Err(error) = std::fs::write(&path, json()) {
        log::line(
            Level::Error,
            format_args!("cannot write {}: {error}", path.to_string_lossy()),
        );
    }
}
