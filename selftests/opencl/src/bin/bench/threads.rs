// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Several threads at once, each with a queue, a kernel and buffers of its own.

use std::sync::Barrier;
use std::thread;

use crate::calls::Addition;
use crate::opencl::{Buffer, Device, Queue};
use crate::rounds::{Bench, Unit};
use crate::{ticks, Result};

const THREADS: [usize; 4] = [1, 2, 4, 8];

pub fn run(bench: &Bench, device: &Device) -> Result<()> {
    type Call = fn(&Addition) -> Result<()>;
    let calls: [(&str, Call); 2] = [
        ("clFinish", |addition| addition.queue.finish()),
        ("vadd and clFinish", Addition::add),
    ];
    for (what, call) in calls {
        for number in THREADS {
            let mut additions = (0..number)
                .map(|_| Addition::new(device))
                .collect::<Result<Vec<_>>>()?;
            let threads = if number == 1 { "thread" } else { "threads" };
            bench.measure(
                &format!("{what}, {number} {threads}"),
                Unit::PerMegatick,
                |count| at_once(&mut additions, count, call),
            )?;
            for addition in &additions {
                addition.add()?;
                addition.check()?;
            }
        }
    }
    Ok(())
}

/// What a thread of a burst writes, again and again: enough for others to be let run in the middle
/// of it.
struct Transfer {
    queue: Queue,
    buffer: Buffer,
    data: Vec<u8>,
}

const TRANSFER: usize = 256 << 10;

impl Transfer {
    fn new(device: &Device, number: usize) -> Result<Self> {
        Ok(Transfer {
            queue: device.queue()?,
            buffer: device.buffer(TRANSFER)?,
            data: (0..TRANSFER)
                .map(|i| (i * (2 * number + 1)) as u8)
                .collect(),
        })
    }

    fn write(&self) -> Result<()> {
        self.queue.write(&self.buffer, &self.data)
    }

    fn check(&self) -> Result<()> {
        let mut seen = vec![0; TRANSFER];
        self.queue.read(&self.buffer, &mut seen)?;
        match seen == self.data {
            true => Ok(()),
            false => Err("a transfer arrived as another one".into()),
        }
    }
}

/// As many threads as there can be, each time that a line comes in; between them nothing.
pub fn bursts(device: &Device) -> Result<()> {
    const CALLS: u64 = 64;
    let number = THREADS[THREADS.len() - 1];
    let mut transfers = (0..number)
        .map(|number| Transfer::new(device, number))
        .collect::<Result<Vec<_>>>()?;
    for line in std::io::stdin().lines() {
        line?;
        at_once(&mut transfers, CALLS, Transfer::write)?;
        for transfer in &transfers {
            transfer.check()?;
        }
        println!("burst: threads={number} verified=yes");
    }
    Ok(())
}

/// `count` calls, divided among threads. Returns the ticks from the first one's start to the last one's end.
fn at_once<T: Send>(each: &mut [T], count: u64, call: fn(&T) -> Result<()>) -> Result<u64> {
    let threads = each.len() as u64;
    let ready = Barrier::new(each.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .zip(each)
            .map(|(index, its)| {
                // Together as many as were wanted.
                let share = count / threads + u64::from(index < count % threads);
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    let start = ticks::now();
                    let done = (0..share).try_for_each(|_| call(its));
                    done.map_err(|error| error.to_string())?;
                    std::result::Result::<_, String>::Ok((start, ticks::now()))
                })
            })
            .collect();
        let (mut start, mut end) = (u64::MAX, 0);
        for worker in workers {
            let (started, ended) = worker.join().map_err(|_| "a thread panicked")??;
            start = start.min(started);
            end = end.max(ended);
        }
        Ok(end - start)
    })
}
