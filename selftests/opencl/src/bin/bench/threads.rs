// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Several threads at once, each with a queue, a kernel and buffers of its own.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::calls::Addition;
use crate::opencl::Device;
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

/// As many threads as there can be are in a call at the same time, each time that a line comes in;
/// between them nothing.
pub fn bursts(device: &Device) -> Result<()> {
    /// In which all calls have begun.
    const PAUSE: Duration = Duration::from_secs(1);
    /// What always goes on at home is called by message, until one call of so many is found not to.
    const AGAIN: usize = 64;
    let number = THREADS[THREADS.len() - 1];
    for line in std::io::stdin().lines() {
        line?;
        let event = device.user_event()?;
        let ready = Barrier::new(number + 1);
        let wait = || {
            ready.wait();
            event.wait().map_err(|error| error.to_string())
        };
        thread::scope(|scope| -> Result<()> {
            let waits: Vec<_> = (0..number).map(|_| scope.spawn(wait)).collect();
            ready.wait();
            thread::sleep(PAUSE);
            event.complete()?;
            for wait in waits {
                wait.join().map_err(|_| "a thread panicked")??;
            }
            Ok(())
        })?;
        (0..AGAIN).try_for_each(|_| event.wait())?;
        println!("burst: threads={number} verified=yes");
    }
    Ok(())
}

/// `count` calls, divided among threads. Returns the ticks from the first one's start to the last one's end.
fn at_once(
    additions: &mut [Addition],
    count: u64,
    call: fn(&Addition) -> Result<()>,
) -> Result<u64> {
    let threads = additions.len() as u64;
    let ready = Barrier::new(additions.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .zip(additions)
            .map(|(index, addition)| {
                // Together as many as were wanted.
                let share = count / threads + u64::from(index < count % threads);
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    let start = ticks::now();
                    let done = (0..share).try_for_each(|_| call(addition));
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
