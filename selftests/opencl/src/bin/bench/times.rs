// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the device's clock says of commands.

use crate::opencl::Device;
use crate::Result;

const ROUNDS: usize = 50;

/// Writes some data again and again. Each command begins after the last one has ended. Prints when the first one began and
/// when the last one ended, in nanoseconds.
pub fn print(device: &Device) -> Result<()> {
    let queue = device.profiling_queue()?;
    let data = [7; 4096];
    let buffer = device.buffer(data.len())?;
    let mut first = None;
    let mut last = 0;
    for round in 0..ROUNDS {
        let (start, end) = queue.timed_write(&buffer, &data)?;
        if start < last || end < start {
            let error = format!("round {round} took from {start} to {end}, after {last}");
            return Err(error.into());
        }
        first.get_or_insert(start);
        last = end;
    }
    println!("times: {} {last}", first.unwrap_or_default());
    Ok(())
}
