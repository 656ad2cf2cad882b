// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares what `wormhole-opencl-bench` found where OpenCL's calls went in several ways:
//!
//!     wormhole-opencl-compare native=FILE WAY=FILE...
//!
//! The files have that program's output. Prints rows for `wormhole-switch-bench --rows`.

mod found;
mod targets;

use std::process::ExitCode;

use serde_json::{json, Value};

use found::{Found, Row};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const NATIVE: &str = "native";

fn name(work: &str, way: &str) -> String {
    format!("OpenCL: {work}, {way}")
}

/// The work of one, where several threads or client VMs work at once.
fn alone(work: &str) -> Option<String> {
    ["thread", "client VM"].iter().find_map(|who| {
        let start = work.strip_suffix(&format!(" {who}s"))?;
        let what = start.trim_end_matches(|c: char| c.is_ascii_digit());
        Some(format!("{what}1 {who}"))
    })
}

/// What a row is compared with: several threads or client VMs with one, all else with the same work natively.
fn baseline(row: &Row, way: &str, native: &Found) -> Option<String> {
    match alone(&row.work) {
        Some(one) => Some(name(&one, way)),
        None if way == NATIVE => None,
        None => native
            .row(&row.work)
            .is_ok()
            .then(|| name(&row.work, NATIVE)),
    }
}

/// Each once; those that were done natively come first.
fn works<'a>(native: &'a Found, ways: &'a [Found]) -> Vec<&'a str> {
    let mut works = Vec::new();
    for row in std::iter::once(native)
        .chain(ways)
        .flat_map(|found| &found.rows)
    {
        if !works.contains(&row.work.as_str()) {
            works.push(&row.work);
        }
    }
    works
}

/// A line for each work and way.
fn lines(ways: &[Found]) -> Result<Vec<Value>> {
    let native = ways
        .iter()
        .find(|found| found.way == NATIVE)
        .ok_or("nothing was found natively")?;
    let mut lines = Vec::new();
    for work in works(native, ways) {
        for found in ways {
            // Not all can be done by each way, or was asked for.
            let Ok(row) = found.row(work) else { continue };
            lines.push(json!({
                "name": name(work, &found.way),
                "unit": row.unit,
                "values": row.values,
                "baseline": baseline(row, &found.way, native),
                "exits": row.exits,
                "vmfuncs": row.vmfuncs,
            }));
        }
    }
    Ok(lines)
}

fn run(arguments: &[String]) -> Result<()> {
    let ways = arguments
        .iter()
        .map(|argument| {
            let (way, file) = argument
                .split_once('=')
                .ok_or_else(|| format!("{argument} is not WAY=FILE"))?;
            Found::read(way, file).map_err(|error| format!("{file}: {error}").into())
        })
        .collect::<Result<Vec<_>>>()?;
    for line in lines(&ways)?.iter().chain(&targets::lines(&ways)?) {
        println!("{line}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        eprintln!("usage: wormhole-opencl-compare native=FILE WAY=FILE...");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wormhole-opencl-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(way: &str, works: &[&str]) -> Found {
        let row = |work: &&str| Row {
            work: (*work).to_owned(),
            unit: String::new(),
            values: vec![1.0],
            exits: None,
            vmfuncs: None,
        };
        Found {
            way: way.to_owned(),
            rows: works.iter().map(row).collect(),
        }
    }

    #[test]
    fn what_rows_are_compared_with() {
        let native = found(NATIVE, &["add", "add, 1 thread", "add, 16 threads"]);
        let other = found("other", &["add", "add, 1 client VM", "add, 2 client VMs"]);
        let lines = lines(&[other, native]).unwrap();
        let names: Vec<_> = lines
            .iter()
            .map(|line| (line["name"].as_str().unwrap(), line["baseline"].as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("OpenCL: add, other", Some("OpenCL: add, native")),
                ("OpenCL: add, native", None),
                ("OpenCL: add, 1 thread, native", None),
                (
                    "OpenCL: add, 16 threads, native",
                    Some("OpenCL: add, 1 thread, native")
                ),
                ("OpenCL: add, 1 client VM, other", None),
                (
                    "OpenCL: add, 2 client VMs, other",
                    Some("OpenCL: add, 1 client VM, other")
                ),
            ]
        );
    }
}
