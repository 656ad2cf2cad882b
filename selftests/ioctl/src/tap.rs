// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs tests and reports them in TAP, as kselftest does.

use std::any::Any;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};

/// How a test that did not fail ended.
pub enum Outcome {
    Pass,
    /// It could not be run here, and why.
    Skip(&'static str),
}

/// A test fails by panicking.
pub struct Test<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> Outcome + 'a>,
}

impl<'a> Test<'a> {
    pub fn new(name: &'static str, run: impl Fn() + 'a) -> Self {
        Self::with_outcome(name, move || {
            run();
            Outcome::Pass
        })
    }

    /// A test that may be skipped.
    pub fn with_outcome(name: &'static str, run: impl Fn() -> Outcome + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// Runs the tests in order, one line each as they end, then the totals. Returns whether none failed.
pub fn run(tests: &[Test<'_>]) -> bool {
    say(format_args!("TAP version 13\n1..{}", tests.len()));
    // What went wrong is part of the report, as a comment.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        for line in message(info.payload()).lines() {
            say(format_args!("# {place}: {line}"));
        }
    }));

    let (mut pass, mut fail, mut skip) = (0, 0, 0);
    for (number, test) in (1..).zip(tests) {
        let name = test.name;
        match panic::catch_unwind(AssertUnwindSafe(|| (test.run)())) {
            Ok(Outcome::Pass) => {
                pass += 1;
                say(format_args!("ok {number} {name}"));
            }
            Ok(Outcome::Skip(why)) => {
                skip += 1;
                say(format_args!("ok {number} {name} # SKIP {why}"));
            }
            Err(_) => {
                fail += 1;
                say(format_args!("not ok {number} {name}"));
            }
        }
    }
    say(format_args!(
        "# Totals: pass:{pass} fail:{fail} xfail:0 xpass:0 skip:{skip} error:0"
    ));
    fail == 0
}

fn message(payload: &dyn Any) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("panicked")
}

/// Prints a line at once: what comes next may bring the machine down.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to tell if that fails.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
