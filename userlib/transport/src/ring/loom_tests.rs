// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The counters and the sleep protocol under loom, which runs every order of
//! accesses that the memory model allows (up to a number of preemptions). A
//! lost wake-up shows as a deadlock, a counter without its data as a race on a
//! cell.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --lib loom`

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::counters::{Filling, Space};
use super::doorbell::{Doorbell, Wake};
use super::link::Link;
use super::word::Word;
use crate::Error;

impl Word for Arc<AtomicU64> {
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }

    fn fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

type SharedWord = Arc<AtomicU64>;

/// A side's event word and whether the other side is gone.
#[derive(Default)]
struct Events {
    state: Mutex<(u32, bool)>,
    changed: Condvar,
}

struct Bell {
    own: Arc<Events>,
    peer: Arc<Events>,
}

impl Doorbell for Bell {
    fn notify(&self) -> io::Result<()> {
        self.peer.state.lock().unwrap().0 += 1;
        self.peer.changed.notify_one();
        Ok(())
    }

    fn wait(&self, seen: u32, timeout: Option<Duration>) -> io::Result<Wake> {
        assert!(timeout.is_none(), "no model has a clock");
        let mut state = self.own.state.lock().unwrap();
        while state.0 == seen && !state.1 {
            state = self.own.changed.wait(state).unwrap();
        }
        Ok(Wake {
            event: state.0,
            closed: state.1,
        })
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.peer.state.lock().unwrap().1 = true;
        self.peer.changed.notify_one();
    }
}

/// A ring of numbers between two threads.
struct Sender {
    link: Link<SharedWord, Bell>,
    space: Space<SharedWord>,
    producer: SharedWord,
    cells: Arc<Vec<UnsafeCell<u64>>>,
}

impl Sender {
    /// Makes `number` visible, but wakes nobody.
    fn publish(&mut self, number: u64) {
        let space = &mut self.space;
        let fits = || Ok(space.fits(1)?.then_some(()));
        self.link.wait(None, fits).unwrap();
        let place = self.space.produced() % self.space.capacity();
        // SAFETY: a free cell is the sender's; loom checks that it is.
        self.cells[place as usize].with_mut(|cell| unsafe { *cell = number });
        self.space.produce(1);
        Word::store(&self.producer, self.space.produced(), Ordering::Release);
    }

    fn wake(&mut self) {
        self.link.wake().unwrap();
    }
}

struct Receiver {
    link: Link<SharedWord, Bell>,
    filling: Filling<SharedWord>,
    cells: Arc<Vec<UnsafeCell<u64>>>,
}

impl Receiver {
    fn receive(&mut self) -> Result<u64, Error> {
        if self.filling.available()? == 0 {
            self.release()?;
            let filling = &mut self.filling;
            let available = || Ok((filling.available()? > 0).then_some(()));
            self.link.wait(None, available)?;
        }
        let place = self.filling.consumed() % self.cells.len() as u64;
        // SAFETY: a filled cell is the receiver's; loom checks that it is.
        let number = self.cells[place as usize].with(|cell| unsafe { *cell });
        self.filling.consume(1);
        Ok(number)
    }

    fn release(&mut self) -> Result<(), Error> {
        if self.filling.unreleased() > 0 {
            self.filling.release();
            self.link.wake()?;
        }
        Ok(())
    }
}

fn ring(capacity: u64) -> (Sender, Receiver) {
    let word = || Arc::new(AtomicU64::new(0));
    let (producer, consumer) = (word(), word());
    let (sender_sleep, receiver_sleep) = (word(), word());
    let (sender_events, receiver_events) = <(Arc<Events>, Arc<Events>)>::default();
    let cells = (0..capacity).map(|_| UnsafeCell::new(0)).collect();
    let cells = Arc::new(cells);
    let bell = |own: &Arc<Events>, peer: &Arc<Events>| {
        std::sync::Arc::new(Bell {
            own: own.clone(),
            peer: peer.clone(),
        })
    };
    let sender = Sender {
        link: Link::new(
            sender_sleep.clone(),
            receiver_sleep.clone(),
            bell(&sender_events, &receiver_events),
            0,
            0,
        ),
        space: Space::new(consumer.clone(), capacity),
        producer: producer.clone(),
        cells: Arc::clone(&cells),
    };
    let receiver = Receiver {
        link: Link::new(
            receiver_sleep,
            sender_sleep,
            bell(&receiver_events, &sender_events),
            0,
            0,
        ),
        filling: Filling::new(producer, consumer, capacity),
        cells,
    };
    (sender, receiver)
}

fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

#[test]
fn loom_no_wakeup_for_data_is_lost() {
    model(3, || {
        let (mut sender, mut receiver) = ring(2);
        let thread = thread::spawn(move || {
            for number in 1..=2 {
                sender.publish(number);
                sender.wake();
            }
            sender
        });
        assert_eq!(receiver.receive().unwrap(), 1);
        assert_eq!(receiver.receive().unwrap(), 2);
        thread.join().unwrap();
    });
}

#[test]
fn loom_one_wakeup_serves_a_batch() {
    model(3, || {
        let (mut sender, mut receiver) = ring(2);
        let thread = thread::spawn(move || {
            sender.publish(1);
            sender.publish(2);
            sender.wake();
            sender
        });
        assert_eq!(receiver.receive().unwrap(), 1);
        assert_eq!(receiver.receive().unwrap(), 2);
        thread.join().unwrap();
    });
}

#[test]
fn loom_no_wakeup_for_space_is_lost() {
    model(3, || {
        let (mut sender, mut receiver) = ring(1);
        let thread = thread::spawn(move || {
            for number in 1..=2 {
                sender.publish(number);
                sender.wake();
            }
            sender
        });
        assert_eq!(receiver.receive().unwrap(), 1);
        assert_eq!(receiver.receive().unwrap(), 2);
        thread.join().unwrap();
    });
}

#[test]
fn loom_what_was_sent_before_the_end_arrives() {
    model(3, || {
        let (mut sender, mut receiver) = ring(2);
        let thread = thread::spawn(move || sender.publish(1));
        assert_eq!(receiver.receive().unwrap(), 1);
        assert!(matches!(receiver.receive(), Err(Error::PeerGone)));
        thread.join().unwrap();
    });
}

#[test]
fn loom_a_sleeping_sender_learns_of_the_end() {
    model(3, || {
        let (mut sender, receiver) = ring(1);
        let thread = thread::spawn(move || drop(receiver));
        sender.publish(1);
        let space = &mut sender.space;
        let fits = || Ok(space.fits(1)?.then_some(()));
        let waited = sender.link.wait(None, fits);
        assert!(matches!(waited, Err(Error::PeerGone)));
        thread.join().unwrap();
    });
}
