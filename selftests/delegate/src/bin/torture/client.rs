// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clients: they call, look at each result, and say how it ended.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wormhole_delegate::{CallError, Caller, Path};

use crate::child::Child;
use crate::functions::{self, ADD, ECHO, GENERATION, KINDS, PARENT, POISON, STORMS, SUM};
use crate::random::Random;
use crate::{rebind, DEVICE, LONG, UNDER_WAY};

/// Before a server that does not answer is tried again.
const PAUSE: Duration = Duration::from_millis(20);
const GLANCE: Duration = Duration::from_millis(2);
/// For a server VM to be started anew.
const PATIENCE: Duration = Duration::from_secs(120);
const VERIFIED_CALLS: u64 = 1000;

/// When a client is content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Calls(u64),
    /// Of each kind.
    Storms(u64),
    Never,
}

/// Who ends a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Others,
    /// The round itself, by unbinding the device.
    Rebind,
}

/// Why calls have ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Content,
    /// Another thread has got an error.
    Stopped,
    Error(CallError),
    /// The library has turned to messages: what ended are the exitless calls.
    Ring,
    /// The result of this function is wrong.
    Wrong(u64, u64),
}

impl End {
    /// For the line that is printed; `None` if it was no error.
    fn error(self) -> Option<String> {
        match self {
            End::Error(CallError::Gone) => Some("gone".into()),
            End::Error(error) => Some(format!("{}", error.errno())),
            End::Ring => Some("ring".into()),
            End::Content | End::Stopped | End::Wrong(..) => None,
        }
    }
}

/// What the threads of a client share.
#[derive(Default)]
struct Progress {
    made: AtomicU64,
    added: AtomicU64,
    stop: AtomicBool,
}

/// A connected client, whose threads call.
struct Calls {
    caller: Arc<Caller>,
    progress: Arc<Progress>,
    threads: Vec<JoinHandle<End>>,
    /// The server's counter before, if the client knows of all that is added to it.
    counter: Option<u64>,
}

/// Waits for a server.
fn connect() -> Result<Arc<Caller>, String> {
    let start = Instant::now();
    loop {
        let why = match Caller::connect(DEVICE) {
            Ok(caller) if caller.path() == Path::Vmfunc => return Ok(Arc::new(caller)),
            Ok(_) => "exitless calls are refused".into(),
            Err(error) => error.to_string(),
        };
        if start.elapsed() > PATIENCE {
            return Err(format!("no server: {why}"));
        }
        thread::sleep(PAUSE);
    }
}

fn call(caller: &Caller, what: u64, a: u64, b: u64) -> Result<u64, CallError> {
    // SAFETY: The server's functions take any numbers; all signals of threads that call are blocked, and the others'
    // have no handlers.
    unsafe { caller.call([what, a, b, 0, 0, 0]) }
}

impl Calls {
    fn start(threads: u64, goal: Goal) -> Result<Self, String> {
        let caller = connect()?;
        let progress = Arc::new(Progress::default());
        let counter = match goal {
            // An error here is one of the calls below, too.
            Goal::Storms(_) => call(&caller, ADD, 0, 0).ok(),
            // What a client that was killed has called may still be under way.
            Goal::Calls(_) | Goal::Never => None,
        };
        let threads = (0..threads)
            .map(|_| {
                let (caller, progress) = (caller.clone(), progress.clone());
                thread::spawn(move || call_on(&caller, &progress, goal))
            })
            .collect();
        Ok(Calls {
            caller,
            progress,
            threads,
            counter,
        })
    }

    fn made(&self) -> u64 {
        self.progress.made.load(SeqCst)
    }

    fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until calls are under way, or have ended before.
    fn wait_until_under_way(&self) -> Result<(), String> {
        let start = Instant::now();
        while self.made() < UNDER_WAY && !self.have_ended() {
            if start.elapsed() > LONG {
                return Err(format!("HANG after {} calls", self.made()));
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Waits until all threads have ended; gives the error, if there was one.
    fn wait(self) -> Result<Option<String>, String> {
        let (mut made, mut since) = (self.made(), Instant::now());
        while !self.have_ended() {
            if self.made() != made {
                (made, since) = (self.made(), Instant::now());
            } else if since.elapsed() > LONG {
                return Err(format!("HANG after {made} calls"));
            }
            thread::sleep(GLANCE);
        }
        let made = self.made();
        let mut error = None;
        for thread in self.threads {
            let end = thread.join().map_err(|_| "a thread has panicked")?;
            if let End::Wrong(what, result) = end {
                return Err(format!("WRONG function={what} result={result:#x}"));
            }
            error = error.or(end.error());
        }
        if let (None, Some(before)) = (&error, self.counter) {
            let expected = before + self.progress.added.load(SeqCst);
            let counter = call(&self.caller, ADD, 0, 0).map_err(|error| error.to_string())?;
            if counter != expected {
                return Err(format!("WRONG counter={counter} expected={expected}"));
            }
        }
        println!(
            "ENDED calls={made} error={}",
            error.as_deref().unwrap_or("none")
        );
        Ok(error)
    }
}

/// No handler finds thread-local variables during a call.
fn block_signals() {
    // SAFETY: A set of signals, filled before it is used.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// A thread's calls.
fn call_on(caller: &Caller, progress: &Progress, goal: Goal) -> End {
    block_signals();
    let end = match calls(caller, progress, goal) {
        Ok(end) => end,
        Err(error) => End::Error(error),
    };
    if !matches!(end, End::Content) {
        progress.stop.store(true, SeqCst);
    }
    end
}

/// Most calls do little, so that most time is spent at the gate.
fn function(number: u64) -> u64 {
    match number % 64 {
        0 => PARENT,
        1 => SUM,
        2 | 18 | 34 | 50 => ADD,
        3 | 11 | 19 | 27 | 35 | 43 | 51 | 59 => GENERATION,
        _ => ECHO,
    }
}

fn calls(caller: &Caller, progress: &Progress, goal: Goal) -> Result<End, CallError> {
    let sum = functions::expected_sum();
    let (mut generation, mut counter, mut parent) = (0, 0, None);
    let first = storms(caller)?;
    for number in 0u64.. {
        if progress.stop.load(SeqCst) {
            return Ok(End::Stopped);
        }
        let content = match goal {
            Goal::Calls(calls) => progress.made.load(SeqCst) >= calls,
            Goal::Storms(count) if number % 64 == 0 => {
                let now = storms(caller)?;
                first
                    .iter()
                    .zip(now)
                    .all(|(first, now)| now >= first + count)
            }
            Goal::Storms(_) | Goal::Never => false,
        };
        if content {
            return Ok(End::Content);
        }
        let what = function(number);
        let argument = if what == ADD { number } else { number ^ 0x5555 };
        let result = call(caller, what, argument, number)?;
        let right = match what {
            ECHO => result == functions::echo(argument, number),
            SUM => result == sum,
            GENERATION => (generation..POISON).contains(&result),
            ADD => (counter + argument..POISON).contains(&result),
            _ => {
                (1..=1 + u64::from(u32::MAX)).contains(&result)
                    && *parent.get_or_insert(result) == result
            }
        };
        if !right {
            return Ok(End::Wrong(what, result));
        }
        match what {
            GENERATION => generation = result,
            ADD => {
                counter = result;
                progress.added.fetch_add(argument, SeqCst);
            }
            _ => {}
        }
        progress.made.fetch_add(1, SeqCst);
        if caller.path() != Path::Vmfunc {
            return Ok(End::Ring);
        }
    }
    Ok(End::Content)
}

fn storms(caller: &Caller) -> Result<[u64; KINDS], CallError> {
    let mut counts = [0; KINDS];
    for (kind, count) in counts.iter_mut().enumerate() {
        *count = call(caller, STORMS, kind as u64, 0)?;
    }
    Ok(counts)
}

/// Calls until the goal or an error; gives the error.
pub fn once(threads: u64, goal: Goal) -> Result<Option<String>, String> {
    Calls::start(threads, goal)?.wait()
}

/// Calls without an error.
pub fn verify(threads: u64) -> Result<(), String> {
    match once(threads, Goal::Calls(VERIFIED_CALLS))? {
        None => Ok(()),
        Some(error) => Err(format!("calls that nobody disturbed have failed: {error}")),
    }
}

/// Connects anew after each error.
pub fn rounds(threads: u64, rounds: u64, fault: Fault) -> Result<(), String> {
    let mut random = Random::new();
    for _ in 0..rounds {
        let calls = Calls::start(threads, Goal::Never)?;
        let unbound = match fault {
            Fault::Others => None,
            Fault::Rebind => {
                calls.wait_until_under_way()?;
                random.moment();
                Some(rebind::unbind()?)
            }
        };
        calls.wait()?.ok_or("calls have ended without an error")?;
        if let Some(unbound) = unbound {
            unbound.bind()?;
        }
    }
    Ok(())
}

/// Kills processes that call, one after the other. This one has no other thread, and has not called.
pub fn kill(threads: u64, rounds: u64) -> Result<(), String> {
    let mut random = Random::new();
    for round in 1..=rounds {
        let (mut ours, mut its) = UnixStream::pair().map_err(|error| error.to_string())?;
        let child = Child::fork(|| {
            let calls = Calls::start(threads, Goal::Never).and_then(|calls| {
                calls.wait_until_under_way()?;
                // The other side waits for that long.
                its.write_all(&[1]).map_err(|error| error.to_string())?;
                calls.wait()
            });
            println!("FAILED {calls:?}");
        })?;
        drop(its);
        ours.set_read_timeout(Some(LONG))
            .and_then(|()| ours.read_exact(&mut [0]))
            .map_err(|error| format!("no calls in the child: {error}"))?;
        random.moment();
        child.kill()?;
        println!("killed {round}");
    }
    Ok(())
}
