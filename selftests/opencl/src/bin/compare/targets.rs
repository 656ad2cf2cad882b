// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is aimed at, as rows of their own: a ratio of two ways, or one row's value, beside its limit.

use serde_json::json;

use crate::found::{median, Found, Row};
use crate::{name, Result, NATIVE};

const FINISH: &str = "clFinish, idle queue";
const ARGUMENT: &str = "clSetKernelArg";
const VADD: &str = "vadd of 1,024, clFinish";
const STEP: &str = "training step, 90 calls";
const EXITLESS: &str = "vmfunc";

enum Value {
    /// Of exitless calls, in ticks
    Ticks,
    /// How many times one way takes what the other does
    Ratio(&'static str, &'static str),
    /// How many times what one way takes more than native is what the other takes more
    RatioOverNative(&'static str, &'static str),
}

enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

const TARGETS: [(&str, Value, Limit); 8] = [
    (FINISH, Value::Ratio("ring", EXITLESS), Limit::AtLeast(3.0)),
    (FINISH, Value::Ratio("vsock", EXITLESS), Limit::AtLeast(5.0)),
    (FINISH, Value::Ratio("tcp", EXITLESS), Limit::AtLeast(10.0)),
    (ARGUMENT, Value::Ticks, Limit::AtMost(60.0)),
    (VADD, Value::Ratio(EXITLESS, NATIVE), Limit::AtMost(1.15)),
    (STEP, Value::Ratio(EXITLESS, NATIVE), Limit::AtMost(1.1)),
    (
        STEP,
        Value::RatioOverNative("ring", EXITLESS),
        Limit::AtLeast(1.0),
    ),
    (
        STEP,
        Value::RatioOverNative("tcp", EXITLESS),
        Limit::AtLeast(5.0),
    ),
];

/// Least, median and most of a row's values.
fn spread(row: &Row) -> [f64; 3] {
    [
        row.values[0],
        median(&row.values),
        row.values[row.values.len() - 1],
    ]
}

/// Least, median and most of a quotient. What is below a tick is as good as one.
fn quotient(dividend: [f64; 3], divisor: [f64; 3]) -> [f64; 3] {
    let [a, b, c] = dividend;
    let [x, y, z] = divisor.map(|ticks| ticks.max(1.0));
    [a / z, b / y, c / x]
}

/// Those of which all ways were measured.
pub fn print(ways: &[Found]) -> Result<()> {
    let of = |work: &str, way: &str| {
        let found = ways.iter().find(|found| found.way == way);
        found.map(|found| found.row(work).map(spread)).transpose()
    };
    for (work, value, limit) in TARGETS {
        let (name, unit, values) = match value {
            Value::Ticks => (name(work, EXITLESS), "tsc", of(work, EXITLESS)?),
            Value::Ratio(a, b) => {
                let both = of(work, a)?.zip(of(work, b)?);
                let values = both.map(|(a, b)| quotient(a, b));
                (name(work, &format!("{a} / {b}")), "times", values)
            }
            Value::RatioOverNative(a, b) => {
                let both = of(work, a)?.zip(of(work, b)?).zip(of(work, NATIVE)?);
                // Of medians: one way's least may be below the other's most.
                let values = both.map(|(([_, a, _], [_, b, _]), [_, native, _])| {
                    quotient([a - native; 3], [b - native; 3])
                });
                let ways = format!("more than native, {a} / {b}");
                (name(work, &ways), "times", values)
            }
        };
        let Some(values) = values else { continue };
        let (limit, number) = match limit {
            Limit::AtLeast(number) => ("at least", number),
            Limit::AtMost(number) => ("at most", number),
        };
        let baseline = json!({ "name": format!("target: {limit}"), "value": number });
        let row = json!({
            "name": format!("{name}: target"),
            "unit": unit,
            "values": values,
            "baseline": baseline,
        });
        println!("{row}");
    }
    Ok(())
}
