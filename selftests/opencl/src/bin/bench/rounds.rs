// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Doing something many times over, and what is told of it: a JSON object a line on standard output, {name, unit,
//! values, counted}. A value is of one round; counted are the counters of `counters.rs` in it, by name, for one time.

use std::collections::BTreeMap;

use serde_json::json;

use crate::counters::Meter;
use crate::Result;

const ROUNDS: usize = 5;
const WARM_UPS: u32 = 4;
/// Ticks that a round is to take.
const BUDGET: u64 = 5_000_000;
/// What takes longer each time has fewer rounds.
const LONG: u64 = 16 * BUDGET;
const LONG_ROUNDS: usize = 3;
const MOST: u64 = 100_000;

/// What a value is.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Ticks that one time takes
    Ticks,
    /// The same, by the bytes that it moves
    TicksPerByte(usize),
    /// How often it is done in a million ticks
    PerMegatick,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Ticks => "tsc",
            Unit::TicksPerByte(_) => "tsc/B",
            Unit::PerMegatick => "/Mtsc",
        }
    }

    /// Of something that was done `count` times.
    fn value(self, ticks: u64, count: u64) -> f64 {
        let each = ticks as f64 / count as f64;
        match self {
            Unit::Ticks => each,
            Unit::TicksPerByte(size) => each / size as f64,
            Unit::PerMegatick => 1e6 / each,
        }
    }
}

pub struct Row {
    unit: Unit,
    values: Vec<f64>,
    counted: BTreeMap<String, Vec<f64>>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

impl Row {
    fn print(&self, name: &str) {
        let row = json!({
            "name": name,
            "unit": self.unit.name(),
            "values": self.values,
            "counted": self.counted,
        });
        println!("{row}");
    }

    /// Tells of one of the `parts` equal parts that this consists of, but for what `other` is about.
    pub fn print_part(&self, name: &str, other: &Row, parts: usize) {
        let part = |values: &[f64], other: f64| {
            let of = |value: &f64| (value - other).max(0.0) / parts as f64;
            values.iter().map(of).collect()
        };
        let counted = self.counted.iter().map(|(name, values)| {
            let other = other.counted.get(name).map_or(0.0, |other| median(other));
            (name.clone(), part(values, other))
        });
        let row = Row {
            unit: self.unit,
            values: part(&self.values, median(&other.values)),
            counted: counted.collect(),
        };
        row.print(name);
    }
}

pub struct Bench {
    pub meter: Meter,
}

impl Bench {
    /// Rounds of something that is done as often as it is told to and returns the ticks it took, after some that only
    /// warm up. Told of at once.
    pub fn measure(
        &self,
        name: &str,
        unit: Unit,
        mut work: impl FnMut(u64) -> Result<u64>,
    ) -> Result<Row> {
        // First times cost more, and tell how often it fits into a round too late.
        let (mut count, mut each) = (1, u64::MAX);
        for warm_up in 1..=WARM_UPS {
            each = each.min(work(count)? / count);
            count = (BUDGET / each.max(1)).clamp(1, MOST);
            if warm_up > 1 && each > LONG {
                break;
            }
        }
        let rounds = if each > LONG { LONG_ROUNDS } else { ROUNDS };
        let mut row = Row {
            unit,
            values: Vec::new(),
            counted: BTreeMap::new(),
        };
        for _ in 0..rounds {
            let (ticks, counters) = self.meter.count(|| work(count))?;
            row.values.push(unit.value(ticks, count));
            for (name, number) in counters {
                let values = row.counted.entry(name).or_default();
                values.push(number as f64 / count as f64);
            }
        }
        row.print(name);
        Ok(row)
    }
}
