// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is aimed at, as rows of their own: a ratio of two ways, or one row's value, beside its limit.

use serde_json::json;

use crate::found::{median, Found, Row};
use crate::{alone, name, Result, NATIVE};

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
    /// How many times what one does alone several do together, by exitless calls
    Together,
}

enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// On one CPU several cannot do more together than one alone.
const TOGETHER: Limit = Limit::AtLeast(0.9);

const TARGETS: [(&str, Value, Limit); 16] = [
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
    ("clFinish, 2 threads", Value::Together, TOGETHER),
    ("clFinish, 4 threads", Value::Together, TOGETHER),
    ("clFinish, 8 threads", Value::Together, TOGETHER),
    ("vadd and clFinish, 2 threads", Value::Together, TOGETHER),
    ("vadd and clFinish, 4 threads", Value::Together, TOGETHER),
    ("vadd and clFinish, 8 threads", Value::Together, TOGETHER),
    ("vadd and clFinish, 2 client VMs", Value::Together, TOGETHER),
    ("vadd and clFinish, 4 client VMs", Value::Together, TOGETHER),
];

/// Least, median and most of a row's values.
fn spread(row: &Row) -> [f64; 3] {
    [
        row.values[0],
        median(&row.values),
        row.values[row.values.len() - 1],
    ]
}

/// Least, median and most of a quotient. What is below 1, a tick mostly, is as good as that.
fn quotient(dividend: [f64; 3], divisor: [f64; 3]) -> [f64; 3] {
    let [a, b, c] = dividend;
    let [x, y, z] = divisor.map(|value| value.max(1.0));
    [a / z, b / y, c / x]
}

/// Those of which all ways were measured.
pub fn lines(ways: &[Found]) -> Result<Vec<serde_json::Value>> {
    let mut lines = Vec::new();
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
            Value::Together => {
                let one = alone(work).ok_or_else(|| format!("\"{work}\" is not of several"))?;
                let both = of(work, EXITLESS)?.zip(of(&one, EXITLESS)?);
                let values = both.map(|(all, one)| quotient(all, one));
                (name(work, EXITLESS), "times", values)
            }
        };
        let Some(values) = values else { continue };
        let (limit, number) = match limit {
            Limit::AtLeast(number) => ("at least", number),
            Limit::AtMost(number) => ("at most", number),
        };
        let baseline = json!({ "name": format!("target: {limit}"), "value": number });
        lines.push(json!({
            "name": format!("{name}: target"),
            "unit": unit,
            "values": values,
            "baseline": baseline,
        }));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(way: &str, rows: &[(&str, [f64; 3])]) -> Found {
        let row = |(work, values): &(&str, [f64; 3])| Row {
            work: (*work).to_owned(),
            unit: String::new(),
            values: values.to_vec(),
            exits: None,
            vmfuncs: None,
        };
        Found {
            way: way.to_owned(),
            rows: rows.iter().map(row).collect(),
        }
    }

    /// All that targets are about, each time the same.
    fn all(way: &str, value: f64) -> Found {
        let works = TARGETS.iter().map(|(work, ..)| (*work).to_owned());
        let ones = TARGETS.iter().filter_map(|(work, ..)| alone(work));
        let works: Vec<String> = works.chain(ones).collect();
        let rows: Vec<_> = works
            .iter()
            .map(|work| (work.as_str(), [value; 3]))
            .collect();
        found(way, &rows)
    }

    fn line<'a>(lines: &'a [serde_json::Value], name: &str) -> &'a serde_json::Value {
        let named = lines.iter().filter(|line| line["name"] == name);
        let named: Vec<_> = named.collect();
        assert_eq!(named.len(), 1, "{name}");
        named[0]
    }

    #[test]
    fn all_have_a_line() {
        let ways = ["native", "vmfunc", "ring", "tcp", "vsock"].map(|way| all(way, 2.0));
        assert_eq!(lines(&ways).unwrap().len(), TARGETS.len());
    }

    #[test]
    fn several_are_compared_with_one() {
        let mut exitless = all(EXITLESS, 30.0);
        for row in &mut exitless.rows {
            row.values = match row.work.as_str() {
                "vadd and clFinish, 1 client VM" => vec![40.0, 50.0, 80.0],
                "vadd and clFinish, 4 client VMs" => vec![20.0, 40.0, 48.0],
                _ => continue,
            };
        }
        let lines = lines(&[all(NATIVE, 30.0), exitless]).unwrap();
        let of = line(
            &lines,
            "OpenCL: vadd and clFinish, 4 client VMs, vmfunc: target",
        );
        assert_eq!(of["values"], json!([0.25, 0.8, 1.2]));
        assert_eq!(
            of["baseline"],
            json!({ "name": "target: at least", "value": 0.9 })
        );
        let of = line(&lines, "OpenCL: clFinish, 8 threads, vmfunc: target");
        assert_eq!(of["values"], json!([1.0, 1.0, 1.0]));
    }

    #[test]
    fn what_a_way_lacks_is_an_error() {
        let ways = [all(NATIVE, 1.0), found(EXITLESS, &[(FINISH, [1.0; 3])])];
        assert!(lines(&ways).is_err());
        assert!(
            lines(&ways[..1]).unwrap().is_empty(),
            "a way that was not measured"
        );
    }

    #[test]
    fn more_than_native() {
        let mut ways = vec![all(NATIVE, 10.0), all("ring", 30.0), all(EXITLESS, 15.0)];
        let name = "OpenCL: training step, 90 calls, more than native, ring / vmfunc: target";
        let found = lines(&ways).unwrap();
        assert_eq!(line(&found, name)["values"], json!([4.0, 4.0, 4.0]));
        ways.pop();
        assert!(lines(&ways).unwrap().is_empty());
    }
}
