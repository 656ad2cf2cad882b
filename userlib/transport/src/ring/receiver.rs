// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Receiving messages in one direction of a channel.

use std::io;
use std::time::{Duration, Instant};

use super::area;
use super::counters::{Consumed, Filling};
use super::layout::{self, Direction, Layout, Role};
use super::link::Link;
use super::record::{padded, Place, Record, RECORD_LEN, RECORD_SIZE};
use super::shared::{Region, SharedWord};
use crate::limits::check_len;
use crate::message::{Incoming, Message};
use crate::Error;

pub(crate) struct Receiver {
    link: Link<SharedWord>,
    direction: Direction,
    ring: Region,
    bulk: Region,
    filling: Filling<SharedWord>,
    bulk_consumed: Consumed<SharedWord>,
    /// Longest message accepted.
    max: u32,
    /// How long the beginning of a message may take, and how long its rest.
    patience: Option<Duration>,
    timeout: Option<Duration>,
    /// When messages must be there, whatever else is said of waiting.
    deadline: Option<Instant>,
}

impl Receiver {
    /// The receiving end of `role`, whose counters stand at 0.
    pub(super) fn new(
        channel: &Region,
        layout: &Layout,
        role: Role,
        link: Link<SharedWord>,
        max: u32,
        (patience, timeout): (Option<Duration>, Option<Duration>),
    ) -> Self {
        let direction = layout.direction(role.other());
        let (own, peer) = (role.block(), role.other().block());
        Receiver {
            link,
            ring: channel.part(direction.ring, direction.ring_capacity),
            bulk: channel.part(direction.bulk, direction.bulk_capacity),
            filling: Filling::new(
                channel.word(peer + layout::PRODUCER),
                channel.word(own + layout::CONSUMER),
                direction.ring_capacity,
            ),
            bulk_consumed: Consumed::new(channel.word(own + layout::BULK_CONSUMER)),
            direction,
            max,
            patience,
            timeout,
            deadline: None,
        }
    }

    fn next_record(&mut self, patience: Option<Duration>) -> Result<Record, Error> {
        if self.filling.available()? == 0 {
            // Who sleeps has told all it did.
            self.release()?;
            let filling = &mut self.filling;
            self.link
                .wait(patience, || Ok((filling.available()? > 0).then_some(())))?;
        }
        self.check_available(RECORD_SIZE)?;
        let mut bytes = [0; RECORD_LEN];
        self.ring.read(
            self.filling.consumed() % self.direction.ring_capacity,
            &mut bytes,
        );
        Record::decode(bytes)
    }

    /// Takes the record that was just read, and its piece.
    fn take_piece(&mut self, record: Record, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let piece = u64::from(record.piece);
        if bytes.len() as u64 + piece > u64::from(record.message.len) {
            return Err(Error::Protocol("a piece that does not fit its message"));
        }
        match record.place {
            Place::Inline => {
                if piece > self.direction.inline_max() {
                    return Err(Error::Protocol("a piece too long for the ring"));
                }
                let size = RECORD_SIZE + padded(record.piece);
                self.check_available(size)?;
                let capacity = self.direction.ring_capacity;
                let offset = (self.filling.consumed() + RECORD_SIZE) % capacity;
                let fit = piece.min(capacity - offset);
                append(&self.ring, offset, fit, bytes)?;
                append(&self.ring, 0, piece - fit, bytes)?;
                self.filling.consume(size);
            }
            Place::Bulk => {
                if piece > self.direction.piece_max() {
                    return Err(Error::Protocol("a piece too long for the bulk area"));
                }
                let slot = area::slot(
                    self.bulk_consumed.count(),
                    piece,
                    self.direction.bulk_capacity,
                );
                append(&self.bulk, slot.offset, piece, bytes)?;
                self.bulk_consumed.consume(slot.taken);
                self.filling.consume(RECORD_SIZE);
            }
        }
        let much = self.filling.unreleased() >= self.direction.ring_capacity / 4
            || self.bulk_consumed.unreleased() >= self.direction.bulk_capacity / 4;
        if much {
            self.release()?;
        }
        Ok(())
    }

    fn check_available(&mut self, size: u64) -> Result<(), Error> {
        if self.filling.available()? < size {
            return Err(Error::Protocol("a producer counter within a record"));
        }
        Ok(())
    }

    /// Gives the sender its space back. Not after each record: a sender that
    /// waits for space is to be woken for a good part of it.
    fn release(&mut self) -> Result<(), Error> {
        if self.filling.unreleased() == 0 && self.bulk_consumed.unreleased() == 0 {
            return Ok(());
        }
        self.filling.release();
        self.bulk_consumed.release();
        self.link.wake()
    }
}

impl Incoming for Receiver {
    fn receive(
        &mut self,
        accept: impl FnOnce(Message) -> Result<(), Error>,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Message>, Error> {
        bytes.clear();
        let first = match self.next_record(sooner(self.patience, self.deadline)) {
            Ok(record) => record,
            Err(Error::PeerGone) => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = first.message;
        check_len(message.len, self.max)?;
        accept(message)?;
        self.take_piece(first, bytes)?;
        // Never more than `message.len`, which is a u32: see `take_piece`.
        while bytes.len() < message.len as usize {
            let record = self.next_record(sooner(self.timeout, self.deadline))?;
            if record.message != message {
                return Err(Error::Protocol("a message within another"));
            }
            self.take_piece(record, bytes)?;
        }
        Ok(Some(message))
    }

    fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.deadline = deadline;
        Ok(())
    }
}

/// How long a wait may take that is bounded by both.
fn sooner(timeout: Option<Duration>, deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match (timeout, left) {
        (Some(timeout), Some(left)) => Some(timeout.min(left)),
        (timeout, left) => timeout.or(left),
    }
}

fn append(from: &Region, offset: u64, len: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
    from.append_to(offset, len, bytes)
        .map_err(|_| Error::Io(io::ErrorKind::OutOfMemory.into()))
}
