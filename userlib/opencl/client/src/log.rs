// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lines on stderr for the person who asked for them with `WORMHOLE_LOG`.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::OnceLock;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

fn wanted() -> Option<Level> {
    static WANTED: OnceLock<Option<Level>> = OnceLock::new();
    *WANTED.get_or_init(|| match std::env::var("WORMHOLE_LOG").ok()?.as_str() {
        "error" => Some(Level::Error),
        "warn" => Some(Level::Warn),
        "info" => Some(Level::Info),
        "debug" => Some(Level::Debug),
        _ => None,
    })
}

/// Writes a line if lines of this level are wanted.
pub(crate) fn line(level: Level, text: Arguments<'_>) {
    if wanted().is_some_and(|wanted| level <= wanted) {
        // A closed stderr is no reason to fail the program's call.
        let _ = writeln!(std::io::stderr(), "wormhole: {text}");
    }
}
