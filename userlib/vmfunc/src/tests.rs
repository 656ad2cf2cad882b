// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Both halves in one process, over the memory and the ring of a memfd channel. What
//! makes the delegated calls is played.

use std::fmt::Display;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use wormhole_delegate::{CallError, Called};
use wormhole_transport::{Client, Config, Error, Kind, Limits};
use wormhole_window::{Count, FunctionCounts};

use crate::areas::{Areas, LANES};
use crate::batch::{Batch, RECORDS};
use crate::client::{Delegate, Refused, VmfuncClient};
use crate::connect::ask;
use crate::desk::Desk;
use crate::serve::{messages, serve, Handler, Reply};
use crate::workers::work;
use crate::{operation, OVER};

/// Longest message.
const MAX: u32 = 3 << 20;
const ECHO: u16 = 1;
const RUBBISH: u16 = 2;
const PANIC: u16 = 3;
/// Is answered when as many have come as the world's barrier is for.
const MEET: u16 = 4;

#[derive(Default)]
struct Log {
    /// Number and length of each request.
    requests: Vec<(u32, usize)>,
    over: Vec<String>,
}

/// Replies to a call with its number, and zeros up to the length that it asks for.
struct Echo {
    log: Arc<Mutex<Log>>,
    meet: Arc<Barrier>,
}

impl Handler for Echo {
    type Error = &'static str;

    fn handle(
        &self,
        request: &[u8],
        kind: Kind,
        reply: &mut Reply<'_>,
    ) -> Result<(), &'static str> {
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(
                request.get(at..at + 4)?.try_into().ok()?,
            ))
        };
        let (head, number, length) = (word(0), word(4), word(8));
        let (Some(head), Some(number), Some(length)) = (head, number, length) else {
            return Err("too short");
        };
        match head as u16 {
            ECHO => {}
            MEET => {
                self.meet.wait();
            }
            PANIC => panic!("on purpose"),
            _ => return Err("rubbish"),
        }
        if length > 2 * MAX {
            return Err("rubbish");
        }
        self.log
            .lock()
            .unwrap()
            .requests
            .push((number, request.len()));
        if kind == Kind::Posted {
            return Ok(());
        }
        let zeros = vec![0; length as usize];
        let number = number.to_le_bytes();
        match reply(&[IoSlice::new(&number), IoSlice::new(&zeros)]) {
            Err(Error::TooLarge { .. }) => reply(&[IoSlice::new(b"no")]),
            replied => replied,
        }
        .map_err(|_| "cannot reply")
    }

    fn blocks(&self, request: &[u8]) -> bool {
        request.starts_with(&MEET.to_le_bytes())
    }

    fn refuse(&self, reply: &mut Reply<'_>) -> Result<(), &'static str> {
        reply(&[IoSlice::new(b"refused")]).map_err(|_| "cannot reply")
    }

    fn over(&self, why: &dyn Display) {
        self.log.lock().unwrap().over.push(why.to_string());
    }
}

fn request(function: u16, number: u32, reply: u32, len: usize) -> Vec<u8> {
    let mut bytes = u32::from(function).to_le_bytes().to_vec();
    bytes.extend(number.to_le_bytes());
    bytes.extend(reply.to_le_bytes());
    bytes.resize(len.max(12), 5);
    bytes
}

/// Delegated, hopped, posted, home.
fn as_client(counts: FunctionCounts) -> [u64; 4] {
    use Count::{Delegated, Home, Hopped, Posted};
    [Delegated, Hopped, Posted, Home].map(|count| counts.get(count))
}

/// Calls the desk as a carrier would.
struct Played {
    desk: Arc<Desk<Echo>>,
    /// Delegated calls until they are refused.
    left: AtomicU32,
    hop: bool,
    /// The next call finds no carrier at first.
    short: Arc<AtomicBool>,
}

impl Delegate for Played {
    fn call(
        &self,
        operation: u64,
        argument: u64,
        busy: impl FnOnce(),
    ) -> Result<Called, CallError> {
        if self.short.swap(false, Ordering::SeqCst) {
            busy();
        }
        let left = |left: u32| left.checked_sub(1);
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        left.map_err(|_| CallError::Refused(libc::EOPNOTSUPP))?;
        Ok(Called {
            result: self.desk.call(operation, argument),
            hops: self.hop.into(),
        })
    }
}

fn config() -> (Config, PathBuf) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wormhole-vmfunc-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut config = Config::memfd(&path);
    config.limits = Limits {
        max_message: MAX,
        ..Limits::default()
    };
    (config, path)
}

/// A connection: the ring's client end, the areas as the client has them, the server.
struct World {
    log: Arc<Mutex<Log>>,
    desk: Arc<Desk<Echo>>,
    meet: Arc<Barrier>,
    /// What the client has asked for.
    grown: Arc<AtomicU32>,
    /// Most that it gets.
    carriers: Arc<AtomicU32>,
    /// The next delegated call finds no carrier at first.
    short: Arc<AtomicBool>,
    ring: Option<Box<dyn Client>>,
    areas: Option<Areas>,
    server: Option<JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        Self::meeting(1)
    }

    /// One in which so many calls of [`MEET`] wait for each other.
    fn meeting(parties: usize) -> Self {
        let (config, path) = config();
        let mut listener = wormhole_transport::listen(&config).unwrap();
        let connected = std::thread::spawn(move || wormhole_transport::connect_spare(&config));
        let connection = listener.accept().unwrap();
        let (ring, spare) = connection.serve_spare().unwrap();
        let (client, client_spare) = connected.join().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let areas = Areas::new(spare.unwrap()).unwrap();
        let meet = Arc::new(Barrier::new(parties));
        let echo = Echo {
            log: log.clone(),
            meet: meet.clone(),
        };
        let desk = Arc::new(Desk::new(areas, echo, MAX, MAX));
        let grown = Arc::<AtomicU32>::default();
        let (served, asked) = (desk.clone(), grown.clone());
        let carriers = Arc::new(AtomicU32::new(u32::MAX));
        let most = carriers.clone();
        let server = std::thread::spawn(move || {
            // What ends it is each test's affair.
            let _ = messages(ring, served, move |carriers| {
                asked.store(carriers, Ordering::Relaxed);
                carriers.min(most.load(Ordering::Relaxed))
            });
        });
        World {
            log,
            desk,
            meet,
            grown,
            carriers,
            short: Arc::default(),
            ring: Some(client),
            areas: Areas::new(client_spare.unwrap()).ok(),
            server: Some(server),
        }
    }

    fn client(&mut self, left: u32, refused: Refused) -> Arc<VmfuncClient<Played>> {
        let played = self.played(left, false);
        self.client_with(played, refused)
    }

    fn played(&self, left: u32, hop: bool) -> Played {
        Played {
            desk: self.desk.clone(),
            left: left.into(),
            hop,
            short: self.short.clone(),
        }
    }

    fn client_with<D: Delegate>(&mut self, delegate: D, refused: Refused) -> Arc<VmfuncClient<D>> {
        let (ring, areas) = (self.ring.take().unwrap(), self.areas.take().unwrap());
        VmfuncClient::new(ring, delegate, areas, refused, (MAX, MAX))
    }

    fn area(&self) -> usize {
        self.desk.areas().shared().size() as usize
    }

    /// Once the client is gone.
    fn join(&mut self) {
        self.server.take().unwrap().join().unwrap();
    }
}

/// A call in the shared lane if its number is even, else in its own.
fn call<D: Delegate>(
    client: &VmfuncClient<D>,
    number: u32,
    reply: u32,
    len: usize,
) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![1, 2, 3];
    let request = request(ECHO, number, reply, len);
    client.call(&[IoSlice::new(&request)], &mut bytes, number % 2 == 1)?;
    Ok(bytes)
}

fn post<D: Delegate>(client: &VmfuncClient<D>, number: u32, len: usize) -> Result<(), Error> {
    client.post(&[IoSlice::new(&request(ECHO, number, 0, len))])
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Post(usize),
    Call(usize, u32),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let len = || {
        prop_oneof![
            8 => 12usize..200,
            2 => 100_000usize..400_000,
            1 => 500_000usize..700_000,
        ]
    };
    prop_oneof![
        6 => len().prop_map(Step::Post),
        3 => (len(), prop_oneof![0u32..100, 500_000u32..1_500_000])
            .prop_map(|(len, reply)| Step::Call(len, reply)),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever way each goes, also when exitless calls are refused in the middle, and when
    /// they hop.
    #[test]
    fn requests_are_carried_out_once_and_in_order(
        steps in vec(step(), 1..80),
        left in prop_oneof![Just(u32::MAX), 0u32..20],
        hop in any::<bool>(),
    ) {
        let mut world = World::new();
        let client = {
            let played = world.played(left, hop);
            world.client_with(played, Refused::GoByRing)
        };
        let mut expected = Vec::new();
        for (number, step) in (0u32..).zip(steps) {
            match step {
                Step::Post(len) => {
                    post(&client, number, len).unwrap();
                    expected.push((number, len));
                }
                Step::Call(len, reply) => {
                    let refused_in_pieces = left != u32::MAX && reply >= 500_000;
                    let answer = call(&client, number, reply, len);
                    if refused_in_pieces && answer.is_err() {
                        // The call was made; the rest of its reply cannot be had.
                        break;
                    }
                    let answer = answer.unwrap();
                    prop_assert_eq!(answer.len(), reply as usize + 4);
                    prop_assert_eq!(&answer[..4], &number.to_le_bytes()[..]);
                    prop_assert!(answer[4..].iter().all(|byte| *byte == 0));
                    expected.push((number, len));
                    let log = world.log.lock().unwrap();
                    prop_assert_eq!(&log.requests, &expected);
                }
                Step::Flush => client.flush().unwrap(),
            }
        }
        drop(client);
        world.join();
        prop_assert!(world.log.lock().unwrap().over.is_empty());
    }

    /// Any bytes in any lane, and any words.
    #[test]
    fn a_hostile_client_ends_its_session_at_worst(
        bytes in vec(prop_oneof![3 => 0u8..4, 1 => Just(8), 1 => any::<u8>()], 0..600),
        at in 0..LANES,
        words in vec((prop_oneof![9 => 0u64..5, 1 => any::<u64>()], 0..LANES as u64 + 2,
            prop_oneof![0u64..80, any::<u64>()]), 1..6),
    ) {
        let world = World::new();
        let areas = world.areas.as_ref().unwrap();
        for number in [0, at] {
            let lane = areas.lane(number).unwrap();
            areas.write_request(lane, &bytes).unwrap();
        }
        let mut over = false;
        for (operation, number, argument) in words {
            // Half of the words are for the lanes with the bytes.
            let number = if argument % 2 == 0 { at as u64 } else { number };
            let result = world.desk.call(operation | (number << 8), argument / 8 * 8);
            prop_assert!(result <= u64::from(MAX) || result == OVER);
            prop_assert!(!over || result == OVER, "there is no way back");
            over = result == OVER;
        }
        prop_assert_eq!(world.log.lock().unwrap().over.len(), usize::from(over));
    }

    /// Any words from the server.
    #[test]
    fn a_hostile_server_is_an_error_at_worst(
        results in vec(
            prop_oneof![0u64..100, Just(OVER), 500_000u64..4_000_000, any::<u64>()],
            1..8,
        ),
    ) {
        struct Liar(Mutex<Vec<u64>>);
        impl Delegate for Liar {
            fn call(&self, _: u64, _: u64, _: impl FnOnce()) -> Result<Called, CallError> {
                let result = self.0.lock().unwrap().pop().ok_or(CallError::Gone)?;
                Ok(Called { result, hops: 0 })
            }
        }
        let mut world = World::new();
        let client = world.client_with(Liar(results.into()), Refused::GoByRing);
        let mut failed = false;
        for number in 0..8u32 {
            let answer = call(&client, number, 0, 12);
            prop_assert!(!failed || matches!(answer, Err(Error::PeerGone)));
            prop_assert!(answer.as_ref().map_or(0, Vec::len) <= MAX as usize);
            failed |= answer.is_err();
        }
    }
}

/// In the shared lane, and in a lane of the call's own.
#[test]
fn a_batch_that_is_refused_goes_by_ring() {
    for number in [2, 3] {
        let mut world = World::new();
        let client = world.client(0, Refused::GoByRing);
        post(&client, 0, 12).unwrap();
        post(&client, 1, 300).unwrap();
        call(&client, number, 0, 13).unwrap();
        let log = world.log.lock().unwrap();
        assert_eq!(log.requests, [(0, 12), (1, 300), (number, 13)]);
    }
}

#[test]
fn long_replies_come_in_pieces() {
    let mut world = World::new();
    let area = world.area();
    let client = world.client(u32::MAX, Refused::Fail);
    for len in [
        0,
        area - 4,
        area - 3,
        2 * area - 4,
        2 * area,
        MAX as usize - 4,
    ] {
        let answer = call(&client, 9, len as u32, 12).unwrap();
        assert_eq!(answer.len(), len + 4);
    }
    // The handler found that it cannot give that, and gave another one.
    assert_eq!(call(&client, 9, MAX, 12).unwrap(), b"no");
    assert_eq!(client.counts().total().get(Count::Home), 0);
    assert_eq!(client.transport(), "vmfunc");
}

#[test]
fn what_is_too_long_is_not_sent() {
    let mut world = World::new();
    let client = world.client(u32::MAX, Refused::Fail);
    let error = call(&client, 1, 0, MAX as usize + 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
    let error = post(&client, 1, MAX as usize + 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
    // The longest that can be goes in pieces.
    for number in 2..4 {
        call(&client, number, 0, MAX as usize).unwrap();
    }
    let longest = [(2, MAX as usize), (3, MAX as usize)];
    assert_eq!(world.log.lock().unwrap().requests, longest);
    assert_eq!(client.counts().of(ECHO).get(Count::Home), 0);
}

#[test]
fn a_full_batch_is_delivered() {
    let mut world = World::new();
    let client = world.client(u32::MAX, Refused::Fail);
    for number in 0..=RECORDS as u32 {
        assert!(world.log.lock().unwrap().requests.is_empty());
        post(&client, number, 12).unwrap();
    }
    assert_eq!(world.log.lock().unwrap().requests.len(), RECORDS);
    client.flush().unwrap();
    assert_eq!(world.log.lock().unwrap().requests.len(), RECORDS + 1);
    let counts = client.counts().of(ECHO);
    assert_eq!(as_client(counts), [2, 0, RECORDS as u64 + 1, 0]);
}

/// At the end of a process, when another thread's call may never return.
#[test]
fn what_is_posted_is_sent_at_last_unless_a_thread_is_at_work() {
    let mut world = World::meeting(2);
    let client = world.client(u32::MAX, Refused::Fail);
    let seen = || world.log.lock().unwrap().requests.len();
    std::thread::scope(|scope| {
        post(&client, 1, 12).unwrap();
        scope.spawn(|| {
            let request = request(MEET, 2, 0, 12);
            let sent = client.call(&[IoSlice::new(&request)], &mut Vec::new(), false);
            sent.unwrap();
        });
        while seen() == 0 {
            std::thread::yield_now();
        }
        client.try_flush().unwrap();
        assert_eq!(seen(), 1, "the call is still under way");
        world.meet.wait();
    });
    post(&client, 3, 12).unwrap();
    assert_eq!(seen(), 2);
    client.try_flush().unwrap();
    assert_eq!(seen(), 3);
}

#[test]
fn functions_that_always_hop_go_by_ring() {
    let mut world = World::new();
    let played = world.played(u32::MAX, true);
    let client = world.client_with(played, Refused::Fail);
    for number in 0..100u32 {
        post(&client, number, 12).unwrap();
        call(&client, number, 0, 12).unwrap();
    }
    let counts = client.counts().of(ECHO);
    // Three, and one on trial. What was posted for the others went by itself.
    assert_eq!(as_client(counts), [4 + 96, 4 + 96, 100, 96]);
    assert_eq!(client.transport(), "vmfunc");
}

#[test]
fn asked_for_by_name_a_refusal_is_an_error() {
    let mut world = World::new();
    let client = world.client(1, Refused::Fail);
    call(&client, 1, 0, 12).unwrap();
    assert!(matches!(call(&client, 2, 0, 12), Err(Error::Io(_))));
    assert!(matches!(call(&client, 3, 0, 12), Err(Error::PeerGone)));
    assert_eq!(world.log.lock().unwrap().requests, [(1, 12)]);
}

#[test]
fn a_panic_does_not_leave_the_desk() {
    for (function, why) in [(PANIC, "a panic"), (RUBBISH, "rubbish")] {
        let world = World::new();
        let bad = request(function, 1, 0, 16);
        let areas = world.areas.as_ref().unwrap();
        let mut batch = Batch::new();
        batch.push(Kind::Call, bad.len() as u32, &[IoSlice::new(&bad)]);
        areas.write_request(areas.shared(), batch.bytes()).unwrap();
        let len = batch.bytes().len() as u64;
        for _ in 0..2 {
            assert_eq!(world.desk.call(operation::DELIVER, len), OVER);
        }
        assert_eq!(world.log.lock().unwrap().over, [why]);
    }
}

/// A server serves clients that do not ask for exitless calls, and those that cannot have any.
#[test]
fn messages_alone() {
    for asks in [false, true] {
        let (config, path) = config();
        let mut listener = wormhole_transport::listen(&config).unwrap();
        let connected = std::thread::spawn(move || wormhole_transport::connect(&config));
        let (ring, spare) = listener.accept().unwrap().serve_spare().unwrap();
        let client = connected.join().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let meet = Arc::new(Barrier::new(1));
        let echo = Echo {
            log: log.clone(),
            meet,
        };
        let server = std::thread::spawn(move || serve(ring, spare, echo, MAX, 1));
        if asks {
            let offer = ask(client.as_ref(), MAX).unwrap();
            assert_eq!((offer.errno, offer.max_message), (libc::EOPNOTSUPP, MAX));
        }
        for number in 0..3 {
            let mut reply = Vec::new();
            let request = request(ECHO, number, 5, 12);
            client.call(&[IoSlice::new(&request)], &mut reply).unwrap();
            assert_eq!(reply.len(), 9);
        }
        assert_eq!(log.lock().unwrap().requests.len(), 3);
        // Later than first it is no greeting.
        assert!(ask(client.as_ref(), MAX).is_err());
        assert!(server.join().unwrap().is_err());
    }
}

/// Calls that may take long have each a lane; what other threads do does not wait for them.
#[test]
fn calls_of_several_threads_are_under_way_at_once() {
    const THREADS: u32 = 10;
    let mut world = World::meeting(THREADS as usize + 1);
    let client = world.client(u32::MAX, Refused::Fail);
    let meet = |number: u32| {
        let mut reply = Vec::new();
        let request = request(MEET, number, 100_000, 200_000);
        client
            .call(&[IoSlice::new(&request)], &mut reply, true)
            .unwrap();
        assert_eq!(reply[..4], number.to_le_bytes());
        assert_eq!(reply.len(), 100_004);
    };
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            scope.spawn(move || meet(number));
        }
        // All but one are there, and wait.
        for number in 100..200 {
            post(&client, number, 12).unwrap();
            assert_eq!(call(&client, number, 0, 12).unwrap(), number.to_le_bytes());
        }
        meet(THREADS);
    });
    let log = world.log.lock().unwrap();
    let shared: Vec<_> = log.requests.iter().map(|(number, _)| *number).collect();
    let shared: Vec<_> = shared.into_iter().filter(|number| *number >= 100).collect();
    let twice: Vec<_> = (100..200).flat_map(|number| [number, number]).collect();
    assert_eq!(shared, twice);
    drop(log);
    assert!(world.grown.load(Ordering::Relaxed) > THREADS);
    assert_eq!(client.counts().total().get(Count::Home), 0);
}

/// A call that may take long takes with it what was posted before; whoever calls meanwhile waits
/// for that, and not for the call.
#[test]
fn a_batch_goes_with_a_call_that_takes_long() {
    let mut world = World::meeting(2);
    let client = world.client(u32::MAX, Refused::Fail);
    let meet = |number: u32| {
        let request = request(MEET, number, 0, 12);
        let request = [IoSlice::new(&request)];
        client.call(&request, &mut Vec::new(), true).unwrap();
    };
    for round in 0..50 {
        let before = 100 * round..100 * round + 20;
        std::thread::scope(|scope| {
            let (posted, all_posted) = std::sync::mpsc::channel();
            let (client, meet, posts) = (&client, &meet, before.clone());
            scope.spawn(move || {
                posts.for_each(|number| post(client, number, 12).unwrap());
                posted.send(()).unwrap();
                meet(u32::MAX);
            });
            all_posted.recv().unwrap();
            call(client, 100 * round + 50, 0, 12).unwrap();
            let log = world.log.lock().unwrap();
            let seen: Vec<_> = log.requests.iter().map(|(number, _)| *number).collect();
            let of_round = seen.into_iter().filter(|number| number / 100 == round);
            assert!(of_round.eq(before.clone().chain([100 * round + 50])));
            drop(log);
            meet(u32::MAX);
        });
    }
    assert_eq!(client.counts().of(MEET).get(Count::Delegated), 100);
}

/// Whoever calls after a batch went with another thread's call waits for it, however long it takes
/// to reach the server. Nobody else waits for him.
#[test]
fn a_batch_under_way_is_not_overtaken() {
    /// A call in a lane of its own takes until somebody says so.
    struct Slow {
        played: Played,
        go: Barrier,
    }
    impl Delegate for Arc<Slow> {
        fn call(
            &self,
            operation: u64,
            argument: u64,
            busy: impl FnOnce(),
        ) -> Result<Called, CallError> {
            if operation::split(operation).1 != 0 {
                self.go.wait();
                self.go.wait();
            }
            self.played.call(operation, argument, busy)
        }
    }
    let mut world = World::new();
    let slow = Arc::new(Slow {
        played: world.played(u32::MAX, false),
        go: Barrier::new(2),
    });
    let client = world.client_with(slow.clone(), Refused::Fail);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            post(&client, 1, 12).unwrap();
            call(&client, 3, 0, 12).unwrap();
        });
        slow.go.wait();
        let after = scope.spawn(|| call(&client, 4, 0, 12).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let overtaken = after.is_finished();
        let posts = scope.spawn(|| post(&client, 5, 12).unwrap());
        let patience = Instant::now() + Duration::from_secs(10);
        while !posts.is_finished() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        let held_up = !posts.is_finished();
        slow.go.wait();
        assert!(!overtaken && !held_up);
    });
    let log = world.log.lock().unwrap();
    let order: Vec<_> = log.requests.iter().map(|(number, _)| *number).collect();
    assert_eq!(order[0], 1);
    assert_eq!(client.counts().total().get(Count::Home), 0);
}

/// Calls for which there is no lane or no carrier go by ring, where they wait for each other as
/// well, and what other threads do still does not wait for them.
#[test]
fn more_calls_than_lanes_are_under_way_at_once() {
    const THREADS: u32 = 40;
    for carriers in [2, 4, u32::MAX] {
        let mut world = World::meeting(THREADS as usize + 1);
        world.carriers.store(carriers, Ordering::Relaxed);
        let client = world.client(u32::MAX, Refused::Fail);
        let meet = |number: u32| {
            let mut reply = Vec::new();
            let request = request(MEET, number, 10, 100);
            let called = client.call(&[IoSlice::new(&request)], &mut reply, true);
            called.unwrap();
            assert_eq!(reply[..4], number.to_le_bytes());
        };
        std::thread::scope(|scope| {
            for number in 0..THREADS {
                scope.spawn(move || meet(number));
            }
            for number in (100..200).step_by(2) {
                assert_eq!(call(&client, number, 0, 12).unwrap(), number.to_le_bytes());
            }
            meet(THREADS);
        });
        let lanes = u64::from(carriers.min(LANES as u32)) - 1;
        let counts = client.counts().of(MEET);
        assert_eq!(
            as_client(counts),
            [lanes, 0, 0, u64::from(THREADS) + 1 - lanes]
        );
    }
}

/// The server takes back carriers that are not needed for long, and does not say so.
#[test]
fn carriers_that_have_gone_are_asked_for_again() {
    let mut world = World::meeting(4);
    let client = world.client(u32::MAX, Refused::Fail);
    for round in 0..3 {
        world.grown.store(0, Ordering::SeqCst);
        world.short.store(round > 0, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (client, request) = (&client, request(MEET, number, 0, 12));
                scope.spawn(move || {
                    let request = [IoSlice::new(&request)];
                    client.call(&request, &mut Vec::new(), true).unwrap();
                });
            }
        });
        assert!(world.grown.load(Ordering::SeqCst) > 2, "round {round}");
    }
}

/// A client that makes too many calls at once by message is refused some, and no other request.
#[test]
fn the_number_of_workers_is_bounded() {
    const MOST: usize = 3;
    let (client, server) = wormhole_transport::pair(&Limits::default()).unwrap();
    let meet = Arc::new(Barrier::new(MOST + 1));
    let echo = Echo {
        log: Arc::default(),
        meet: meet.clone(),
    };
    let server = std::thread::spawn(move || work(server, echo, MOST));
    let call = |function: u16| {
        let mut reply = Vec::new();
        let request = request(function, 1, 0, 12);
        client.call(&[IoSlice::new(&request)], &mut reply).unwrap();
        reply
    };
    let (answer, answers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..=MOST {
            let answer = answer.clone();
            scope.spawn(move || answer.send(call(MEET)).unwrap());
        }
        assert_eq!(answers.recv().unwrap(), b"refused");
        assert_eq!(call(ECHO), 1u32.to_le_bytes());
        meet.wait();
        for _ in 0..MOST {
            assert_eq!(answers.recv().unwrap(), 1u32.to_le_bytes());
        }
    });
    drop(client);
    server.join().unwrap().unwrap();
}

/// What was posted is carried out although nobody calls, or posts more.
#[test]
fn an_old_batch_is_delivered() {
    let mut world = World::new();
    let client = world.client(u32::MAX, Refused::Fail);
    for number in 0..3 {
        post(&client, number, 12).unwrap();
        post(&client, number + 10, 12).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let seen = || world.log.lock().unwrap().requests.len();
        while seen() < 2 * (number as usize + 1) {
            assert!(std::time::Instant::now() < deadline, "nobody delivers it");
            std::thread::yield_now();
        }
    }
    // From now on nobody does: what is posted waits for the next call.
    client.end();
    post(&client, 20, 12).unwrap();
    assert_eq!(call(&client, 21, 0, 12).unwrap(), 21u32.to_le_bytes());
}

/// The thread goes with the connection, and does not keep it.
#[test]
fn a_connection_that_is_dropped_is_gone() {
    let mut world = World::new();
    let client = world.client(u32::MAX, Refused::Fail);
    post(&client, 0, 12).unwrap();
    let weak = Arc::downgrade(&client);
    drop(client);
    while weak.upgrade().is_some() {
        std::thread::yield_now();
    }
}

/// Whatever the number of threads, each one's requests are carried out in its order, and what
/// one thread has posted before another one's call.
#[test]
fn threads_requests_keep_their_order() {
    let mut world = World::new();
    let client = world.client(u32::MAX, Refused::Fail);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (client, log) = (&client, &world.log);
            scope.spawn(move || {
                for round in 0..100 {
                    let number = (thread << 16) | (round << 1);
                    post(client, number, 12 + 100 * (round as usize % 7)).unwrap();
                    call(client, number | (round & 1), 3, 12).unwrap();
                    let log = log.lock().unwrap();
                    assert!(log.requests.iter().any(|(seen, _)| *seen == number));
                }
            });
        }
    });
    let log = world.log.lock().unwrap();
    for thread in 0..4 {
        let of = |number: &u32| number >> 16 == thread;
        let numbers = log.requests.iter().map(|(number, _)| *number).filter(of);
        let numbers: Vec<_> = numbers.map(|number| number & !1).collect();
        assert_eq!(numbers.len(), 200);
        assert!(numbers.is_sorted());
    }
}
