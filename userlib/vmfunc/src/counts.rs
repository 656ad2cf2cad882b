// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a connection's requests went.

use std::sync::atomic::{AtomicU64, Ordering};

/// Functions with numbers below this are counted apart, the others together.
pub(crate) const FUNCTIONS: usize = 256;

/// How the requests of a function went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionCounts {
    /// Exitless: calls, and flushes whose last request it was.
    pub delegated: u64,
    /// Of these, those that hopped home.
    pub hopped: u64,
    /// Posted into batches.
    pub posted: u64,
    /// By ring.
    pub home: u64,
}

#[derive(Default)]
struct Cell {
    delegated: AtomicU64,
    hopped: AtomicU64,
    posted: AtomicU64,
    home: AtomicU64,
}

/// How a connection's requests went, by function. It may be read at any time.
pub struct Counts(Vec<Cell>);

impl Counts {
    pub(crate) fn new() -> Self {
        Counts((0..=FUNCTIONS).map(|_| Cell::default()).collect())
    }

    /// Those of one function.
    pub fn of(&self, function: u16) -> FunctionCounts {
        self.cell(function).get()
    }

    /// All together.
    pub fn total(&self) -> FunctionCounts {
        let zero = FunctionCounts::default();
        self.0
            .iter()
            .map(Cell::get)
            .fold(zero, |sum, next| FunctionCounts {
                delegated: sum.delegated + next.delegated,
                hopped: sum.hopped + next.hopped,
                posted: sum.posted + next.posted,
                home: sum.home + next.home,
            })
    }

    pub(crate) fn delegated(&self, function: u16, hopped: bool) {
        let cell = self.cell(function);
        cell.delegated.fetch_add(1, Ordering::Relaxed);
        cell.hopped.fetch_add(hopped.into(), Ordering::Relaxed);
    }

    pub(crate) fn posted(&self, function: u16) {
        self.cell(function).posted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn home(&self, function: u16) {
        self.cell(function).home.fetch_add(1, Ordering::Relaxed);
    }

    fn cell(&self, function: u16) -> &Cell {
        &self.0[usize::from(function).min(FUNCTIONS)]
    }
}

impl Cell {
    fn get(&self) -> FunctionCounts {
        FunctionCounts {
            delegated: self.delegated.load(Ordering::Relaxed),
            hopped: self.hopped.load(Ordering::Relaxed),
            posted: self.posted.load(Ordering::Relaxed),
            home: self.home.load(Ordering::Relaxed),
        }
    }
}
