// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Log lines on stderr, as `wormholectl: LEVEL: text`.

use std::io::{self, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info => "",
            Level::Debug => "debug: ",
            Level::Trace => "trace: ",
        };
        // A closed stderr must not end the service.
        let _ = writeln!(io::stderr().lock(), "wormholectl: {level}{}", record.args());
    }

    fn flush(&self) {}
}

/// Starts logging: warnings and one line per event; more with each `-v`,
/// errors only with `-q`.
pub fn init(verbose: u8, quiet: bool) {
    let filter = match (quiet, verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Info,
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    };
    // Fails only if a logger was set before.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(filter);
    }
}
