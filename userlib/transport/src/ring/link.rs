// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting for the other side, and waking it.

use std::hint;
use std::io;
use std::time::{Duration, Instant};

use super::doorbell::Doorbell;
use super::sleep::{Reason, Sleeper, Waker};
use super::word::Word;
use crate::Error;

/// A side's doorbell and sleep words.
pub(super) struct Link<W, D: ?Sized = dyn Doorbell> {
    sleeper: Sleeper<W>,
    waker: Waker<W>,
    /// Event word when it was last looked at.
    seen: u32,
    closed: bool,
    spins: u32,
    doorbell: Box<D>,
}

impl<W: Word, D: Doorbell + ?Sized> Link<W, D> {
    /// `own` and `peer` are the sleep words of both sides; `seen` is an event
    /// word that this side has reacted to.
    pub(super) fn new(own: W, peer: W, doorbell: Box<D>, seen: u32, spins: u32) -> Self {
        Link {
            sleeper: Sleeper::new(own),
            waker: Waker::new(peer),
            seen,
            closed: false,
            spins,
            doorbell,
        }
    }

    /// Rings if the other side sleeps for `reason`; to be called after the
    /// counter in question was stored.
    pub(super) fn wake(&mut self, reason: Reason) -> Result<(), Error> {
        if self.waker.must_ring(reason) {
            self.doorbell.notify()?;
        }
        Ok(())
    }

    /// Waits until `look` finds something. The other side's end is reported
    /// only when `look` finds nothing after it.
    ///
    /// # Errors
    /// [`Error::PeerGone`]; [`Error::TimedOut`] after `timeout`; those of `look`.
    pub(super) fn wait<T>(
        &mut self,
        reason: Reason,
        timeout: Option<Duration>,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let mut deadline = None;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            for _ in 0..self.spins {
                hint::spin_loop();
                if let Some(found) = look()? {
                    return Ok(found);
                }
            }
            if self.closed {
                return Err(Error::PeerGone);
            }
            let left = match timeout {
                Some(timeout) => {
                    let now = Instant::now();
                    let deadline = *deadline.get_or_insert(now + timeout);
                    let left = deadline.saturating_duration_since(now);
                    if left.is_zero() {
                        return Err(Error::TimedOut);
                    }
                    Some(left)
                }
                None => None,
            };
            self.sleeper.announce(reason);
            let looked = look();
            if !matches!(looked, Ok(None)) {
                self.sleeper.withdraw();
                if let Some(found) = looked? {
                    return Ok(found);
                }
            }
            match self.doorbell.wait(self.seen, left) {
                Ok(wake) => {
                    self.seen = wake.event;
                    self.closed = wake.closed;
                }
                // The next round looks once more before it gives up.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // The memory may have gone with the device: leave it alone.
                Err(error) => return Err(error.into()),
            }
            self.sleeper.withdraw();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::IoSlice;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;

    use rustix::io::Errno;

    use super::super::doorbell::Wake;
    use super::super::layout::{self, Layout, Role};
    use super::super::receiver::Receiver;
    use super::super::record::{Message, MessageKind};
    use super::super::sender::Sender;
    use super::super::shared::{Region, SharedWord};
    use super::*;

    const SIZE: u64 = 256 << 10;

    /// Counts notifications; waiting fails as on a device that has gone.
    struct Counting(Arc<AtomicU32>);

    impl Doorbell for Counting {
        fn notify(&mut self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn wait(&mut self, _: u32, _: Option<Duration>) -> io::Result<Wake> {
            Err(Errno::NODEV.into())
        }
    }

    fn channel() -> Region {
        let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, SIZE).unwrap();
        Region::map(file, SIZE).unwrap()
    }

    fn sleep_word(channel: &Region, role: Role) -> SharedWord {
        channel.word(role.block() + layout::SLEEP)
    }

    fn link(channel: &Region) -> (Link<SharedWord>, Arc<AtomicU32>) {
        let rung = Arc::new(AtomicU32::new(0));
        let bell = Box::new(Counting(Arc::clone(&rung)));
        let own = sleep_word(channel, Role::Client);
        let peer = sleep_word(channel, Role::Server);
        (Link::new(own, peer, bell, 0, 0), rung)
    }

    #[test]
    fn a_batch_costs_a_sleeper_one_ring_and_one_awake_none() {
        let channel = channel();
        let (mut link, rung) = link(&channel);
        let layout = Layout::new(SIZE).unwrap();
        let mut sender = Sender::new(&channel, &layout, Role::Client, None);
        let mut sequence = 0;
        let mut batch = |link: &mut _| {
            for _ in 0..10 {
                let message = Message {
                    kind: MessageKind::Posted,
                    sequence,
                    len: 6,
                };
                sequence += 1;
                sender
                    .send(link, message, &[IoSlice::new(b"posted")])
                    .unwrap();
            }
            let before = rung.load(Ordering::Relaxed);
            sender.flush(link).unwrap();
            sender.flush(link).unwrap();
            (before, rung.swap(0, Ordering::Relaxed))
        };
        let mut server = Sleeper::new(sleep_word(&channel, Role::Server));
        assert_eq!(batch(&mut link), (0, 0), "awake");
        server.announce(Reason::Data);
        assert_eq!(batch(&mut link), (0, 1), "asleep");
        assert_eq!(batch(&mut link), (0, 0), "rung for, not yet awake");
        server.withdraw();
        server.announce(Reason::Space);
        assert_eq!(batch(&mut link), (0, 0), "asleep for something else");
        server.announce(Reason::Data);
        assert_eq!(batch(&mut link), (0, 1), "asleep again");
    }

    fn posted(len: u32) -> Message {
        Message {
            kind: MessageKind::Posted,
            sequence: 0,
            len,
        }
    }

    #[test]
    fn a_sender_about_to_sleep_rings_for_what_it_sent() {
        let channel = channel();
        let (mut link, rung) = link(&channel);
        let layout = Layout::new(SIZE).unwrap();
        let mut sender = Sender::new(&channel, &layout, Role::Client, None);
        let mut server = Sleeper::new(sleep_word(&channel, Role::Server));
        let bytes = [0; 480];
        let mut send = || sender.send(&mut link, posted(480), &[IoSlice::new(&bytes)]);
        // All but the last of 33 records of 496 bytes that fit into 16 KiB.
        for _ in 0..32 {
            send().unwrap();
        }
        server.announce(Reason::Data);
        send().unwrap();
        assert_eq!(rung.load(Ordering::Relaxed), 0, "not for so little");
        assert!(matches!(send(), Err(Error::PeerGone)), "it had to sleep");
        assert_eq!(rung.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_receiver_about_to_sleep_releases_what_it_took() {
        let channel = channel();
        let layout = Layout::new(SIZE).unwrap();
        let (mut link, _) = link(&channel);
        let mut sender = Sender::new(&channel, &layout, Role::Server, None);
        let message = Message {
            kind: MessageKind::Reply,
            ..posted(6)
        };
        sender
            .send(&mut link, message, &[IoSlice::new(b"answer")])
            .unwrap();
        let mut receiver = Receiver::new(&channel, &layout, Role::Client, 100, None);
        let consumer = channel.word(Role::Client.block() + layout::CONSUMER);
        let mut receive = || receiver.receive(&mut link, None, |_| Ok(()), &mut Vec::new());
        assert_eq!(receive().unwrap(), Some(message));
        assert_eq!(consumer.load(Ordering::Relaxed), 0, "not for so little");
        assert_eq!(receive().unwrap(), None, "it had to sleep");
        assert_eq!(consumer.load(Ordering::Relaxed), 32);
    }

    /// The mapping may go with the device, so it must not be touched then.
    #[test]
    fn a_device_that_went_is_an_end_without_another_look() {
        let channel = channel();
        let (mut link, _) = link(&channel);
        let mut looks = 0;
        let waited = link.wait(Reason::Data, None, || {
            looks += 1;
            Ok(None::<()>)
        });
        assert!(matches!(waited, Err(Error::PeerGone)));
        assert_eq!(looks, 2);
        let own = sleep_word(&channel, Role::Client).load(Ordering::Relaxed);
        assert_ne!(own, 0, "the announcement stands");
    }
}
