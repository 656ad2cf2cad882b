// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A peer that breaks the rules of the ring in every way it can: the other end
//! must come to an error at worst, as soon as it is alone, and with no more
//! memory than the bytes that came.

use std::io::IoSlice;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::channel::{Channel, Ends, RingClient, RingServer};
use super::doorbell::Doorbell;
use super::hello::VERSION;
use super::layout::{self, Layout, Role};
use super::memfd::{connect_over, offer, take_offer};
use super::record::{Place, Record, RECORD_LEN};
use super::shared::Region;
use super::word::Word;
use crate::message::{Incoming, Message, MessageKind, Outgoing};
use crate::{Client, Error, Kind, Limits, Server};

/// The smallest channel, so that everything wraps soon.
const SIZE: u64 = 256 << 10;
const MAX: u32 = 1 << 20;

fn limits() -> Limits {
    Limits {
        max_message: MAX,
        ..Limits::default()
    }
}

/// For the hostile side, which must not wait for what it spoiled itself.
fn impatient() -> Limits {
    Limits {
        timeout: Some(Duration::from_millis(5)),
        ..limits()
    }
}

/// How long it waits for what the honest side does.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

/// How the honest side fared.
struct Outcome {
    requests: usize,
    end: Result<(), Error>,
    capacity: usize,
}

/// A side that knows the whole channel.
struct Hostile {
    memory: Region,
    layout: Layout,
    role: Role,
    doorbell: Arc<dyn Doorbell>,
    ends: Ends,
}

impl Hostile {
    fn greet(channel: Channel, role: Role) -> Self {
        Hostile {
            memory: channel.memory.clone(),
            layout: channel.layout,
            role,
            doorbell: channel.doorbell.clone(),
            ends: channel.greet(role, &impatient(), PATIENCE).unwrap(),
        }
    }

    fn set(&self, word: u64, value: u64) {
        let word = self.memory.word(self.role.block() + word);
        word.store(value, Ordering::SeqCst);
    }

    /// Puts a record at the start of the ring, with the producer behind
    /// `published` bytes.
    fn put(&self, record: &[u8; RECORD_LEN], published: u64) {
        let ring = self.layout.direction(self.role).ring;
        self.memory.write(ring, record);
        self.set(layout::PRODUCER, published);
    }

    fn send(&mut self, kind: MessageKind, sequence: u32, bytes: &[u8]) {
        let message = Message {
            kind,
            sequence,
            len: bytes.len() as u32,
        };
        // It may fail, by what was done to the channel before.
        let sender = &mut self.ends.sender;
        let _ = sender.send(message, &[IoSlice::new(bytes)]);
        let _ = sender.flush();
    }
}

/// Serves whoever greets.
fn serve(greeted: Result<RingServer, Error>) -> Outcome {
    let mut outcome = Outcome {
        requests: 0,
        end: Ok(()),
        capacity: 0,
    };
    let mut server = match greeted {
        Ok(server) => server,
        Err(error) => {
            outcome.end = Err(error);
            return outcome;
        }
    };
    let mut request = Vec::new();
    loop {
        let received = server.receive(&mut request);
        outcome.capacity = outcome.capacity.max(request.capacity());
        let done = match received {
            Ok(Some(Kind::Call)) => server.reply(&[IoSlice::new(&request)]),
            Ok(Some(Kind::Posted)) => Ok(()),
            Ok(None) => return outcome,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            outcome.end = Err(error);
            return outcome;
        }
        outcome.requests += 1;
    }
}

/// An honest server against a hostile client.
fn against_server(act: impl FnOnce(&mut Hostile)) -> Outcome {
    let (a, b) = UnixStream::pair().unwrap();
    let server: JoinHandle<Outcome> = thread::spawn(move || {
        let channel = offer(a, SIZE).unwrap();
        serve(channel.serve(&limits()))
    });
    let mut hostile = Hostile::greet(take_offer(b).unwrap(), Role::Client);
    act(&mut hostile);
    drop(hostile);
    server.join().unwrap()
}

/// An honest client against a hostile server.
fn against_client(act: impl FnOnce(&mut Hostile)) -> Outcome {
    let (a, b) = UnixStream::pair().unwrap();
    let client: JoinHandle<Outcome> = thread::spawn(move || {
        let mut outcome = Outcome {
            requests: 0,
            end: Ok(()),
            capacity: 0,
        };
        let client = match connect_over(b, &limits()) {
            Ok((client, _)) => client,
            Err(error) => {
                outcome.end = Err(error);
                return outcome;
            }
        };
        let mut reply = Vec::new();
        for i in 0..20u8 {
            let request = vec![i; usize::from(i) * 9000];
            let done = client
                .post(&[IoSlice::new(&request)])
                .and_then(|()| client.call(&[IoSlice::new(&request)], &mut reply));
            outcome.capacity = outcome.capacity.max(reply.capacity());
            if let Err(error) = done {
                outcome.end = Err(error);
                return outcome;
            }
            outcome.requests += 1;
        }
        outcome
    });
    let mut hostile = Hostile::greet(offer(a, SIZE).unwrap(), Role::Server);
    act(&mut hostile);
    drop(hostile);
    client.join().unwrap()
}

fn record(kind: MessageKind, len: u32, piece: u32, place: Place) -> [u8; RECORD_LEN] {
    let message = Message {
        kind,
        sequence: 0,
        len,
    };
    Record {
        message,
        piece,
        place,
    }
    .encode()
}

fn assert_protocol(outcome: &Outcome, word: &str) {
    let Err(error @ Error::Protocol(_)) = &outcome.end else {
        panic!("{word}: {:?}", outcome.end);
    };
    assert!(error.to_string().contains(word), "{word}: {error}");
}

#[test]
fn counters_out_of_range_are_refused() {
    let capacity = Layout::new(SIZE)
        .unwrap()
        .direction(Role::Client)
        .ring_capacity;
    for value in [capacity + 1, u64::MAX, 1 << 63, 1 << 32] {
        let outcome = against_server(|client| {
            client.set(layout::PRODUCER, value);
            client.doorbell.notify().unwrap();
        });
        assert_protocol(&outcome, "producer counter outside");
        // The server never sent anything.
        let outcome = against_server(|client| {
            client.set(layout::CONSUMER, value);
            client.send(MessageKind::Call, 0, &[1; 100]);
        });
        // It has space enough not to look.
        assert_eq!(outcome.requests, 1);
        assert!(outcome.end.is_ok(), "{:?}", outcome.end);
    }
    for value in [1, 15] {
        let outcome = against_server(|client| client.set(layout::PRODUCER, value));
        assert_protocol(&outcome, "within a record");
    }
}

#[test]
fn a_consumer_that_runs_ahead_is_refused() {
    for word in [layout::CONSUMER, layout::BULK_CONSUMER] {
        let outcome = against_server(|client| {
            client.set(word, 1 << 40);
            // The reply fills the bulk area, so that the server must look.
            client.send(MessageKind::Call, 0, &vec![1; 400_000]);
        });
        match word {
            layout::BULK_CONSUMER => assert_protocol(&outcome, "consumer counter outside"),
            // A few records leave most of the ring free: nobody looks, and the
            // server waits for the bulk area until the client is gone.
            _ => assert!(
                matches!(outcome.end, Err(Error::PeerGone)),
                "{:?}",
                outcome.end
            ),
        }
    }
}

#[test]
fn a_counter_that_runs_back_is_refused() {
    let outcome = against_server(|client| {
        client.send(MessageKind::Posted, 0, b"one");
        client.send(MessageKind::Call, 1, b"two");
        // The reply says that both were taken.
        let accept = |_: Message| Ok(());
        let reply = client.ends.receiver.receive(accept, &mut Vec::new());
        assert!(reply.unwrap().is_some());
        client.set(layout::PRODUCER, 16);
        client.doorbell.notify().unwrap();
    });
    assert_eq!(outcome.requests, 2);
    assert_protocol(&outcome, "producer counter outside");
}

#[test]
fn wrong_records_are_refused() {
    use MessageKind::{Posted, Reply};
    let direction = Layout::new(SIZE).unwrap().direction(Role::Client);
    let inline_over = direction.inline_max() as u32 + 1;
    let piece_over = direction.piece_max() as u32 + 1;
    let ring = direction.ring_capacity;
    let good = record(Posted, 0, 0, Place::Inline);
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        bytes
    };
    for (bytes, published, word) in [
        (with(12, 0), 16, "kind"),
        (with(12, 4), 16, "kind"),
        (with(13, 0), 16, "no known place"),
        (with(13, 3), 16, "no known place"),
        (with(14, 1), 16, "reserved"),
        (with(8, 1), 16, "sequence"),
        (record(Reply, 0, 0, Place::Inline), 16, "reply came"),
        (record(Posted, 5, 6, Place::Inline), 48, "does not fit"),
        (record(Posted, 5, 0, Place::Inline), 48, "does not fit"),
        (record(Posted, 5, 5, Place::Inline), 16, "within a record"),
        (
            record(Posted, inline_over, inline_over, Place::Inline),
            ring,
            "too long for the ring",
        ),
        (
            record(Posted, piece_over, piece_over, Place::Bulk),
            16,
            "too long for the bulk",
        ),
    ] {
        let outcome = against_server(|client| client.put(&bytes, published));
        assert_protocol(&outcome, word);
        assert_eq!(outcome.requests, 0);
    }
    let outcome = against_server(|client| client.put(&good, 16));
    assert!(outcome.end.is_ok(), "{:?}", outcome.end);
    assert_eq!(outcome.requests, 1);
}

#[test]
fn a_length_is_not_believed() {
    let over = record(MessageKind::Posted, MAX + 1, 1, Place::Inline);
    let outcome = against_server(|client| client.put(&over, 32));
    assert!(
        matches!(
            outcome.end,
            Err(Error::TooLarge {
                len: 1_048_577,
                max: 1_048_576
            })
        ),
        "{:?}",
        outcome.end
    );
    assert_eq!(outcome.capacity, 0);
    // Allowed, but the rest does not come.
    let promise = record(MessageKind::Posted, MAX, 1, Place::Inline);
    let outcome = against_server(|client| client.put(&promise, 32));
    assert!(
        matches!(outcome.end, Err(Error::PeerGone)),
        "{:?}",
        outcome.end
    );
    assert!(outcome.capacity < 4096, "{}", outcome.capacity);
}

#[test]
fn a_message_within_another_is_refused() {
    let outcome = against_server(|client| {
        let ring = client.layout.direction(Role::Client).ring;
        let first = record(MessageKind::Posted, 100, 1, Place::Inline);
        let other = record(MessageKind::Posted, 99, 1, Place::Inline);
        client.memory.write(ring + 32, &other);
        client.put(&first, 64);
    });
    assert_protocol(&outcome, "within another");
    // The pieces of one message sum up to more than it.
    let outcome = against_server(|client| {
        let ring = client.layout.direction(Role::Client).ring;
        let piece = record(MessageKind::Posted, 100, 60, Place::Inline);
        client.memory.write(ring + 80, &piece);
        client.put(&piece, 160);
    });
    assert_protocol(&outcome, "does not fit");
}

#[test]
fn a_request_that_does_not_end_is_not_waited_for_beyond_the_deadline() {
    let (a, b) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || {
        let mut server = offer(a, SIZE).unwrap().serve(&limits()).unwrap();
        let deadline = Instant::now() + Duration::from_millis(30);
        server.set_deadline(Some(deadline)).unwrap();
        server.receive(&mut Vec::new())
    });
    let hostile = Hostile::greet(take_offer(b).unwrap(), Role::Client);
    hostile.put(&record(MessageKind::Posted, 100, 1, Place::Inline), 32);
    let received = server.join().unwrap();
    assert!(matches!(received, Err(Error::TimedOut)), "{received:?}");
}

#[test]
fn a_wrong_reply_is_refused() {
    for (kind, sequence, word) in [
        (MessageKind::Reply, 0, "another call"),
        (MessageKind::Call, 1, "request came"),
        (MessageKind::Posted, 1, "request came"),
    ] {
        let outcome = against_client(|server| server.send(kind, sequence, b"reply"));
        assert_protocol(&outcome, word);
    }
}

/// Two threads wait, and the server answers a call twice, or one that was never made: what it
/// keeps for others is no more than there are others.
#[test]
fn replies_to_nobody_are_refused() {
    // One may be kept for a thread that has called again meanwhile.
    for answers in [&[0, 0, 0][..], &[7, 8], &[0, 1, 0]] {
        let (a, b) = UnixStream::pair().unwrap();
        let client = thread::spawn(move || {
            let (client, _) = connect_over(b, &limits()).unwrap();
            thread::scope(|scope| {
                let call = || client.call(&[IoSlice::new(b"call")], &mut Vec::new());
                let other = scope.spawn(call);
                let first = call().and_then(|()| call());
                [first, other.join().unwrap()]
            })
        });
        let mut hostile = Hostile::greet(offer(a, SIZE).unwrap(), Role::Server);
        for _ in 0..2 {
            let called = hostile.ends.receiver.receive(|_| Ok(()), &mut Vec::new());
            assert!(called.unwrap().is_some());
        }
        for sequence in answers {
            hostile.send(MessageKind::Reply, *sequence, b"reply");
        }
        // It keeps the connection: only what it sent can end the wait.
        let ends = client.join().unwrap();
        let refused = |end: &Result<(), Error>| matches!(end, Err(Error::Protocol(_)));
        assert!(ends.iter().any(refused), "{answers:?}: {ends:?}");
    }
}

#[test]
fn another_version_or_size_is_refused() {
    let greet = |word: u64, value: u64| {
        let (a, b) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let channel = offer(a, SIZE).unwrap();
            channel.serve(&limits()).map(|_| ())
        });
        let channel = take_offer(b).unwrap();
        // As its hello would, but with another word.
        let block = Role::Client.block();
        let version = u64::from(VERSION) | (u64::from(MAX) << 32);
        let doorbell = channel.doorbell;
        for (at, value) in [
            (layout::VERSION, version),
            (layout::SIZE, SIZE),
            (word, value),
            (layout::HELLO, 7),
        ] {
            channel
                .memory
                .word(block + at)
                .store(value, Ordering::SeqCst);
        }
        doorbell.notify().unwrap();
        let hello = channel.memory.word(Role::Server.block() + layout::HELLO);
        while hello.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let echo = channel.memory.word(block + layout::ECHO);
        echo.store(hello.load(Ordering::SeqCst), Ordering::SeqCst);
        doorbell.notify().unwrap();
        server.join().unwrap()
    };
    greet(layout::SIZE, SIZE).unwrap();
    let refused = greet(layout::VERSION, u64::from(VERSION) + 1);
    let other =
        matches!(refused, Err(Error::Version { ours: VERSION, theirs }) if theirs == VERSION + 1);
    assert!(other, "{refused:?}");
    let refused = greet(layout::SIZE, SIZE * 2);
    assert!(matches!(refused, Err(Error::Protocol(_))), "{refused:?}");
}

/// What an earlier connection left in the channel must not disturb the next.
#[test]
fn a_used_channel_can_be_used_again() {
    let (a, b) = UnixStream::pair().unwrap();
    let channel = offer(a, SIZE).unwrap();
    for role in [Role::Server, Role::Client] {
        for word in (0..256).step_by(8) {
            let word = channel.memory.word(role.block() + word);
            word.store(0x0123_4567_89ab_cdef, Ordering::SeqCst);
        }
    }
    let server = thread::spawn(move || serve(channel.serve(&limits())));
    let (client, _) = connect_over(b, &limits()).unwrap();
    let mut reply = Vec::new();
    client.call(&[IoSlice::new(b"fresh")], &mut reply).unwrap();
    assert_eq!(reply, b"fresh");
    drop(client);
    let outcome = server.join().unwrap();
    assert!(outcome.end.is_ok(), "{:?}", outcome.end);
}

#[test]
fn nobody_at_the_other_side_is_noticed() {
    let hasty = Limits {
        connect_timeout: Duration::from_millis(20),
        ..limits()
    };
    let (a, b) = UnixStream::pair().unwrap();
    let greeted = offer(a, SIZE).unwrap().serve(&hasty);
    assert!(matches!(greeted, Err(Error::TimedOut)));
    drop(b);
    let (a, b) = UnixStream::pair().unwrap();
    drop(b);
    // Depending on when the end is seen: on sending, or on waiting.
    let greeted = offer(a, SIZE).and_then(|channel| channel.serve(&limits()));
    assert!(matches!(greeted, Err(Error::PeerGone)));
    let (a, b) = UnixStream::pair().unwrap();
    drop(a);
    assert!(matches!(connect_over(b, &limits()), Err(Error::PeerGone)));
}

/// A deed of a hostile side.
#[derive(Debug, Clone)]
enum Deed {
    Word(Role, u64, u64),
    Bytes(u64, Vec<u8>),
    Send(MessageKind, bool, usize),
    Receive,
    Ring,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let role = prop_oneof![Just(Role::Server), Just(Role::Client)];
    let value = prop_oneof![
        (0u64..70_000),
        (0u64..4096).prop_map(|n| n * 16),
        any::<u64>(),
        (0u32..64).prop_map(|shift| 1 << shift),
    ];
    let kind = prop_oneof![
        4 => Just(MessageKind::Posted),
        4 => Just(MessageKind::Call),
        3 => Just(MessageKind::Reply),
    ];
    let byte = prop_oneof![0u8..4, any::<u8>()];
    let deed = prop_oneof![
        3 => (role, (0u64..32).prop_map(|n| n * 8), value)
            .prop_map(|(role, word, value)| Deed::Word(role, word, value)),
        // The first 2 KiB of either ring, or anywhere.
        2 => (
            prop_oneof![
                (4096u64..6144),
                (20_480u64..22_528),
                (1024u64..SIZE - 64),
            ],
            prop::collection::vec(byte, 1..64),
        )
            .prop_map(|(at, bytes)| Deed::Bytes(at, bytes)),
        5 => (kind, prop::bool::weighted(0.1), prop_oneof![0usize..200, 0usize..300_000])
            .prop_map(|(kind, skip, len)| Deed::Send(kind, skip, len)),
        1 => Just(Deed::Receive),
        1 => Just(Deed::Ring),
    ];
    prop::collection::vec(deed, 1..24)
}

fn perform(hostile: &mut Hostile, deeds: Vec<Deed>) {
    let mut sequence = 0;
    for deed in deeds {
        match deed {
            Deed::Word(role, word, value) => {
                let word = hostile.memory.word(role.block() + word);
                word.store(value, Ordering::SeqCst);
            }
            Deed::Bytes(at, bytes) => hostile.memory.write(at, &bytes),
            Deed::Send(kind, skip, len) => {
                hostile.send(kind, sequence, &vec![7; len]);
                sequence = sequence.wrapping_add(if skip { 2 } else { 1 });
            }
            Deed::Receive => {
                let receiver = &mut hostile.ends.receiver;
                let soon = Instant::now() + Duration::from_millis(5);
                receiver.set_deadline(Some(soon)).unwrap();
                let _ = receiver.receive(|_| Ok(()), &mut Vec::new());
            }
            Deed::Ring => {
                let _ = hostile.doorbell.notify();
            }
        }
    }
}

fn fuzz(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(fuzz(400, 3))]

    #[test]
    fn no_deed_of_a_client_harms_the_server(deeds in deeds()) {
        let outcome = against_server(|client| perform(client, deeds));
        prop_assert!(outcome.capacity <= 2 * MAX as usize);
    }

    #[test]
    fn no_deed_of_a_server_harms_the_client(deeds in deeds()) {
        let outcome = against_client(|server| perform(server, deeds));
        prop_assert!(outcome.capacity <= 2 * MAX as usize);
    }
}

proptest! {
    #![proptest_config(fuzz(60, 4))]

    /// Two honest ends at work, while a third party writes into their channel.
    #[test]
    fn a_channel_may_change_under_both_ends(
        writes in prop::collection::vec((0u64..SIZE / 8, any::<u64>(), any::<bool>()), 1..300),
    ) {
        let (a, b) = UnixStream::pair().unwrap();
        let channel = offer(a, SIZE).unwrap();
        let memory = channel.memory.clone();
        let patient = Limits { timeout: Some(Duration::from_millis(20)), ..limits() };
        let server = thread::spawn(move || serve(channel.serve(&patient)));
        let (client, _): (RingClient, _) = connect_over(b, &patient).unwrap();
        let vandal = thread::spawn(move || {
            for (word, value, control) in writes {
                // Half of all hits go to the words, the others anywhere.
                let word = if control { 64 + word % 64 } else { word };
                memory.word(word * 8).store(value, Ordering::Relaxed);
                thread::yield_now();
            }
        });
        let mut reply = Vec::new();
        for i in 0..200usize {
            let request = vec![1; i * 100];
            let done = client
                .post(&[IoSlice::new(&request)])
                .and_then(|()| client.call(&[IoSlice::new(&request)], &mut reply));
            if done.is_err() {
                break;
            }
        }
        drop(client);
        let outcome = server.join().unwrap();
        prop_assert!(outcome.capacity <= 2 * MAX as usize);
        vandal.join().unwrap();
    }
}
