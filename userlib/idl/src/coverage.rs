// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the coverage table.

use std::fmt::Write;

use crate::model::{Api, Call, Function, Since};

/// How far a function is supported.
fn support(function: &Function) -> &'static str {
    let by_hand = function.custom.client.is_some()
        || function.custom.server.is_some()
        || function.before.is_some()
        || function.after.is_some();
    match (&function.call, by_hand) {
        (Call::Stub(_), _) => "stub",
        (Call::Refused(_), _) => "refused",
        (Call::Retain | Call::Release, _) => "generated",
        (_, true) => "hand-written",
        (_, false) => "generated",
    }
}

/// How its calls travel, or the status with which it is refused.
fn travel(function: &Function) -> String {
    match &function.call {
        Call::Sync => "sync".into(),
        Call::Posted => "posted".into(),
        Call::SyncIf(_) => "sync or posted".into(),
        Call::Local => "local".into(),
        Call::Retain => "local".into(),
        Call::Release => "posted at the last reference".into(),
        Call::Refused(status) | Call::Stub(status) => status.to_string(),
    }
}

/// The functions of the API up to version `newest`, as a reStructuredText page.
pub fn table(api: &Api, newest: (u32, u32)) -> String {
    let functions: Vec<_> = api
        .functions
        .iter()
        .filter(|f| matches!(f.since, Since::Core(major, minor) if (major, minor) <= newest))
        .collect();
    let count = |what: &str| functions.iter().filter(|f| support(f) == what).count();
    let (generated, by_hand) = (count("generated"), count("hand-written"));
    let (refused, stubs) = (count("refused"), count("stub"));
    let mut text = String::new();
    let title = format!("OpenCL {}.{} coverage", newest.0, newest.1);
    let rule = "=".repeat(title.len());
    let mut write = |line: &str| writeln!(text, "{line}").expect("a string takes everything");
    write(".. SPDX-License-Identifier: Apache-2.0 OR MIT");
    write(".. Made by `wormhole-idl coverage`; do not edit.");
    write("");
    write(&rule);
    write(&title);
    write(&rule);
    write("");
    write(&format!(
        "{} of {} functions work: {generated} generated, {by_hand} with a part written by hand. \
         {refused} are refused, as by a device that lacks what they need. {stubs} are not \
         forwarded.",
        generated + by_hand,
        functions.len()
    ));
    write("");
    let width = functions
        .iter()
        .map(|f| f.name.to_string().len())
        .max()
        .unwrap_or(0);
    let rule = format!(
        "{} ===== ============ ============================",
        "=".repeat(width)
    );
    write(&rule);
    write(&format!(
        "{:width$} since support      travels, or status",
        "function"
    ));
    write(&rule);
    for function in &functions {
        let Since::Core(major, minor) = function.since else {
            continue;
        };
        write(&format!(
            "{:width$} {:5} {:12} {}",
            function.name.to_string(),
            format!("{major}.{minor}"),
            support(function),
            travel(function)
        ));
    }
    write(&rule);
    text
}
