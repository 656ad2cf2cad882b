// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who sleeps for what, so that nobody rings for one who is awake.

use std::sync::atomic::Ordering;

use super::word::Word;

/// A sleep word of this side's.
pub(super) struct Sleeper<W> {
    word: W,
    ticket: u64,
}

impl<W: Word> Sleeper<W> {
    pub(super) fn new(word: W) -> Self {
        Sleeper { word, ticket: 0 }
    }

    /// Announces sleep. The caller must look once more at what it waits for
    /// before it sleeps: from here on, whatever that look misses is rung for.
    pub(super) fn announce(&mut self) {
        self.ticket += 1;
        self.word.store(self.ticket, Ordering::Relaxed);
        // Either the look that follows sees the other side's counter, or the
        // other side's look after its own fence sees this word.
        W::fence();
    }

    /// Takes the announcement back.
    pub(super) fn withdraw(&mut self) {
        self.word.store(0, Ordering::Relaxed);
    }
}

/// A sleep word of the other side's.
pub(super) struct Waker<W> {
    word: W,
    /// Announcement that was rung for already.
    answered: u64,
}

impl<W: Word> Waker<W> {
    pub(super) fn new(word: W) -> Self {
        Waker { word, answered: 0 }
    }

    /// Whether the other side sleeps and must be rung for, after a counter was
    /// stored. Says so once for each announcement.
    pub(super) fn must_ring(&mut self) -> bool {
        W::fence();
        let word = self.word.load(Ordering::Relaxed);
        if word == 0 || word == self.answered {
            return false;
        }
        self.answered = word;
        true
    }
}
