// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting for the other side, and waking it.

use std::hint;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::doorbell::Doorbell;
use super::sleep::{Sleeper, Waker};
use super::word::Word;
use crate::Error;

/// What one direction sleeps in and wakes the other side by: its own sleep word, the other
/// side's for what this one does, and the doorbell.
pub(super) struct Link<W, D: ?Sized = dyn Doorbell> {
    sleeper: Sleeper<W>,
    waker: Waker<W>,
    /// Event word when it was last looked at.
    seen: u32,
    closed: bool,
    spins: u32,
    doorbell: Arc<D>,
}

impl<W: Word, D: Doorbell + ?Sized> Link<W, D> {
    /// `own` and `peer` are sleep words of the two sides; `seen` is an event word
    /// that this side has reacted to.
    pub(super) fn new(own: W, peer: W, doorbell: Arc<D>, seen: u32, spins: u32) -> Self {
        Link {
            sleeper: Sleeper::new(own),
            waker: Waker::new(peer),
            seen,
            closed: false,
            spins,
            doorbell,
        }
    }

    /// Rings if the other side sleeps; to be called after the counter in
    /// question was stored.
    pub(super) fn wake(&mut self) -> Result<(), Error> {
        if self.waker.must_ring() {
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
            self.sleeper.announce();
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
    use super::super::sender::Sender;
    use super::super::shared::{Region, SharedWord};
    use super::*;
    use crate::message::{Incoming, Message, MessageKind, Outgoing};

    const SIZE: u64 = 256 << 10;

    /// Counts notifications; waiting fails as on a device that has gone.
    struct Counting(Arc<AtomicU32>);

    impl Doorbell for Counting {
        fn notify(&self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn wait(&self, _: u32, _: Option<Duration>) -> io::Result<Wake> {
            Err(Errno::NODEV.into())
        }
    }

    fn channel() -> Region {
        let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, SIZE).unwrap();
        Region::map(file, SIZE).unwrap()
    }

    /// The server's thread that waits for what the client sends.
    fn server(channel: &Region) -> Sleeper<SharedWord> {
        Sleeper::new(channel.word(Role::Server.block() + layout::DATA_SLEEP))
    }

    /// Of the client's that sends, or of that which receives.
    fn link(channel: &Region, own: u64, peer: u64) -> (Link<SharedWord>, Arc<AtomicU32>) {
        let rung = Arc::new(AtomicU32::new(0));
        let bell = Arc::new(Counting(Arc::clone(&rung)));
        let own = channel.word(Role::Client.block() + own);
        let peer = channel.word(Role::Server.block() + peer);
        (Link::new(own, peer, bell, 0, 0), rung)
    }

    fn sender(channel: &Region) -> (Sender, Arc<AtomicU32>) {
        let (link, rung) = link(channel, layout::SPACE_SLEEP, layout::DATA_SLEEP);
        let layout = Layout::new(SIZE).unwrap();
        let sender = Sender::new(channel, &layout, Role::Client, link, None);
        (sender, rung)
    }

    #[test]
    fn a_batch_costs_a_sleeper_one_ring_and_one_awake_none() {
        let channel = channel();
        let (mut sender, rung) = sender(&channel);
        let mut sequence = 0;
        let mut batch = || {
            for _ in 0..10 {
                let message = Message {
                    kind: MessageKind::Posted,
                    sequence,
                    len: 6,
                };
                sequence += 1;
                sender.send(message, &[IoSlice::new(b"posted")]).unwrap();
            }
            let before = rung.load(Ordering::Relaxed);
            sender.flush().unwrap();
            sender.flush().unwrap();
            (before, rung.swap(0, Ordering::Relaxed))
        };
        let mut server = server(&channel);
        assert_eq!(batch(), (0, 0), "awake");
        server.announce();
        assert_eq!(batch(), (0, 1), "asleep");
        assert_eq!(batch(), (0, 0), "rung for, not yet awake");
        server.withdraw();
        let space = channel.word(Role::Server.block() + layout::SPACE_SLEEP);
        Sleeper::new(space).announce();
        assert_eq!(batch(), (0, 0), "another sleeps, for space");
        server.announce();
        assert_eq!(batch(), (0, 1), "asleep again");
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
        let (mut sender, rung) = sender(&channel);
        let mut server = server(&channel);
        let bytes = [0; 480];
        let mut send = || sender.send(posted(480), &[IoSlice::new(&bytes)]);
        // All but the last of 33 records of 496 bytes that fit into 16 KiB.
        for _ in 0..32 {
            send().unwrap();
        }
        server.announce();
        send().unwrap();
        assert_eq!(rung.load(Ordering::Relaxed), 0, "not for so little");
        assert!(matches!(send(), Err(Error::PeerGone)), "it had to sleep");
        assert_eq!(rung.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_receiver_about_to_sleep_releases_what_it_took() {
        let channel = channel();
        let layout = Layout::new(SIZE).unwrap();
        let (of_sender, _) = link(&channel, layout::SPACE_SLEEP, layout::DATA_SLEEP);
        let mut sender = Sender::new(&channel, &layout, Role::Server, of_sender, None);
        let message = Message {
            kind: MessageKind::Reply,
            ..posted(6)
        };
        sender.send(message, &[IoSlice::new(b"answer")]).unwrap();
        let (link, _) = link(&channel, layout::DATA_SLEEP, layout::SPACE_SLEEP);
        let times = (None, None);
        let mut receiver = Receiver::new(&channel, &layout, Role::Client, link, 100, times);
        let consumer = channel.word(Role::Client.block() + layout::CONSUMER);
        let mut receive = || receiver.receive(|_| Ok(()), &mut Vec::new());
        assert_eq!(receive().unwrap(), Some(message));
        assert_eq!(consumer.load(Ordering::Relaxed), 0, "not for so little");
        assert_eq!(receive().unwrap(), None, "it had to sleep");
        assert_eq!(consumer.load(Ordering::Relaxed), 32);
    }

    /// The mapping may go with the device, so it must not be touched then.
    #[test]
    fn a_device_that_went_is_an_end_without_another_look() {
        let channel = channel();
        let (mut link, _) = link(&channel, layout::DATA_SLEEP, layout::SPACE_SLEEP);
        let mut looks = 0;
        let waited = link.wait(None, || {
            looks += 1;
            Ok(None::<()>)
        });
        assert!(matches!(waited, Err(Error::PeerGone)));
        assert_eq!(looks, 2);
        let own = channel.word(Role::Client.block() + layout::DATA_SLEEP);
        assert_ne!(own.load(Ordering::Relaxed), 0, "the announcement stands");
    }
}
