// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The benchmark's results, as a table and as JSON.

use serde_json::{json, Value};

use crate::model::{self, Transitions};

/// What a row is compared with: the median of another one, or a target.
#[derive(Clone)]
pub struct Baseline {
    pub name: String,
    pub value: f64,
}

struct Row {
    name: String,
    unit: String,
    /// Sorted.
    values: Vec<f64>,
    baseline: Option<Baseline>,
    transitions: Option<Transitions>,
}

impl Row {
    fn median(&self) -> f64 {
        self.values[self.values.len() / 2]
    }

    fn ratio(&self) -> Option<f64> {
        let baseline = self.baseline.as_ref().map(|baseline| baseline.value);
        baseline
            .filter(|baseline| *baseline != 0.0)
            .map(|baseline| self.median() / baseline)
    }
}

#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Returns what others can be compared with.
    pub fn add(
        &mut self,
        name: &str,
        unit: &str,
        mut values: Vec<f64>,
        baseline: Option<&Baseline>,
    ) -> Baseline {
        values.sort_by(f64::total_cmp);
        let row = Row {
            name: name.to_owned(),
            unit: unit.to_owned(),
            values,
            baseline: baseline.cloned(),
            transitions: None,
        };
        let value = row.median();
        self.0.push(row);
        Baseline {
            name: name.to_owned(),
            value,
        }
    }

    /// Adds what another program has measured: a JSON object a line, {name, unit, values, baseline, exits, vmfuncs}. The
    /// baseline is the name of a row, or {name, value}, or null; the last two may be missing.
    pub fn add_lines(&mut self, text: &str) -> Result<(), String> {
        let first = self.0.len();
        let mut wanted = Vec::new();
        for line in text.lines() {
            let wrong = || format!("not a row: {line}");
            let row: Value = serde_json::from_str(line).map_err(|_| wrong())?;
            let name = row["name"].as_str().ok_or_else(wrong)?;
            let unit = row["unit"].as_str().ok_or_else(wrong)?;
            let values = row["values"].as_array().ok_or_else(wrong)?;
            let values: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
            let values = values.filter(|v| !v.is_empty()).ok_or_else(wrong)?;
            let of = &row["baseline"];
            let baseline = of["value"].as_f64().map(|value| Baseline {
                name: of["name"].as_str().unwrap_or("-").to_owned(),
                value,
            });
            self.add(name, unit, values, baseline.as_ref());
            let counted = row["exits"].as_f64().zip(row["vmfuncs"].as_f64());
            if let Some(row) = self.0.last_mut() {
                row.transitions = counted.map(|(exits, vmfuncs)| Transitions { exits, vmfuncs });
            }
            wanted.push(of.as_str().map(str::to_owned));
        }
        // A baseline may come after what is compared with it.
        for (index, name) in (first..).zip(wanted) {
            if let Some(name) = name {
                let of = self.0.iter().find(|row| row.name == name);
                let value = of.ok_or(format!("no row \"{name}\""))?.median();
                self.0[index].baseline = Some(Baseline { name, value });
            }
        }
        Ok(())
    }

    pub fn print(&self, mode: &str) {
        let rounds = self.0.iter().map(|row| row.values.len()).max().unwrap_or(0);
        println!("# {mode}, {rounds} rounds");
        println!(
            "{:<58} {:>6} {:>12} {:>12} {:>12} {:>12} {:>8}  compared with",
            "name", "unit", "min", "median", "max", "baseline", "ratio"
        );
        let optional = |value: Option<f64>, digits| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        for row in &self.0 {
            let baseline = row.baseline.as_ref();
            println!(
                "{:<58} {:>6} {:>12.2} {:>12.2} {:>12.2} {:>12} {:>8}  {}",
                row.name,
                row.unit,
                row.values[0],
                row.median(),
                row.values[row.values.len() - 1],
                optional(baseline.map(|baseline| baseline.value), 2),
                optional(row.ratio(), 4),
                baseline.map_or("-", |baseline| &baseline.name),
            );
        }
        self.print_model(mode);
    }

    fn print_model(&self, mode: &str) {
        let mut rows = self
            .0
            .iter()
            .filter_map(|row| Some((row, row.transitions?)))
            .peekable();
        if rows.peek().is_none() {
            return;
        }
        println!("\n# exits and VMFUNCs for one time: {mode}; cycles that they add on hardware: modelled, not measured");
        println!("# by {}", model::SOURCES);
        println!(
            "{:<58} {:>12} {:>12} {:>12} {:>12}",
            "name", "exits", "VMFUNCs", "model, least", "model, most"
        );
        for (row, transitions) in rows {
            let [least, most] = transitions.cycles();
            println!(
                "{:<58} {:>12.2} {:>12.2} {:>12.0} {:>12.0}",
                row.name, transitions.exits, transitions.vmfuncs, least, most
            );
        }
    }

    pub fn json(&self, mode: &str) -> Value {
        self.0
            .iter()
            .map(|row| {
                let mut value = json!({
                    "name": row.name,
                    "unit": row.unit,
                    "min": row.values[0],
                    "median": row.median(),
                    "max": row.values[row.values.len() - 1],
                    "baseline": row.baseline.as_ref().map(|baseline| baseline.value),
                    "ratio": row.ratio(),
                    "mode": mode,
                });
                if let Some(transitions) = row.transitions {
                    value["exits"] = transitions.exits.into();
                    value["vmfuncs"] = transitions.vmfuncs.into();
                    value["modelled_cycles"] = json!(transitions.cycles());
                }
                value
            })
            .collect()
    }
}
