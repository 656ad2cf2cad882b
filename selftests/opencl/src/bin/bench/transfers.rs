// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving data, by calls that block.

use crate::calls::timed;
use crate::ffi::{
    cl_bitfield, CL_MAP_READ, CL_MAP_WRITE_INVALIDATE_REGION, CL_MEM_ALLOC_HOST_PTR,
    CL_MEM_READ_WRITE,
};
use crate::opencl::{Device, Queue};
use crate::rounds::{Bench, Unit};
use crate::Result;

const MIB: usize = 1 << 20;
/// More than a message holds, and more than there is memory that both sides have.
const LARGE: [usize; 2] = [16, 64];

pub fn run(bench: &Bench, device: &Device) -> Result<()> {
    let queue = device.queue()?;
    for mib in LARGE {
        both_ways(bench, device, &queue, mib)?;
    }
    maps(bench, device, &queue, "", CL_MEM_READ_WRITE)?;
    let host = CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR;
    maps(bench, device, &queue, " of host memory", host)
}

/// The least.
pub fn short(bench: &Bench, device: &Device) -> Result<()> {
    both_ways(bench, device, &device.queue()?, 1)
}

/// What data consists of.
fn pattern(seed: usize) -> Vec<u8> {
    (0..MIB).map(|i| ((i + seed) % 251) as u8).collect()
}

fn both_ways(bench: &Bench, device: &Device, queue: &Queue, mib: usize) -> Result<()> {
    let size = mib * MIB;
    let unit = Unit::TicksPerByte(size);
    let buffer = device.buffer(size)?;
    let pattern = pattern(mib);
    let mut data = pattern.repeat(mib);
    bench.measure(&format!("write of {mib} MiB"), unit, |count| {
        timed(count, || queue.write(&buffer, &data))
    })?;
    data.fill(0);
    bench.measure(&format!("read of {mib} MiB"), unit, |count| {
        timed(count, || queue.read(&buffer, &mut data))
    })?;
    match data.chunks(MIB).all(|part| *part == pattern) {
        true => Ok(()),
        false => Err(format!("{mib} MiB came back as something else").into()),
    }
}

fn maps(
    bench: &Bench,
    device: &Device,
    queue: &Queue,
    what: &str,
    flags: cl_bitfield,
) -> Result<()> {
    let unit = Unit::TicksPerByte(MIB);
    let buffer = device.buffer_of(flags, MIB)?;
    let data = pattern(0);
    bench.measure(&format!("map, fill and unmap 1 MiB{what}"), unit, |count| {
        timed(count, || {
            queue.map(&buffer, CL_MAP_WRITE_INVALIDATE_REGION, |bytes| {
                bytes.copy_from_slice(&data);
            })
        })
    })?;
    let mut same = true;
    bench.measure(
        &format!("map, compare and unmap 1 MiB{what}"),
        unit,
        |count| {
            timed(count, || {
                queue.map(&buffer, CL_MAP_READ, |bytes| same &= *bytes == data[..])
            })
        },
    )?;
    match same {
        true => Ok(()),
        false => Err("what was mapped is something else than what was filled in".into()),
    }
}
