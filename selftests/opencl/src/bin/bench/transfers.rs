// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving much data, by calls that block.

use crate::calls::timed;
use crate::ffi::{CL_MAP_READ, CL_MAP_WRITE_INVALIDATE_REGION};
use crate::opencl::{Device, Queue};
use crate::rounds::{Bench, Unit};
use crate::Result;

const MIB: usize = 1 << 20;
const LARGE: usize = 16;

pub fn run(bench: &Bench, device: &Device) -> Result<()> {
    let queue = device.queue()?;
    both_ways(bench, device, &queue, 1)?;
    both_ways(bench, device, &queue, LARGE)?;
    maps(bench, device, &queue)
}

fn pattern(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|i| ((i + seed) % 251) as u8).collect()
}

fn both_ways(bench: &Bench, device: &Device, queue: &Queue, mib: usize) -> Result<()> {
    let size = mib * MIB;
    let unit = Unit::TicksPerByte(size);
    let buffer = device.buffer(size)?;
    let data = pattern(size, mib);
    bench.measure(&format!("write of {mib} MiB"), unit, |count| {
        timed(count, || queue.write(&buffer, &data))
    })?;
    let mut back = vec![0; size];
    bench.measure(&format!("read of {mib} MiB"), unit, |count| {
        timed(count, || queue.read(&buffer, &mut back))
    })?;
    match back == data {
        true => Ok(()),
        false => Err(format!("{mib} MiB came back as something else").into()),
    }
}

fn maps(bench: &Bench, device: &Device, queue: &Queue) -> Result<()> {
    let unit = Unit::TicksPerByte(MIB);
    let buffer = device.buffer(MIB)?;
    let data = pattern(MIB, 0);
    bench.measure("map, fill and unmap 1 MiB", unit, |count| {
        timed(count, || {
            queue.map(&buffer, CL_MAP_WRITE_INVALIDATE_REGION, |bytes| {
                bytes.copy_from_slice(&data);
            })
        })
    })?;
    let mut same = true;
    bench.measure("map, compare and unmap 1 MiB", unit, |count| {
        timed(count, || {
            queue.map(&buffer, CL_MAP_READ, |bytes| same &= *bytes == data[..])
        })
    })?;
    match same {
        true => Ok(()),
        false => Err("what was mapped is something else than what was filled in".into()),
    }
}
