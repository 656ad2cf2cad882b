// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the host, which it is asked for: by the line "counters" on standard output. The answer is a line on
//! standard input, with the exits that the client VM has caused so far, those that the server VM has, and how often the
//! client's process has asked to go on with a call.

use std::io::{stdin, BufRead};

use crate::Result;

#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub client: u64,
    pub server: u64,
    pub resumes: u64,
}

impl Counters {
    fn ask() -> Result<Self> {
        println!("counters");
        let mut line = String::new();
        stdin().lock().read_line(&mut line)?;
        let numbers: Vec<u64> = line
            .split_ascii_whitespace()
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()?;
        match numbers[..] {
            [client, server, resumes] => Ok(Counters {
                client,
                server,
                resumes,
            }),
            _ => Err(format!("\"{}\" are no counters", line.trim()).into()),
        }
    }

    fn less(self, other: Counters) -> Counters {
        Counters {
            client: self.client.saturating_sub(other.client),
            server: self.server.saturating_sub(other.server),
            resumes: self.resumes.saturating_sub(other.resumes),
        }
    }
}

/// Counts what happens while something is done.
pub struct Meter {
    /// What asking itself takes.
    fixed: Counters,
}

impl Meter {
    pub fn new() -> Result<Self> {
        let mut meter = Meter {
            fixed: Counters::default(),
        };
        let mut fixed = meter.count(|| Ok(()))?.1;
        for _ in 0..4 {
            let ((), again) = meter.count(|| Ok(()))?;
            fixed.client = fixed.client.min(again.client);
            fixed.server = fixed.server.min(again.server);
            fixed.resumes = fixed.resumes.min(again.resumes);
        }
        meter.fixed = fixed;
        Ok(meter)
    }

    pub fn count<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<(T, Counters)> {
        let before = Counters::ask()?;
        let done = what()?;
        let after = Counters::ask()?;
        Ok((done, after.less(before).less(self.fixed)))
    }
}
