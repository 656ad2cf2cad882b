// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Follows a machine's console while it runs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::splat::is_splat;

/// Lines kept to be shown when the run fails.
const TAIL: usize = 60;

/// The file that a machine's serial line is written to, read as it grows.
pub struct Console {
    file: File,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    splat: Option<String>,
    last_output: Instant,
}

impl Console {
    /// Follows `path`, which is created if it is not there yet.
    pub fn follow(path: &Path) -> Result<Console> {
        File::create(path).with_context(|| path.display().to_string())?;
        Ok(Console {
            file: File::open(path)?,
            partial: Vec::new(),
            tail: VecDeque::new(),
            splat: None,
            last_output: Instant::now(),
        })
    }

    /// Reads what is new and writes its whole lines to `to`.
    pub fn read_on(&mut self, to: &mut impl Write) -> Result<()> {
        let before = self.partial.len();
        self.file.read_to_end(&mut self.partial)?;
        if self.partial.len() > before {
            self.last_output = Instant::now();
        }
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            writeln!(to, "{line}")?;
            if self.splat.is_none() && is_splat(line) {
                self.splat = Some(line.to_owned());
            }
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(line.to_owned());
        }
        to.flush()?;
        Ok(())
    }

    /// The first line that reports kernel trouble.
    pub fn splat(&self) -> Option<&str> {
        self.splat.as_deref()
    }

    /// When the machine last said something.
    pub fn last_output(&self) -> Instant {
        self.last_output
    }

    /// The last lines.
    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}
