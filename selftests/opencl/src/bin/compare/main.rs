// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares what `wormhole-opencl-bench` found where OpenCL's calls went in several ways:
//!
//!     wormhole-opencl-compare native=FILE WAY=FILE...
//!
//! The files have that program's output. Prints rows for `wormhole-switch-bench --rows`.

mod found;
mod targets;

use std::process::ExitCode;

use serde_json::json;

use found::{Found, Row};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const NATIVE: &str = "native";

fn name(work: &str, way: &str) -> String {
    format!("OpenCL: {work}, {way}")
}

/// What a row is compared with: several threads with one, all else with the same work natively.
fn baseline(row: &Row, way: &str) -> Option<String> {
    match row.work.strip_suffix(" threads") {
        Some(start) => {
            let what = start.trim_end_matches(|c: char| c.is_ascii_digit());
            Some(name(&format!("{what}1 thread"), way))
        }
        None if way == NATIVE => None,
        None => Some(name(&row.work, NATIVE)),
    }
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
    let native = ways
        .iter()
        .find(|found| found.way == NATIVE)
        .ok_or("nothing was found natively")?;
    for work in native.rows.iter().map(|row| &row.work) {
        for found in &ways {
            // A way by which it would take too long was not asked for all.
            let Ok(row) = found.row(work) else { continue };
            let line = json!({
                "name": name(work, &found.way),
                "unit": row.unit,
                "values": row.values,
                "baseline": baseline(row, &found.way),
                "exits": row.exits,
                "vmfuncs": row.vmfuncs,
            });
            println!("{line}");
        }
    }
    targets::print(&ways)
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
