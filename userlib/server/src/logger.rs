// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Log lines on stderr, which systemd and people read.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let pid = std::process::id();
        let level = record.level().as_str().to_ascii_lowercase();
        // One write, so that lines of several processes do not mix.
        let line = format!("wormhole-server[{pid}]: {level}: {}\n", record.args());
        // A closed stderr is no reason to stop serving.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Logs from now on: what `WORMHOLE_LOG` asks for, or else what is worth knowing.
pub fn start() {
    let level = std::env::var("WORMHOLE_LOG").ok();
    let level = level.and_then(|level| level.parse().ok());
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level.unwrap_or(LevelFilter::Info));
    }
}
