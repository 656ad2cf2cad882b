// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The atomic words that the protocol is written in: those of the window, or
//! those of a model checker.

use std::sync::atomic::Ordering;

/// A shared word with one writer.
pub(super) trait Word {
    /// Loads the word.
    fn load(&self, order: Ordering) -> u64;
    /// Stores into the word.
    fn store(&self, value: u64, order: Ordering);
    /// A sequentially consistent fence.
    fn fence();
}
