// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A channel whose other side does what a fuzzer says: by one thread, so that the same deeds always
//! end alike.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::MemfdFlags;

use super::channel::{Channel, Ends};
use super::doorbell::{Doorbell, Wake};
use super::hello::Greeting;
use super::layout::{self, Layout, Role};
use super::shared::Region;
use super::spare::Spare;
use super::word::Word;
use crate::answers::Answers;
use crate::calls::Calls;
use crate::{Client, Error, Limits, Server};

/// The smallest channel, so that everything wraps soon.
const SIZE: u64 = 256 << 10;
/// Words that the other side owns, once both have greeted.
const WORDS: [u64; 5] = [
    layout::PRODUCER,
    layout::CONSUMER,
    layout::BULK_CONSUMER,
    layout::DATA_SLEEP,
    layout::SPACE_SLEEP,
];

/// Something that the other side does.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Sets one of its words.
    Word(u8, u64),
    /// Writes at an offset of its ring, as far as there is room.
    Ring(u16, Vec<u8>),
    /// Writes at an offset of its bulk area, as far as there is room.
    Bulk(u16, Vec<u8>),
    /// Lets this side go on, until it waits or wakes the other one.
    Pause,
}

/// The other side, which does what is due whenever this one waits for it or wakes it.
struct Hostile {
    memory: Region,
    layout: Layout,
    role: Role,
    rest: Mutex<Rest>,
}

struct Rest {
    deeds: std::vec::IntoIter<Deed>,
    event: u32,
}

impl Hostile {
    fn go_on(&self) -> Wake {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.event = rest.event.wrapping_add(1);
        let direction = self.layout.direction(self.role);
        for deed in rest.deeds.by_ref() {
            match deed {
                Deed::Word(word, value) => {
                    let word = WORDS[usize::from(word) % WORDS.len()];
                    let word = self.memory.word(self.role.block() + word);
                    word.store(value, Ordering::Relaxed);
                }
                Deed::Ring(at, bytes) => {
                    self.write(direction.ring, direction.ring_capacity, at, &bytes);
                }
                Deed::Bulk(at, bytes) => {
                    self.write(direction.bulk, direction.bulk_capacity, at, &bytes);
                }
                Deed::Pause => break,
            }
        }
        Wake {
            event: rest.event,
            closed: rest.deeds.len() == 0,
        }
    }

    fn write(&self, area: u64, capacity: u64, at: u16, bytes: &[u8]) {
        let at = u64::from(at) % capacity;
        let room = bytes.len().min((capacity - at) as usize);
        self.memory.write(area + at, &bytes[..room]);
    }
}

impl Doorbell for Hostile {
    fn notify(&self) -> io::Result<()> {
        self.go_on();
        Ok(())
    }

    fn wait(&self, _: u32, _: Option<Duration>) -> io::Result<Wake> {
        Ok(self.go_on())
    }
}

fn channel(role: Role, deeds: Vec<Deed>) -> Result<Channel, Error> {
    let file = rustix::fs::memfd_create("wormhole-fuzz", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, SIZE)?;
    let (memory, layout) = (Region::map(&file, SIZE)?, Layout::new(SIZE)?);
    let hostile = Hostile {
        memory: memory.clone(),
        layout,
        role,
        rest: Mutex::new(Rest {
            deeds: deeds.into_iter(),
            event: 0,
        }),
    };
    Ok(Channel {
        memory,
        layout,
        doorbell: Arc::new(hostile),
    })
}

/// The ends of a new channel after a greeting. Messages of at most `max` bytes are accepted.
fn ends(role: Role, deeds: Vec<Deed>, max: u32) -> Result<Ends, Error> {
    let limits = Limits {
        max_message: max,
        spins: 0,
        ..Limits::default()
    };
    let greeting = Greeting {
        accepted: max,
        seen: 0,
    };
    let channel = channel(role.other(), deeds)?;
    Ok(channel.greeted(greeting, role, &limits, None))
}

/// A server whose client does these things, and then goes.
///
/// # Errors
/// Those of the system.
pub fn server(deeds: Vec<Deed>, max: u32) -> Result<impl Server, Error> {
    let ends = ends(Role::Server, deeds, max)?;
    Ok(Answers::new(ends.max_send, ends.sender, ends.receiver))
}

/// A client whose server does these things, and then goes.
///
/// # Errors
/// Those of the system.
pub fn client(deeds: Vec<Deed>, max: u32) -> Result<impl Client, Error> {
    let ends = ends(Role::Client, deeds, max)?;
    Ok(Calls::new(
        "ring",
        ends.max_send,
        ends.sender,
        ends.receiver,
    ))
}

/// The memory beside the messages of a new channel.
///
/// # Errors
/// Those of the system.
pub fn spare() -> Result<Spare, Error> {
    Ok(Spare::new(&channel(Role::Client, Vec::new())?, None))
}
