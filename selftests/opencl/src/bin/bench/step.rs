// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A step of training as a framework makes it: 90 calls, of which the last alone must be waited for. They are 67
//! clSetKernelArg, 19 launches, 2 writes (100,352 and 128 bytes), a read (4 bytes) and clFinish.

use crate::calls::timed;
use crate::mlp::{Batch, Mlp, Weights, BATCH, DECAY, HIDDEN, INPUTS, OUTPUTS, RATE};
use crate::opencl::{bytes, Argument, Buffer, Device, Kernel, Queue};
use crate::rounds::{Bench, Unit};
use crate::Result;

const LAUNCHES: usize = 19;
const ARGUMENTS: usize = 67;
const BATCHES: u32 = 4;
/// What losses may differ by: here sums are made in another order.
const TOLERANCE: f32 = 1e-3;

/// A matrix for each of the kernels' results, and for what they start from.
struct Memory {
    x: Buffer,
    labels: Buffer,
    weights: Parameters,
    velocity: Parameters,
    gradient: Parameters,
    h: Buffer,
    a: Buffer,
    z: Buffer,
    y: Buffer,
    m: Buffer,
    e: Buffer,
    s: Buffer,
    loss: Buffer,
    dy: Buffer,
    da: Buffer,
    dh: Buffer,
}

/// As [`Weights`].
struct Parameters {
    w1: Buffer,
    b1: Buffer,
    w2: Buffer,
    b2: Buffer,
}

impl Parameters {
    fn new(device: &Device, queue: &Queue, weights: &Weights) -> Result<Self> {
        let buffer = |numbers: &[f32]| {
            let buffer = device.buffer(size_of_val(numbers))?;
            queue.write(&buffer, bytes(numbers))?;
            Result::Ok(buffer)
        };
        Ok(Parameters {
            w1: buffer(&weights.w1)?,
            b1: buffer(&weights.b1)?,
            w2: buffer(&weights.w2)?,
            b2: buffer(&weights.b2)?,
        })
    }
}

impl Memory {
    fn new(device: &Device, queue: &Queue) -> Result<Self> {
        let buffer = |numbers: usize| device.buffer(numbers * size_of::<f32>());
        Ok(Memory {
            x: buffer(BATCH * INPUTS)?,
            labels: buffer(BATCH)?,
            weights: Parameters::new(device, queue, &Weights::first())?,
            velocity: Parameters::new(device, queue, &Weights::zero())?,
            gradient: Parameters::new(device, queue, &Weights::zero())?,
            h: buffer(BATCH * HIDDEN)?,
            a: buffer(BATCH * HIDDEN)?,
            z: buffer(BATCH * OUTPUTS)?,
            y: buffer(BATCH * OUTPUTS)?,
            m: buffer(BATCH)?,
            e: buffer(BATCH * OUTPUTS)?,
            s: buffer(BATCH)?,
            loss: buffer(1)?,
            dy: buffer(BATCH * OUTPUTS)?,
            da: buffer(BATCH * HIDDEN)?,
            dh: buffer(BATCH * HIDDEN)?,
        })
    }
}

struct Launch<'a> {
    kernel: Kernel,
    arguments: Vec<Argument<'a>>,
    global: usize,
    local: usize,
}

fn launches<'a>(device: &Device, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let b = Argument::memory;
    let Memory {
        x,
        labels,
        h,
        a,
        z,
        y,
        m,
        e,
        s,
        loss,
        dy,
        da,
        dh,
        ..
    } = memory;
    let (w, v, g) = (&memory.weights, &memory.velocity, &memory.gradient);
    let (units, answers) = ((BATCH * HIDDEN, 64), (BATCH * OUTPUTS, 32));
    let (rows, one) = ((BATCH, BATCH), (1, 1));
    let scale = Argument::float(1.0 / BATCH as f32);
    let columns = |n: usize| Argument::uint(n as u32);
    let (rate, decay) = (Argument::float(RATE), Argument::float(DECAY));
    // The kernel, work-items with those of a work-group, and its arguments.
    let list = [
        ("hidden", units, vec![b(h), b(x), b(&w.w1)]),
        ("bias_relu", units, vec![b(a), b(h), b(&w.b1)]),
        ("output", answers, vec![b(z), b(a), b(&w.w2)]),
        ("bias", answers, vec![b(y), b(z), b(&w.b2)]),
        ("row_max", rows, vec![b(m), b(y)]),
        ("exponent", answers, vec![b(e), b(y), b(m)]),
        ("row_sum", rows, vec![b(s), b(e)]),
        ("loss", one, vec![b(loss), b(y), b(m), b(s), b(labels)]),
        (
            "output_gradient",
            answers,
            vec![b(dy), b(e), b(s), b(labels), scale],
        ),
        (
            "w2_gradient",
            (HIDDEN * OUTPUTS, 64),
            vec![b(&g.w2), b(a), b(dy)],
        ),
        (
            "sum_columns",
            (OUTPUTS, OUTPUTS),
            vec![b(&g.b2), b(dy), columns(OUTPUTS)],
        ),
        ("hidden_gradient", units, vec![b(da), b(dy), b(&w.w2)]),
        ("relu_gradient", units, vec![b(dh), b(da), b(a)]),
        (
            "w1_gradient",
            (INPUTS * HIDDEN, 64),
            vec![b(&g.w1), b(x), b(dh)],
        ),
        (
            "sum_columns",
            (HIDDEN, 32),
            vec![b(&g.b1), b(dh), columns(HIDDEN)],
        ),
        (
            "momentum",
            (INPUTS * HIDDEN, 64),
            vec![b(&w.w1), b(&v.w1), b(&g.w1), rate, decay],
        ),
        (
            "momentum",
            (HIDDEN, 32),
            vec![b(&w.b1), b(&v.b1), b(&g.b1), rate, decay],
        ),
        (
            "momentum",
            (HIDDEN * OUTPUTS, 64),
            vec![b(&w.w2), b(&v.w2), b(&g.w2), rate, decay],
        ),
        (
            "momentum",
            (OUTPUTS, OUTPUTS),
            vec![b(&w.b2), b(&v.b2), b(&g.b2), rate, decay],
        ),
    ];
    list.into_iter()
        .map(|(name, (global, local), arguments)| {
            Ok(Launch {
                kernel: device.kernel(name)?,
                arguments,
                global,
                local,
            })
        })
        .collect()
}

/// An example's bytes, and its labels'.
fn examples(batch: &Batch) -> (Vec<u8>, Vec<u8>) {
    let labels = batch.labels.iter().flat_map(|label| label.to_ne_bytes());
    (bytes(&batch.x).to_vec(), labels.collect())
}

/// What each step does, in the device's memory.
struct Training<'a> {
    queue: &'a Queue,
    memory: &'a Memory,
    launches: Vec<Launch<'a>>,
    /// Of each batch.
    data: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Training<'a> {
    fn new(
        device: &Device,
        queue: &'a Queue,
        memory: &'a Memory,
        batches: &[Batch],
    ) -> Result<Self> {
        let launches = launches(device, memory)?;
        let arguments: usize = launches.iter().map(|launch| launch.arguments.len()).sum();
        assert_eq!((launches.len(), arguments), (LAUNCHES, ARGUMENTS));
        Ok(Training {
            queue,
            memory,
            launches,
            data: batches.iter().map(examples).collect(),
        })
    }

    /// Returns the loss of the step of this number.
    fn step(&self, number: usize) -> Result<f32> {
        let (queue, memory) = (self.queue, self.memory);
        let (x, labels) = &self.data[number % self.data.len()];
        let mut loss = [0; size_of::<f32>()];
        // SAFETY: nobody changes the data, which lives until the queue has finished below; an error ends the program.
        unsafe {
            queue.write_later(&memory.x, x)?;
            queue.write_later(&memory.labels, labels)?;
        }
        for launch in &self.launches {
            launch.kernel.set_all(&launch.arguments)?;
            queue.launch(&launch.kernel, launch.global, launch.local)?;
        }
        // SAFETY: the variable lives until the queue has finished, which is next; an error ends the program.
        unsafe { queue.read_later(&memory.loss, loss.as_mut_ptr(), loss.len())? };
        queue.finish()?;
        Ok(f32::from_ne_bytes(loss))
    }
}

/// The same training on the CPU.
struct Expected<'a> {
    mlp: Mlp,
    batches: &'a [Batch],
    steps: usize,
}

impl<'a> Expected<'a> {
    fn new(batches: &'a [Batch]) -> Self {
        Expected {
            mlp: Mlp::new(),
            batches,
            steps: 0,
        }
    }

    /// Compares the loss of the next step.
    fn check(&mut self, loss: f32) -> Result<()> {
        let number = self.steps;
        let expected = self.mlp.step(&self.batches[number % self.batches.len()]);
        self.steps += 1;
        // So that NaN is an error.
        match (loss - expected).abs() <= TOLERANCE {
            true => Ok(()),
            false => Err(format!("step {number}: the loss is {loss}, not {expected}").into()),
        }
    }
}

fn batches() -> Vec<Batch> {
    (0..BATCHES).map(Batch::new).collect()
}

pub fn run(bench: &Bench, device: &Device) -> Result<()> {
    let queue = device.queue()?;
    let memory = Memory::new(device, &queue)?;
    let batches = batches();
    let training = Training::new(device, &queue, &memory, &batches)?;
    let mut losses: Vec<f32> = Vec::new();
    bench.measure("training step, 90 calls", Unit::Ticks, |count| {
        timed(count, || {
            losses.push(training.step(losses.len())?);
            Ok(())
        })
    })?;

    let mut expected = Expected::new(&batches);
    losses.iter().try_for_each(|loss| expected.check(*loss))?;
    match losses.last() < losses.first() {
        true => Ok(()),
        false => Err("nothing was learnt".into()),
    }
}

/// So many steps, each one told of when its loss was compared.
pub fn replay(device: &Device, steps: usize) -> Result<()> {
    let queue = device.queue()?;
    let memory = Memory::new(device, &queue)?;
    let batches = batches();
    let training = Training::new(device, &queue, &memory, &batches)?;
    let mut expected = Expected::new(&batches);
    for number in 0..steps {
        expected.check(training.step(number)?)?;
        println!("replay: step={number}");
    }
    println!("replay: steps={steps} verified=yes");
    Ok(())
}
