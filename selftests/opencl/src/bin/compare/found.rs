// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the benchmark has found: the lines that it printed.

use serde_json::Value;

use crate::Result;

/// From the client's view into the gate's and the server's, and back: see Documentation/gate.rst.
const VMFUNCS_OF_A_CALL: f64 = 4.0;

pub struct Row {
    pub work: String,
    pub unit: String,
    /// One a round, sorted.
    pub values: Vec<f64>,
    /// VM exits of both VMs while it was done once, the median; those aside that an interrupt of the host causes.
    pub exits: Option<f64>,
    /// And how often a vCPU changed its view.
    pub vmfuncs: Option<f64>,
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    let values: Option<Vec<f64>> = value.as_array()?.iter().map(Value::as_f64).collect();
    values.filter(|values| !values.is_empty())
}

pub fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let row: Value = serde_json::from_str(line).ok()?;
        let counter = |name: &str| numbers(&row["counted"][name]);
        let exits = counter("client_exits")
            .zip(counter("server_exits"))
            .map(|(client, server)| {
                let both = client.iter().zip(server).map(|(a, b)| a + b);
                median(&sorted(both.collect()))
            });
        let calls = counter("calls").map(|calls| median(&sorted(calls)));
        Some(Row {
            work: row["name"].as_str()?.to_owned(),
            unit: row["unit"].as_str()?.to_owned(),
            values: sorted(numbers(&row["values"])?),
            exits,
            vmfuncs: calls.map(|calls| calls * VMFUNCS_OF_A_CALL),
        })
    }
}

/// Of one way.
pub struct Found {
    pub way: String,
    pub rows: Vec<Row>,
}

impl Found {
    pub fn read(way: &str, file: &str) -> Result<Self> {
        let rows = std::fs::read_to_string(file)?
            .lines()
            .map(|line| Row::parse(line).ok_or_else(|| format!("not a row: {line}").into()))
            .collect::<Result<Vec<_>>>()?;
        Ok(Found {
            way: way.to_owned(),
            rows,
        })
    }

    pub fn row(&self, work: &str) -> Result<&Row> {
        let found = self.rows.iter().find(|row| row.work == work);
        found.ok_or_else(|| format!("no \"{work}\" by {}", self.way).into())
    }
}
