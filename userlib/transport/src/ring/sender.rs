// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sending messages in one direction of a channel.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::area;
use super::counters::Space;
use super::layout::{self, Direction, Layout, Role};
use super::link::Link;
use super::record::{padded, Place, Record, RECORD_SIZE};
use super::shared::{Region, SharedWord};
use super::word::Word;
use crate::message::{Message, MessageKind, Outgoing};
use crate::Error;

pub(crate) struct Sender {
    link: Link<SharedWord>,
    direction: Direction,
    ring: Region,
    bulk: Region,
    space: Space<SharedWord>,
    bulk_space: Space<SharedWord>,
    producer: SharedWord,
    /// Counter up to which the receiver was woken.
    woken: u64,
    timeout: Option<Duration>,
}

impl Sender {
    /// The sending end of `role`, whose counters stand at 0.
    pub(super) fn new(
        channel: &Region,
        layout: &Layout,
        role: Role,
        link: Link<SharedWord>,
        timeout: Option<Duration>,
    ) -> Self {
        let direction = layout.direction(role);
        let (own, peer) = (role.block(), role.other().block());
        Sender {
            link,
            ring: channel.part(direction.ring, direction.ring_capacity),
            bulk: channel.part(direction.bulk, direction.bulk_capacity),
            space: Space::new(
                channel.word(peer + layout::CONSUMER),
                direction.ring_capacity,
            ),
            bulk_space: Space::new(
                channel.word(peer + layout::BULK_CONSUMER),
                direction.bulk_capacity,
            ),
            producer: channel.word(own + layout::PRODUCER),
            woken: 0,
            direction,
            timeout,
        }
    }

    fn send_inline(&mut self, message: Message, gather: &mut Gather<'_>) -> Result<(), Error> {
        let body = padded(message.len);
        self.await_space(RECORD_SIZE + body, 0)?;
        let mut place = self.put_record(Record {
            message,
            piece: message.len,
            place: Place::Inline,
        });
        let capacity = self.direction.ring_capacity;
        gather.take(u64::from(message.len), |mut bytes| {
            while !bytes.is_empty() {
                let offset = place % capacity;
                let fit = (capacity - offset).min(bytes.len() as u64);
                let (now, later) = bytes.split_at(fit as usize);
                self.ring.write(offset, now);
                place += fit;
                bytes = later;
            }
        });
        self.publish(RECORD_SIZE + body);
        Ok(())
    }

    fn send_piece(
        &mut self,
        message: Message,
        piece: u32,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error> {
        let slot = area::slot(
            self.bulk_space.produced(),
            piece.into(),
            self.bulk_space.capacity(),
        );
        self.await_space(RECORD_SIZE, slot.taken)?;
        let mut offset = slot.offset;
        gather.take(piece.into(), |bytes| {
            self.bulk.write(offset, bytes);
            offset += bytes.len() as u64;
        });
        self.bulk_space.produce(slot.taken);
        self.put_record(Record {
            message,
            piece,
            place: Place::Bulk,
        });
        self.publish(RECORD_SIZE);
        // Much to copy: let the receiver begin.
        self.flush()
    }

    /// Writes a record where there is space for it; returns the counter behind it.
    fn put_record(&self, record: Record) -> u64 {
        let counter = self.space.produced();
        self.ring
            .write(counter % self.direction.ring_capacity, &record.encode());
        counter + RECORD_SIZE
    }

    /// Makes the next `len` bytes of the ring visible to the receiver.
    fn publish(&mut self, len: u64) {
        self.space.produce(len);
        // Release: the record and its bytes come before the counter.
        self.producer
            .store(self.space.produced(), Ordering::Release);
    }

    fn await_space(&mut self, ring: u64, bulk: u64) -> Result<(), Error> {
        if self.space.fits(ring)? && self.bulk_space.fits(bulk)? {
            return Ok(());
        }
        // Who sleeps has told all it did.
        self.flush()?;
        let (space, bulk_space) = (&mut self.space, &mut self.bulk_space);
        self.link.wait(self.timeout, || {
            Ok((space.fits(ring)? && bulk_space.fits(bulk)?).then_some(()))
        })
    }
}

impl Outgoing for Sender {
    /// The receiver sees a posted message at once if it is awake; otherwise it is woken when
    /// much has come together.
    fn send(&mut self, message: Message, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        let mut gather = Gather::new(parts);
        if u64::from(message.len) <= self.direction.inline_max() {
            self.send_inline(message, &mut gather)?;
        } else {
            let mut left = message.len;
            while left > 0 {
                // At most a quarter of the area, which is less than 2^36.
                let piece = u64::from(left).min(self.direction.piece_max()) as u32;
                self.send_piece(message, piece, &mut gather)?;
                left -= piece;
            }
        }
        let unwoken = self.space.produced().wrapping_sub(self.woken);
        if message.kind != MessageKind::Posted || unwoken >= self.direction.ring_capacity / 4 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.woken != self.space.produced() {
            self.woken = self.space.produced();
            self.link.wake()?;
        }
        Ok(())
    }
}

/// Takes a message given in parts, a number of bytes at a time.
struct Gather<'a> {
    parts: std::slice::Iter<'a, IoSlice<'a>>,
    rest: &'a [u8],
}

impl<'a> Gather<'a> {
    fn new(parts: &'a [IoSlice<'a>]) -> Self {
        Gather {
            parts: parts.iter(),
            rest: &[],
        }
    }

    /// Gives the next `len` bytes, or what there is, to `put`.
    fn take(&mut self, mut len: u64, mut put: impl FnMut(&[u8])) {
        while len > 0 {
            if self.rest.is_empty() {
                match self.parts.next() {
                    Some(part) => self.rest = part,
                    None => return,
                }
            }
            let fit = len.min(self.rest.len() as u64);
            let (now, later) = self.rest.split_at(fit as usize);
            put(now);
            self.rest = later;
            len -= fit;
        }
    }
}
