// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How many there are of each kind.

use std::fmt::{self, Display, Formatter};
use std::ops::IndexMut;

use wormhole_opencl_protocol::api::Kind;

/// Numbers of objects, or of references to them, by kind. Less than none is possible where the
/// vendor's library was asked for too little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live([i64; Kind::ALL.len()]);

impl Live {
    /// As many of each kind as `number` says.
    pub(crate) fn of(number: impl FnMut(Kind) -> i64) -> Self {
        Live(Kind::ALL.map(number))
    }

    /// Adds to the number of a kind.
    pub(crate) fn add(&mut self, kind: Kind, change: i64) {
        *self.0.index_mut(kind as usize) += change;
    }

    /// How many of a kind there are.
    pub fn number(&self, kind: Kind) -> i64 {
        self.0[kind as usize]
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Live::default()
    }
}

impl Display for Live {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let some = Kind::ALL
            .iter()
            .zip(self.0)
            .filter(|(_, number)| *number != 0);
        let some: Vec<_> = some
            .map(|(kind, number)| format!("{number} {}", kind.name()))
            .collect();
        match some.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&some.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        let mut live = Live::default();
        assert_eq!((live.is_none(), live.to_string().as_str()), (true, "none"));
        live.add(Kind::Mem, 2);
        live.add(Kind::Event, -1);
        assert_eq!(live.to_string(), "2 cl_mem, -1 cl_event");
        live.add(Kind::Mem, -2);
        assert!(!live.is_none());
    }
}
