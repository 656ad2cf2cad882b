// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Beginning a connection over a channel that others used before.
//!
//! Each side sets its own words to their start and then shows a random number,
//! its *hello*; it repeats the other's as its *echo*. Who sees its own number
//! as the other's echo knows that the other is there now and has set its words,
//! since nobody can have known the number before. What an earlier connection
//! left in the other's words may be echoed too, and harms nothing.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::doorbell::Doorbell;
use super::layout::{self, Layout, Role};
use super::shared::{Region, SharedWord};
use super::word::Word;
use crate::{random, Error, Limits};

/// Version of everything in this folder that the other side sees.
pub(super) const VERSION: u32 = 4;

/// What the greeting found out.
#[derive(Clone, Copy)]
pub(super) struct Greeting {
    /// Longest message that the other side accepts.
    pub(super) accepted: u32,
    /// Event word that this side has reacted to.
    pub(super) seen: u32,
}

/// Greets the other side within `limits.connect_timeout`.
pub(super) fn greet(
    channel: &Region,
    layout: &Layout,
    role: Role,
    doorbell: &dyn Doorbell,
    limits: &Limits,
) -> Result<Greeting, Error> {
    let deadline = Instant::now() + limits.connect_timeout;
    let own = |offset| channel.word(role.block() + offset);
    let peer = |offset| channel.word(role.other().block() + offset);

    own(layout::HELLO).store(0, Ordering::Relaxed);
    for offset in [
        layout::ECHO,
        layout::PRODUCER,
        layout::CONSUMER,
        layout::BULK_CONSUMER,
        layout::DATA_SLEEP,
        layout::SPACE_SLEEP,
    ] {
        own(offset).store(0, Ordering::Relaxed);
    }
    let version = u64::from(VERSION) | (u64::from(limits.max_message) << 32);
    own(layout::VERSION).store(version, Ordering::Relaxed);
    own(layout::SIZE).store(layout.size(), Ordering::Relaxed);
    let hello = random()?;
    // Release: whoever sees the number sees the words set.
    own(layout::HELLO).store(hello, Ordering::Release);
    doorbell.notify()?;

    let (peer_hello, peer_echo) = (peer(layout::HELLO), peer(layout::ECHO));
    let own_echo = own(layout::ECHO);
    let mut seen = look(doorbell)?;
    let mut echoed = 0;
    let mut closed = false;
    loop {
        // In this order: what the peer's hello is once it echoes ours is final.
        let met = peer_echo.load(Ordering::Acquire) == hello;
        echoed = echo(&peer_hello, &own_echo, echoed, doorbell)?;
        if met && echoed != 0 {
            break;
        }
        if closed {
            return Err(Error::PeerGone);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TimedOut);
        }
        let wake = doorbell.wait(seen, Some(left))?;
        seen = wake.event;
        closed = wake.closed;
    }

    let version = peer(layout::VERSION).load(Ordering::Relaxed);
    let (theirs, accepted) = (version as u32, (version >> 32) as u32);
    if theirs != VERSION {
        return Err(Error::Version {
            ours: VERSION,
            theirs,
        });
    }
    if peer(layout::SIZE).load(Ordering::Relaxed) != layout.size() {
        return Err(Error::Protocol("the two sides see channels of unlike size"));
    }
    Ok(Greeting { accepted, seen })
}

/// Repeats the peer's hello if it is a new one.
fn echo(
    peer_hello: &SharedWord,
    own_echo: &SharedWord,
    echoed: u64,
    doorbell: &dyn Doorbell,
) -> Result<u64, Error> {
    let hello = peer_hello.load(Ordering::Acquire);
    if hello != 0 && hello != echoed {
        own_echo.store(hello, Ordering::Release);
        doorbell.notify()?;
        return Ok(hello);
    }
    Ok(echoed)
}

/// The event word now.
fn look(doorbell: &dyn Doorbell) -> Result<u32, Error> {
    // A word that differs from `seen` is returned at once, and so is none that
    // equals it: either way the answer is the word, or that it is 0.
    match doorbell.wait(0, Some(std::time::Duration::ZERO)) {
        Ok(wake) => Ok(wake.event),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(0),
        Err(error) => Err(error.into()),
    }
}
