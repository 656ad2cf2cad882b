// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The two ends of a ring buffer, as counters of bytes that run freely.

use std::sync::atomic::Ordering;

use super::word::Word;
use crate::Error;

/// What the producer of a buffer knows of its space.
///
/// # Invariants
/// `freed <= produced <= freed + capacity`, all modulo 2^64.
pub(super) struct Space<W> {
    /// The other side's consumer counter.
    consumer: W,
    capacity: u64,
    produced: u64,
    freed: u64,
}

impl<W: Word> Space<W> {
    pub(super) fn new(consumer: W, capacity: u64) -> Self {
        Space {
            consumer,
            capacity,
            produced: 0,
            freed: 0,
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes put into the buffer so far.
    pub(super) fn produced(&self) -> u64 {
        self.produced
    }

    /// Whether `len` bytes fit, after a look at the other side's counter if
    /// they did not.
    pub(super) fn fits(&mut self, len: u64) -> Result<bool, Error> {
        if len > self.free() {
            self.refresh()?;
        }
        Ok(len <= self.free())
    }

    /// Counts `len` bytes, which must fit, as produced.
    pub(super) fn produce(&mut self, len: u64) {
        debug_assert!(len <= self.free());
        self.produced = self.produced.wrapping_add(len);
    }

    fn used(&self) -> u64 {
        self.produced.wrapping_sub(self.freed)
    }

    fn free(&self) -> u64 {
        self.capacity - self.used()
    }

    fn refresh(&mut self) -> Result<(), Error> {
        // Acquire: its reads of these bytes come before our next writes there.
        let consumed = self.consumer.load(Ordering::Acquire);
        if consumed.wrapping_sub(self.freed) > self.used() {
            return Err(Error::Protocol("a consumer counter outside its range"));
        }
        self.freed = consumed;
        Ok(())
    }
}

/// What the consumer of a message ring knows of its filling.
///
/// # Invariants
/// `released <= consumed <= produced <= released + capacity`, modulo 2^64.
pub(super) struct Filling<W> {
    /// The other side's producer counter.
    producer: W,
    capacity: u64,
    produced: u64,
    consumed: Consumed<W>,
}

impl<W: Word> Filling<W> {
    pub(super) fn new(producer: W, consumer: W, capacity: u64) -> Self {
        Filling {
            producer,
            capacity,
            produced: 0,
            consumed: Consumed::new(consumer),
        }
    }

    /// Bytes taken out of the buffer so far.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.count()
    }

    /// Bytes that can be taken out, after a look at the other side's counter
    /// if there were none.
    pub(super) fn available(&mut self) -> Result<u64, Error> {
        if self.known() == 0 {
            self.refresh()?;
        }
        Ok(self.known())
    }

    /// Counts `len` bytes, which must be available, as consumed.
    pub(super) fn consume(&mut self, len: u64) {
        debug_assert!(len <= self.known());
        self.consumed.consume(len);
    }

    /// Bytes consumed that the producer was not told of.
    pub(super) fn unreleased(&self) -> u64 {
        self.consumed.unreleased()
    }

    /// Tells the producer what was consumed.
    pub(super) fn release(&mut self) {
        self.consumed.release();
    }

    fn known(&self) -> u64 {
        self.produced.wrapping_sub(self.consumed.count())
    }

    fn refresh(&mut self) -> Result<(), Error> {
        // Acquire: what it counts was written before it counted it.
        let produced = self.producer.load(Ordering::Acquire);
        let room = self.capacity - self.consumed.unreleased() - self.known();
        if produced.wrapping_sub(self.produced) > room {
            return Err(Error::Protocol("a producer counter outside its range"));
        }
        self.produced = produced;
        Ok(())
    }
}

/// A consumer's counter, and how much of it the producer knows.
///
/// # Invariants
/// `released <= consumed`, modulo 2^64.
pub(super) struct Consumed<W> {
    /// This side's consumer counter, as shared.
    consumer: W,
    consumed: u64,
    released: u64,
}

impl<W: Word> Consumed<W> {
    pub(super) fn new(consumer: W) -> Self {
        Consumed {
            consumer,
            consumed: 0,
            released: 0,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.consumed
    }

    pub(super) fn consume(&mut self, len: u64) {
        self.consumed = self.consumed.wrapping_add(len);
    }

    pub(super) fn unreleased(&self) -> u64 {
        self.consumed.wrapping_sub(self.released)
    }

    pub(super) fn release(&mut self) {
        // Release: our reads of these bytes come before the producer's writes.
        self.consumer.store(self.consumed, Ordering::Release);
        self.released = self.consumed;
    }
}
