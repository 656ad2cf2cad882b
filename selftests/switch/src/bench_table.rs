// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The benchmark's results, as a table and as JSON.

use serde_json::{json, Value};

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
        };
        let value = row.median();
        self.0.push(row);
        Baseline {
            name: name.to_owned(),
            value,
        }
    }

    /// Adds what another program has measured: a JSON object a line, {name, unit, values, baseline}. The baseline is the
    /// name of a row, or null.
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
            self.add(name, unit, values, None);
            wanted.push(row["baseline"].as_str().map(str::to_owned));
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
    }

    pub fn json(&self, mode: &str) -> Value {
        self.0
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "unit": row.unit,
                    "min": row.values[0],
                    "median": row.median(),
                    "max": row.values[row.values.len() - 1],
                    "baseline": row.baseline.as_ref().map(|baseline| baseline.value),
                    "ratio": row.ratio(),
                    "mode": mode,
                })
            })
            .collect()
    }
}
