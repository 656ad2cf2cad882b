// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server, and what may befall it.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use wormhole_delegate::{Error, Listener, Options};

use crate::child::Child;
use crate::functions::{calls, entry};
use crate::random::Random;
use crate::{rebind, DEVICE, LONG, UNDER_WAY};

/// Before the device is opened again that could not be, or has gone.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves clients, each on a thread of its own, for ever.
pub fn serve() -> ! {
    loop {
        if let Err(error) = serve_device() {
            println!("{error}");
        }
        thread::sleep(PAUSE);
    }
}

/// Until the device is lost, or a client that was about to be taken in.
fn serve_device() -> Result<(), Error> {
    let mut listener = Listener::open(DEVICE)?;
    loop {
        let service = listener.accept()?;
        thread::spawn(|| {
            if let Err(error) = service.run(entry, Options::default()) {
                println!("a client was lost: {error}");
            }
        });
    }
}

/// Waits for calls, and then for some moment while they go on.
fn wait_for_calls(random: &mut Random) -> Result<(), String> {
    let goal = calls().load(SeqCst) + UNDER_WAY;
    let start = Instant::now();
    while calls().load(SeqCst) < goal {
        if start.elapsed() > LONG {
            return Err("nobody calls".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    random.moment();
    Ok(())
}

/// Kills processes that serve, one after the other. This one has no other thread, and has served nobody.
pub fn kill(rounds: u64) -> Result<(), String> {
    let mut random = Random::new();
    for round in 1..=rounds {
        let child = Child::fork(|| serve())?;
        wait_for_calls(&mut random)?;
        child.kill()?;
        println!("killed {round}");
    }
    Ok(())
}

/// Takes the device away time and again, from another thread.
pub fn rebind(rounds: u64) {
    thread::spawn(move || {
        let mut random = Random::new();
        for round in 1..=rounds {
            let done = wait_for_calls(&mut random).and_then(|()| rebind::unbind()?.bind());
            match done {
                Ok(()) => println!("bound again {round}"),
                Err(error) => return println!("FAILED {error}"),
            }
        }
    });
}
