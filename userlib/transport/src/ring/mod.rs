// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `ring`: messages through memory that both ends see.
//!
//! A channel carries requests from the client to the server and replies back.
//! Each direction has a *message ring* of records and a *bulk area* for what
//! is too long for the ring. A record announces a whole message or a piece of
//! one, and its bytes follow it in the ring or stand in the bulk area. A piece
//! in the bulk area is contiguous, so that it can be used where it lies; a
//! message longer than that travels as several pieces. The last three quarters of the
//! channel, but for the size of the counts, are [`Spare`](crate::Spare).
//!
//! # Layout
//! The first page holds the words that steer the channel, all of 8 bytes and
//! little-endian. The drivers own it up to `WORMHOLE_CHANNEL_DRIVER_SIZE`;
//! then come the server's words and, 256 bytes on, the client's:
//!
//! | offset | written by that side |
//! |---|---|
//! | 0 | hello: a random number of this connection |
//! | 8 | echo: the other side's hello |
//! | 16 | version (low half), longest message it accepts (high half) |
//! | 24 | size of the channel in bytes |
//! | 64 | producer: bytes it has put into its message ring |
//! | 128 | consumer: bytes it has taken out of the other side's message ring |
//! | 136 | bulk consumer: bytes it has taken out of the other side's bulk area |
//! | 192 | data sleep: 0, or the ticket of a sleep until the other side produces |
//! | 200 | space sleep: 0, or the ticket of a sleep until the other side consumes |
//!
//! Behind that page are the [`Counts`]. [`layout::Layout`] says where rings and
//! bulk areas lie. Counters run freely from 0; a place is the counter modulo the
//! capacity. No word has two writers, and each side keeps its own words' values
//! outside the window.
//!
//! # Sleep
//! Of each side one thread sends and one receives. One that finds nothing to do
//! looks again a few times, stores a new ticket in its sleep word, fences, looks
//! once more and then sleeps in the [`Doorbell`](doorbell::Doorbell). The other
//! side, having moved a counter, fences and rings only if there is a ticket in the
//! word for that counter that it did not answer yet. So who is awake costs the
//! other side no doorbell, and who sleeps costs one.
//! Who is about to sleep first tells all it did: a receiver what it consumed, a
//! sender what it produced. So the two never wait for each other, however much
//! either keeps to itself while it is awake.
//!
//! # Trust
//! The other side can change every byte at any time. Words and records are
//! copied out once and checked against what this side knows; a contradiction
//! is [`Error::Protocol`](crate::Error::Protocol). Only [`shared`] touches the
//! memory, and it checks every access against the size of the mapping.

mod area;
mod channel;
mod counters;
mod counts;
mod data;
pub(crate) mod device;
mod doorbell;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hello;
mod layout;
mod link;
pub(crate) mod memfd;
mod receiver;
mod record;
mod sender;
mod shared;
mod sleep;
mod spare;
mod word;

pub use counts::Counts;
pub use data::DataArea;
pub use spare::{Spare, SpareWord};

#[cfg(all(test, not(loom)))]
mod hostile_tests;
#[cfg(all(test, loom))]
mod loom_tests;
