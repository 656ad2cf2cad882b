// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the machine, which somebody else reads: he is asked by the line "counters" on standard output, and
//! answers with a line of NAME=NUMBER on standard input.

use std::collections::BTreeMap;
use std::io::{stdin, BufRead};

use crate::Result;

/// By name.
pub type Counters = BTreeMap<String, u64>;

fn ask() -> Result<Counters> {
    println!("counters");
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    let mut counters = Counters::new();
    for word in line.split_ascii_whitespace() {
        let (name, number) = word
            .split_once('=')
            .ok_or_else(|| format!("\"{word}\" is no counter"))?;
        counters.insert(name.to_owned(), number.parse()?);
    }
    Ok(counters)
}

fn less(counters: &Counters, other: &Counters) -> Counters {
    let of = |name| other.get(name).copied().unwrap_or(0);
    counters
        .iter()
        .map(|(name, number)| (name.clone(), number.saturating_sub(of(name))))
        .collect()
}

/// Counts what happens while something is done.
pub struct Meter {
    /// What asking itself takes. None: there is nobody to be asked.
    fixed: Option<Counters>,
}

impl Meter {
    pub fn without() -> Self {
        Meter { fixed: None }
    }

    pub fn new() -> Result<Self> {
        let mut meter = Meter {
            fixed: Some(Counters::new()),
        };
        let mut fixed = meter.count(|| Ok(()))?.1;
        for _ in 0..4 {
            for (name, number) in meter.count(|| Ok(()))?.1 {
                let least = fixed.entry(name).or_insert(number);
                *least = number.min(*least);
            }
        }
        meter.fixed = Some(fixed);
        Ok(meter)
    }

    pub fn count<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<(T, Counters)> {
        let Some(fixed) = &self.fixed else {
            return Ok((what()?, Counters::new()));
        };
        let before = ask()?;
        let done = what()?;
        let after = ask()?;
        Ok((done, less(&less(&after, &before), fixed)))
    }
}
