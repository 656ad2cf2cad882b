// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What was posted is carried out soon, also if the program makes no call after it.
//!
//! A thread looks at the batch now and then, and delivers one that it has seen before. While
//! nobody posts it sleeps, so that it costs an idle program nothing; and whoever posts neither
//! reads a clock nor, unless the thread sleeps so, wakes anybody.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::lock;

/// Time between two looks: a batch is delivered when it is one to two of these old.
const LOOK: Duration = Duration::from_millis(20);
/// If so many looks in a row have found that calls deliver what is posted, the next one waits so
/// long: then a batch that no call delivers gets that old, and one more look.
const BUSY: u32 = 8;
const LATER: Duration = Duration::from_millis(80);
/// Longest that [`Watch::end`] waits for the thread.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something whose batch may get old.
pub(crate) trait Ages: Send + Sync + 'static {
    /// Delivers the batch if it is the one that `seen` is of.
    fn look(&self, seen: &mut Seen) -> Next;
}

/// When the thread looks next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When it is woken: nobody has posted since.
    Woken,
    Soon,
    /// Soon if a batch has `begun`; calls have delivered others since the last look.
    Busy {
        begun: bool,
    },
}

/// The batches of a client, under its lock.
#[derive(Debug)]
pub(crate) struct Age {
    /// Those that have been delivered.
    delivered: u64,
    /// The thread sleeps until somebody posts.
    asleep: bool,
}

/// What a look has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    delivered: u64,
    begun: bool,
}

/// What a look makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Old,
    /// One has begun.
    Young,
    /// One was delivered since the last look.
    Busy,
    /// Nothing is posted, nor was anything since the last look.
    Idle,
}

impl Age {
    pub(crate) fn new() -> Self {
        Age {
            delivered: 0,
            asleep: true,
        }
    }

    /// A batch begins. Whether [`Watch::wake`] is to be called.
    pub(crate) fn begin(&mut self) -> bool {
        std::mem::take(&mut self.asleep)
    }

    /// A batch was delivered.
    pub(crate) fn end(&mut self) {
        self.delivered = self.delivered.wrapping_add(1);
    }

    /// `begun`: there is a batch now.
    pub(crate) fn look(&mut self, begun: bool, seen: &mut Seen) -> Finding {
        let now = Seen {
            delivered: self.delivered,
            begun,
        };
        let before = std::mem::replace(seen, now);
        match (before == now, begun) {
            (true, true) => Finding::Old,
            (true, false) => {
                self.asleep = true;
                Finding::Idle
            }
            (false, _) if before.delivered != now.delivered => Finding::Busy,
            (false, _) => Finding::Young,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Somebody has posted while the thread slept.
    rung: bool,
    /// It is to end.
    over: bool,
    ended: bool,
}

#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

/// The thread.
pub(crate) struct Watch(Mutex<Thread>);

enum Thread {
    NotYet,
    Runs(Arc<Bell>),
    /// There is none, nor will there be.
    None,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Watch(Mutex::new(Thread::NotYet))
    }

    /// Somebody has posted while the thread slept. Where there can be no thread, what is posted
    /// waits for the next call.
    #[cold]
    pub(crate) fn wake<A: Ages>(&self, of: &Weak<A>) {
        let mut thread = lock(&self.0);
        match &*thread {
            Thread::NotYet => *thread = start(of.clone()).map_or(Thread::None, Thread::Runs),
            Thread::Runs(bell) => bell.change(|state| state.rung = true),
            Thread::None => {}
        }
    }

    /// Has the thread end, and waits for that.
    pub(crate) fn end(&self) {
        if let Some(bell) = self.take() {
            bell.end();
        }
    }

    fn take(&self) -> Option<Arc<Bell>> {
        match std::mem::replace(&mut *lock(&self.0), Thread::None) {
            Thread::Runs(bell) => Some(bell),
            Thread::NotYet | Thread::None => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(bell) = self.take() {
            // It may be this very thread.
            bell.change(|state| state.over = true);
        }
    }
}

impl Bell {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Sleeps while `asleep`, or for so long. False if the thread is to end.
    fn sleep(&self, limit: Duration, asleep: impl Fn(&State) -> bool) -> bool {
        let asleep = |state: &mut State| !state.over && asleep(state);
        let slept = self
            .changed
            .wait_timeout_while(lock(&self.state), limit, asleep);
        let (mut state, _) = slept.unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        !state.over
    }

    fn end(&self) {
        self.change(|state| state.over = true);
        let running = |state: &mut State| !state.ended;
        // It may be in a call, of a server that does not answer.
        let _ = self
            .changed
            .wait_timeout_while(lock(&self.state), PATIENCE, running);
    }
}

fn start<A: Ages>(of: Weak<A>) -> Option<Arc<Bell>> {
    let bell = Arc::<Bell>::default();
    let its = bell.clone();
    let watch = move || {
        watch(&its, &of);
        drop(of);
        its.change(|state| state.ended = true);
    };
    let thread = std::thread::Builder::new().name("wormhole".into());
    // The program's signals are for its own threads.
    let started = with_signals_blocked(|| thread.spawn(watch));
    started.ok().map(|_| bell)
}

fn watch<A: Ages>(bell: &Bell, of: &Weak<A>) {
    loop {
        let (mut seen, mut busy, mut pause) = (Seen::default(), 0u32, LOOK);
        loop {
            if !bell.sleep(pause, |_| true) {
                return;
            }
            let Some(client) = of.upgrade() else { return };
            (busy, pause) = match client.look(&mut seen) {
                Next::Woken => break,
                Next::Soon => (0, LOOK),
                Next::Busy { begun: false } if busy >= BUSY => (busy, LATER),
                Next::Busy { .. } => (busy.saturating_add(1), LOOK),
            };
        }
        if !bell.sleep(Duration::MAX, |state| !state.rung) {
            return;
        }
    }
}

/// A new thread inherits what is blocked.
fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: sets of signals, filled before they are used.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let started = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        started
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_look_finds() {
        let (mut age, mut seen) = (Age::new(), Seen::default());
        assert!(age.begin() && !age.begin(), "the thread is woken once");
        assert_eq!(age.look(true, &mut seen), Finding::Young);
        assert_eq!(age.look(true, &mut seen), Finding::Old);
        age.end();
        assert_eq!(age.look(false, &mut seen), Finding::Busy);
        assert!(!age.begin());
        assert_eq!(age.look(true, &mut seen), Finding::Young);
        // Delivered by itself between two looks, and another one begun.
        age.end();
        assert_eq!(age.look(true, &mut seen), Finding::Busy);
        age.end();
        assert_eq!(age.look(false, &mut seen), Finding::Busy);
        assert_eq!(age.look(false, &mut seen), Finding::Idle);
        assert!(age.begin());
    }

    /// Whatever comes between, a batch is delivered as long as the thread looks, and it looks as
    /// long as there is one.
    #[test]
    fn every_short_history() {
        #[derive(Clone, Copy)]
        struct World {
            delivered: u64,
            asleep: bool,
            begun: bool,
            seen: Seen,
            looks: u32,
        }
        fn explore(world: World, depth: u32) {
            assert!(!world.begun || !world.asleep, "nobody looks at a batch");
            assert!(world.looks <= 2, "a batch that is old stays");
            if depth == 0 {
                return;
            }
            for step in 0..3 {
                let mut next = world;
                let mut age = Age {
                    delivered: world.delivered,
                    asleep: world.asleep,
                };
                let mut deliver = |age: &mut Age| {
                    age.end();
                    (next.begun, next.looks) = (false, 0);
                };
                match step {
                    0 if !world.begun => {
                        age.begin();
                        (next.begun, next.looks) = (true, 0);
                    }
                    1 if world.begun => deliver(&mut age),
                    2 if !world.asleep => match age.look(world.begun, &mut next.seen) {
                        Finding::Old => deliver(&mut age),
                        Finding::Young | Finding::Busy | Finding::Idle => {
                            next.looks += u32::from(world.begun)
                        }
                    },
                    _ => continue,
                }
                (next.delivered, next.asleep) = (age.delivered, age.asleep);
                explore(next, depth - 1);
            }
        }
        let world = World {
            delivered: 0,
            asleep: true,
            begun: false,
            seen: Seen::default(),
            looks: 0,
        };
        explore(world, 12);
    }
}
