// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Times calls of OpenCL 1.2, by the time-stamp counter, and checks what they compute:
//!
//!     wormhole-opencl-bench [--counters] [--calls]
//!
//! An ordinary OpenCL program, which takes the first device that the ICD loader finds. It prints what `rounds.rs` says.
//! With --calls it leaves out long transfers and threads. With --counters somebody must answer when it asks for counters of the machine, see `counters.rs`.

mod calls;
mod counters;
mod ffi;
mod mlp;
mod opencl;
mod rounds;
mod step;
mod threads;
mod ticks;
mod transfers;

use std::process::ExitCode;

use calls::Addition;
use counters::Meter;
use opencl::Device;
use rounds::Bench;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn run(meter: Meter, calls_only: bool) -> Result<()> {
    let bench = Bench { meter };
    let device = Device::open(include_str!("kernels.cl"))?;
    let addition = Addition::new(&device)?;
    let finish = calls::finish(&bench, &addition)?;
    calls::set_argument(&bench, &addition, &finish)?;
    calls::launch(&bench, &addition)?;
    drop(addition);
    step::run(&bench, &device)?;
    if calls_only {
        return Ok(());
    }
    transfers::run(&bench, &device)?;
    threads::run(&bench, &device)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (meter, calls_only) = match arguments[..] {
        [] => (Ok(Meter::without()), false),
        ["--counters"] => (Meter::new(), false),
        ["--calls"] => (Ok(Meter::without()), true),
        ["--counters", "--calls"] => (Meter::new(), true),
        _ => {
            eprintln!("usage: wormhole-opencl-bench [--counters] [--calls]");
            return ExitCode::from(2);
        }
    };
    match meter.and_then(|meter| run(meter, calls_only)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wormhole-opencl-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
