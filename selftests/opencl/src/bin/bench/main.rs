// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Times calls of OpenCL 1.2, by the time-stamp counter, and checks what they compute:
//!
//!     wormhole-opencl-bench [--counters] [--calls]
//!     wormhole-opencl-bench --replay STEPS
//!     wormhole-opencl-bench --times
//!     wormhole-opencl-bench --bursts
//!     wormhole-opencl-bench --additions
//!
//! An ordinary OpenCL program, which takes the first device that the ICD loader finds. It prints what `rounds.rs` says.
//! With --calls it leaves out long transfers, maps and threads. With --counters somebody must answer when it asks for
//! counters of the machine, see `counters.rs`. With --replay it times nothing, but trains for so many steps, checks
//! each one's loss and ends with the line "replay: steps=STEPS verified=yes". With --times it prints "times: FIRST LAST",
//! what the device's clock said at the begin of some commands and at their end.
//! With --bursts many threads are in a call at the same time for each line of its standard input; then it says
//! "burst: threads=THREADS verified=yes". With --additions each line is a number: it adds so often in one thread, waits
//! for each sum, and then says "additions: count=COUNT verified=yes".

mod calls;
mod counters;
mod ffi;
mod mlp;
mod opencl;
mod rounds;
mod step;
mod threads;
mod ticks;
mod times;
mod transfers;

use std::process::ExitCode;

use calls::Addition;
use counters::Meter;
use opencl::Device;
use rounds::Bench;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn open() -> Result<Device> {
    Device::open(include_str!("kernels.cl"))
}

fn measure(meter: Meter, calls_only: bool) -> Result<()> {
    let bench = Bench { meter };
    let device = open()?;
    let addition = Addition::new(&device)?;
    let finish = calls::finish(&bench, &addition)?;
    calls::set_argument(&bench, &addition, &finish)?;
    calls::launch(&bench, &addition)?;
    drop(addition);
    step::run(&bench, &device)?;
    transfers::short(&bench, &device)?;
    if calls_only {
        return Ok(());
    }
    transfers::run(&bench, &device)?;
    threads::run(&bench, &device)
}

fn replay(steps: &str) -> Result<()> {
    let steps = steps
        .parse()
        .map_err(|_| format!("\"{steps}\" is no number of steps"))?;
    step::replay(&open()?, steps)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => measure(Meter::without(), false),
        ["--calls"] => measure(Meter::without(), true),
        ["--counters"] => Meter::new().and_then(|meter| measure(meter, false)),
        ["--counters", "--calls"] => Meter::new().and_then(|meter| measure(meter, true)),
        ["--replay", steps] => replay(steps),
        ["--bursts"] => open().and_then(|device| threads::bursts(&device)),
        ["--additions"] => open().and_then(|device| calls::additions(&device)),
        ["--times"] => open().and_then(|device| times::print(&device)),
        _ => {
            eprintln!(
                "usage: wormhole-opencl-bench [--counters] [--calls] | --replay STEPS | --times | --bursts | --additions"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wormhole-opencl-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
