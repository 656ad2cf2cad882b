// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Single calls.

use crate::opencl::{bytes, Argument, Buffer, Device, Kernel, Queue};
use crate::rounds::{Bench, Row, Unit};
use crate::{ticks, Result};

/// Elements of an addition.
const SIZE: usize = 1024;
const LOCAL: usize = 64;
/// Arguments that are set before it is waited for them.
const BATCH: usize = 64;

/// Additions on a queue of their own.
pub struct Addition {
    pub queue: Queue,
    kernel: Kernel,
    c: Buffer,
    /// Another one for sums.
    other: Buffer,
    a: Buffer,
    b: Buffer,
}

impl Addition {
    pub fn new(device: &Device) -> Result<Self> {
        let buffer = || device.buffer(SIZE * size_of::<f32>());
        let this = Addition {
            queue: device.queue()?,
            kernel: device.kernel("vadd")?,
            c: buffer()?,
            other: buffer()?,
            a: buffer()?,
            b: buffer()?,
        };
        let numbers: Vec<f32> = (0..SIZE).map(|i| i as f32).collect();
        this.queue.write(&this.a, bytes(&numbers))?;
        this.queue.write(&this.b, bytes(&numbers))?;
        this.kernel.set_all(&this.arguments())?;
        Ok(this)
    }

    fn arguments(&self) -> [Argument<'_>; 4] {
        let [c, a, b] = [&self.c, &self.a, &self.b].map(Argument::memory);
        [c, a, b, Argument::uint(SIZE as u32)]
    }

    /// Sets every argument to something else than the last time: the same sum of all elements but, every
    /// other time, the last one.
    fn change(&self, time: u64) -> Result<()> {
        let (a, b, size) = match time % 2 {
            0 => (&self.b, &self.a, SIZE - 1),
            _ => (&self.a, &self.b, SIZE),
        };
        let c = if time % 2 == 0 { &self.other } else { &self.c };
        let [c, a, b] = [c, a, b].map(Argument::memory);
        self.kernel.set_all(&[c, a, b, Argument::uint(size as u32)])
    }

    pub fn add(&self) -> Result<()> {
        self.queue.launch(&self.kernel, SIZE, LOCAL)?;
        self.queue.finish()
    }

    /// What was added last.
    pub fn check(&self) -> Result<()> {
        let mut sums = vec![0; SIZE * size_of::<f32>()];
        self.queue.read(&self.c, &mut sums)?;
        let sums = sums.chunks_exact(4).zip(0u16..);
        for (sum, i) in sums {
            let sum = f32::from_ne_bytes(sum.try_into()?);
            if sum != f32::from(i) * 2.0 {
                return Err(format!("vadd: element {i} is {sum}").into());
            }
        }
        Ok(())
    }
}

/// Ticks of calling so many times.
pub fn timed(count: u64, mut call: impl FnMut() -> Result<()>) -> Result<u64> {
    let start = ticks::now();
    for _ in 0..count {
        call()?;
    }
    Ok(ticks::now() - start)
}

pub fn finish(bench: &Bench, addition: &Addition) -> Result<Row> {
    bench.measure("clFinish, idle queue", Unit::Ticks, |count| {
        timed(count, || addition.queue.finish())
    })
}

/// `finish` is what [`finish`] has measured.
pub fn set_argument(bench: &Bench, addition: &Addition, finish: &Row) -> Result<()> {
    // A program's own work is not what is measured.
    let arguments = addition.arguments();
    let set_all = || (0..BATCH / 4).try_for_each(|_| addition.kernel.set_all(&arguments));
    let batch = bench.measure("64 clSetKernelArg, clFinish", Unit::Ticks, |count| {
        timed(count, || {
            set_all()?;
            addition.queue.finish()
        })
    })?;
    batch.print_part("clSetKernelArg", finish, BATCH);
    bench.measure(
        "64 clSetKernelArg, until they return",
        Unit::Ticks,
        |count| {
            let mut took = 0;
            for _ in 0..count {
                took += timed(1, set_all)?;
                addition.queue.finish()?;
            }
            Ok(took)
        },
    )?;
    Ok(())
}

pub fn launch(bench: &Bench, addition: &Addition) -> Result<()> {
    bench.measure("vadd of 1,024, clFinish", Unit::Ticks, |count| {
        timed(count, || addition.add())
    })?;
    addition.check()?;
    let what = "4 clSetKernelArg, all changed, vadd, clFinish";
    let mut time = 0;
    bench.measure(what, Unit::Ticks, |count| {
        timed(count, || {
            addition.change(time)?;
            time += 1;
            addition.add()
        })
    })?;
    addition.check()
}

/// As many additions as each line that comes in says; between them nothing.
pub fn additions(device: &Device) -> Result<()> {
    let addition = Addition::new(device)?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let count: u64 = line
            .parse()
            .map_err(|_| format!("\"{line}\" is no number of additions"))?;
        (0..count).try_for_each(|_| addition.add())?;
        addition.check()?;
        println!("additions: count={count} verified=yes");
    }
    Ok(())
}
