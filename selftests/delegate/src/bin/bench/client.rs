// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client's side: what is measured, and how often.

use std::hint::black_box;

use wormhole_delegate::{Caller, Path};
use wormhole_transport::Endpoint;

use crate::counters::{Counters, Meter};
use crate::one_thread::OneThread;
use crate::{ring, rows, ticks, Result, NULL, PARENT};

const ROUNDS: usize = 5;
const CALLS: u64 = 100_000;
/// Of calls by messages that wake nobody.
const MESSAGES: u64 = 20_000;
/// Of what wakes the other VM.
const WAKES: u64 = 500;

const ARGUMENTS: [u64; 5] = [2, 3, 4, 5, 6];

const DELEGATED: &str = "Linux: delegated null call, by the library";
const ASLEEP: &str = "Linux: null call by ring, server asleep";
const AWAKE: &str = "Linux: null call by ring, both ends, none waits";
const HOP: &str = "Linux: hop home for getppid(), round trip";

/// Of one round.
struct Round {
    /// Ticks of it all.
    took: u64,
    /// Ticks of a call, without those of the loop around it.
    ticks: f64,
    counted: Counters,
}

struct Bench {
    meter: Meter,
}

impl Bench {
    /// `count` calls, five times, after `count` that only warm up.
    fn rounds(&self, count: u64, mut call: impl FnMut() -> Result<u64>) -> Result<Vec<Round>> {
        let expected = call()?;
        let mut round = || {
            let empty = ticks::empty_loop(count);
            let (took, counted) = self.meter.count(|| {
                let mut sum = 0u64;
                let start = ticks::now();
                for _ in 0..count {
                    sum = sum.wrapping_add(black_box(call()?));
                }
                let took = ticks::now() - start;
                match sum == expected.wrapping_mul(count) {
                    true => Ok(took),
                    false => Err("a call has another result than the first".into()),
                }
            })?;
            Ok(Round {
                took,
                ticks: took.saturating_sub(empty) as f64 / count as f64,
                counted,
            })
        };
        round()?;
        (0..ROUNDS).map(|_| round()).collect()
    }

    fn delegated(&self, call: impl FnMut() -> Result<u64>) -> Result<()> {
        let rounds = self.rounds(CALLS, call)?;
        ticks_row(
            DELEGATED,
            &rounds,
            Some("delegated null call, user to user"),
        );
        // Linux itself exits now and then, for its timer for one.
        let idle = rounds
            .iter()
            .map(|round| {
                self.meter.count(|| {
                    ticks::spin(round.took);
                    Ok(())
                })
            })
            .collect::<Result<Vec<_>>>()?;
        type Side = fn(&Counters) -> u64;
        let sides: [(&str, Side); 2] = [
            ("client VM", |counted| counted.client),
            ("server VM", |counted| counted.server),
        ];
        for (vm, side) in sides {
            let name = format!("Linux: exits in an empty loop as long, {vm}");
            let values: Vec<_> = idle.iter().map(|((), idle)| side(idle) as f64).collect();
            rows::print(&name, "exits", &values, None);
            let calls = format!("Linux: exits per 100,000 delegated calls, {vm}");
            let values: Vec<_> = rounds.iter().map(|r| side(&r.counted) as f64).collect();
            rows::print(&calls, "exits", &values, Some(&name));
        }
        let values: Vec<_> = rounds.iter().map(|r| r.counted.resumes as f64).collect();
        rows::print(
            "Linux: RESUME per 100,000 delegated calls",
            "calls",
            &values,
            None,
        );
        Ok(())
    }

    /// Calls that wake the other VM, and the exits of both VMs.
    fn waking(&self, name: &str, baseline: &str, call: impl FnMut() -> Result<u64>) -> Result<()> {
        let rounds = self.rounds(WAKES, call)?;
        ticks_row(name, &rounds, Some(baseline));
        let exits: Vec<_> = rounds
            .iter()
            .map(|r| (r.counted.client + r.counted.server) as f64 / WAKES as f64)
            .collect();
        rows::print(&format!("{name}: exits per call"), "exits", &exits, None);
        Ok(())
    }
}

fn ticks_row(name: &str, rounds: &[Round], baseline: Option<&str>) {
    let values: Vec<_> = rounds.iter().map(|round| round.ticks).collect();
    rows::print(name, "tsc", &values, baseline);
}

fn words(what: u64) -> [u64; 6] {
    let [b, c, d, e, f] = black_box(ARGUMENTS);
    [what, b, c, d, e, f]
}

pub fn run(device: &str) -> Result<()> {
    let bench = Bench {
        meter: Meter::new()?,
    };

    let caller = Caller::connect(device)?;
    let exitless = |what| {
        // SAFETY: the server's function takes any words, and this program has no signal handlers.
        Ok(unsafe { caller.call(words(what)) }?)
    };
    bench.delegated(|| exitless(NULL))?;
    let hops = caller.hops();
    bench.waking(HOP, ASLEEP, || exitless(PARENT))?;
    let hops = caller.hops() - hops;
    if caller.path() != Path::Vmfunc || hops < (1 + ROUNDS as u64) * WAKES {
        return Err(format!("calls did not go as they were to: {hops} hops").into());
    }
    drop(caller);

    let config = ring::asleep(Endpoint::Ring(device.into()));
    let mut client = wormhole_transport::connect(&config)?;
    let mut reply = Vec::new();
    bench.waking(ASLEEP, DELEGATED, || {
        ring::call(client.as_mut(), words(NULL), &mut reply)
    })?;
    drop(client);

    let mut both = OneThread::new()?;
    let rounds = bench.rounds(MESSAGES, || both.call(words(NULL)))?;
    ticks_row(AWAKE, &rounds, Some(DELEGATED));
    Ok(())
}
