// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Both sides of delegated calls, for tests that kill things meanwhile. In the server VM a server whose functions can
//! tell when a client sees memory that the server does not have any more; in the client VM clients that verify every
//! result and say how their calls ended. Either can do damage to itself in many rounds.

mod check;
mod child;
mod client;
mod functions;
mod random;
mod rebind;
mod server;
#[path = "../../../../testbed/src/splat.rs"]
mod splat;
mod storm;

use std::process::ExitCode;
use std::time::Duration;

use client::{Fault, Goal};

pub const DEVICE: &str = "/dev/wormhole_guest0";

/// Whatever takes longer than this hangs.
pub const LONG: Duration = Duration::from_secs(30);
/// Calls that were made before calls are taken to be under way.
pub const UNDER_WAY: u64 = 200;

/// Exit status: a call has ended with an error, and that was all.
const ENDED: u8 = 3;

const USAGE: &str = "usage: wormhole-delegate-torture MODE [OPTION VALUE]...
server            serves any number of clients
  --storm 1       unmaps, protects and forks meanwhile
  --rebind N      unbinds and binds the device N times while calls are under way
  --kill N        kills the server process N times while calls are under way
client            calls for ever; one line when that ends; exit status 3 after an error
  --threads N     2 if not given
  --calls N       N calls in all, exit status 0
  --storms N      until the server has made N storms of each kind, exit status 0
  --rounds N      N errors, each followed by a new connection, and at last 1000 calls
  --rebind N      as --rounds, unbinds and binds the device in each
  --kill N        kills a client process N times while calls are under way; at last 1000 calls
check             exit status 0 if the kernel log has no splat; prints how many pages are pinned
  --pins N        and so many pages are pinned, soon";

/// What stands behind a mode, each once at most.
#[derive(Default)]
struct Arguments {
    storm: Option<u64>,
    rebind: Option<u64>,
    kill: Option<u64>,
    threads: Option<u64>,
    calls: Option<u64>,
    storms: Option<u64>,
    rounds: Option<u64>,
    pins: Option<u64>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut arguments = Self::default();
        while let Some(option) = words.next() {
            let value = words.next()?.parse().ok()?;
            let place = match option.as_str() {
                "--storm" => &mut arguments.storm,
                "--rebind" => &mut arguments.rebind,
                "--kill" => &mut arguments.kill,
                "--threads" => &mut arguments.threads,
                "--calls" => &mut arguments.calls,
                "--storms" => &mut arguments.storms,
                "--rounds" => &mut arguments.rounds,
                "--pins" => &mut arguments.pins,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(arguments)
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let mode = words.next();
    let Some(arguments) = Arguments::parse(words) else {
        return usage();
    };
    let status = match mode.as_deref() {
        Some("server") => server(&arguments),
        Some("client") => client(&arguments),
        Some("check") => check::run(arguments.pins),
        _ => return usage(),
    };
    match status {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            println!("FAILED {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn server(arguments: &Arguments) -> Result<u8, String> {
    functions::prepare();
    if let Some(rounds) = arguments.kill {
        server::kill(rounds)?;
    }
    if arguments.storm.is_some() {
        storm::start();
    }
    if let Some(rounds) = arguments.rebind {
        server::rebind(rounds);
    }
    println!("serving");
    server::serve()
}

fn client(arguments: &Arguments) -> Result<u8, String> {
    let threads = arguments.threads.unwrap_or(2);
    if let Some(rounds) = arguments.kill {
        client::kill(threads, rounds)?;
    } else if let Some(rounds) = arguments.rebind {
        client::rounds(threads, rounds, Fault::Rebind)?;
    } else if let Some(rounds) = arguments.rounds {
        client::rounds(threads, rounds, Fault::Others)?;
    } else {
        let goal = match (arguments.calls, arguments.storms) {
            (Some(calls), _) => Goal::Calls(calls),
            (None, Some(storms)) => Goal::Storms(storms),
            (None, None) => Goal::Never,
        };
        return Ok(match client::once(threads, goal)? {
            Some(_) => ENDED,
            None => 0,
        });
    }
    client::verify(threads)?;
    Ok(0)
}
