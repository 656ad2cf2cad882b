// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Both halves in one process, over the memory and the ring of a memfd channel. What
//! makes the delegated calls is played.

use std::fmt::Display;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use proptest::collection::vec;
use proptest::prelude::*;
use wormhole_delegate::CallError;
use wormhole_transport::{Client, Config, Error, Kind, Limits};

use crate::areas::Areas;
use crate::batch::{self, RECORDS};
use crate::client::{Delegate, Refused, VmfuncClient};
use crate::connect::ask;
use crate::desk::Desk;
use crate::serve::{messages, serve, Handler, Reply};
use crate::{operation, OVER};

/// Longest message.
const MAX: u32 = 3 << 20;
const ECHO: u16 = 1;
const RUBBISH: u16 = 2;
const PANIC: u16 = 3;

#[derive(Default)]
struct Log {
    /// Number and length of each request.
    requests: Vec<(u32, usize)>,
    over: Vec<String>,
}

/// Replies to a call with its number, and zeros up to the length that it asks for.
struct Echo(Arc<Mutex<Log>>);

impl Handler for Echo {
    type Error = &'static str;

    fn handle(
        &mut self,
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
            PANIC => panic!("on purpose"),
            _ => return Err("rubbish"),
        }
        if length > 2 * MAX {
            return Err("rubbish");
        }
        let mut log = self.0.lock().unwrap();
        log.requests.push((number, request.len()));
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

    fn over(&mut self, why: &dyn Display) {
        self.0.lock().unwrap().over.push(why.to_string());
    }
}

fn request(function: u16, number: u32, reply: u32, len: usize) -> Vec<u8> {
    let mut bytes = u32::from(function).to_le_bytes().to_vec();
    bytes.extend(number.to_le_bytes());
    bytes.extend(reply.to_le_bytes());
    bytes.resize(len.max(12), 5);
    bytes
}

/// Calls the desk as a carrier would.
struct Played {
    desk: Arc<Desk<Echo>>,
    /// Delegated calls until they are refused.
    left: u32,
    hops: u64,
    hop: bool,
}

impl Delegate for Played {
    fn call(&mut self, operation: u64, argument: u64) -> Result<u64, CallError> {
        if self.left == 0 {
            return Err(CallError::Refused(libc::EOPNOTSUPP));
        }
        self.left -= 1;
        self.hops += u64::from(self.hop);
        Ok(self.desk.call(operation, argument))
    }

    fn hops(&self) -> u64 {
        self.hops
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
    ring: Option<Box<dyn Client>>,
    areas: Option<Areas>,
    server: Option<JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        let (config, path) = config();
        let mut listener = wormhole_transport::listen(&config).unwrap();
        let connected = std::thread::spawn(move || wormhole_transport::connect_spare(&config));
        let connection = listener.accept().unwrap();
        let (mut ring, spare) = connection.serve_spare().unwrap();
        let (client, client_spare) = connected.join().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let areas = Areas::new(spare.unwrap());
        let desk = Arc::new(Desk::new(areas, Echo(log.clone()), MAX, MAX));
        let served = desk.clone();
        let server = std::thread::spawn(move || {
            // What ends it is each test's affair.
            let _ = messages(ring.as_mut(), &served);
        });
        World {
            log,
            desk,
            ring: Some(client),
            areas: Some(Areas::new(client_spare.unwrap())),
            server: Some(server),
        }
    }

    fn client(&mut self, left: u32, refused: Refused) -> VmfuncClient<Played> {
        let played = Played {
            desk: self.desk.clone(),
            left,
            hops: 0,
            hop: false,
        };
        self.client_with(played, refused)
    }

    fn client_with<D: Delegate>(&mut self, delegate: D, refused: Refused) -> VmfuncClient<D> {
        let (ring, areas) = (self.ring.take().unwrap(), self.areas.take().unwrap());
        VmfuncClient::new(ring, delegate, areas, refused, (MAX, MAX))
    }

    fn area(&self) -> usize {
        self.desk.areas().size() as usize
    }

    /// Once the client is gone.
    fn join(&mut self) {
        self.server.take().unwrap().join().unwrap();
    }
}

fn call(client: &mut dyn Client, number: u32, reply: u32, len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![1, 2, 3];
    client.call(
        &[IoSlice::new(&request(ECHO, number, reply, len))],
        &mut bytes,
    )?;
    Ok(bytes)
}

fn post(client: &mut dyn Client, number: u32, len: usize) -> Result<(), Error> {
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
        let mut client = {
            let desk = world.desk.clone();
            let played = Played { desk, left, hops: 0, hop };
            world.client_with(played, Refused::GoByRing)
        };
        let mut expected = Vec::new();
        for (number, step) in (0u32..).zip(steps) {
            match step {
                Step::Post(len) => {
                    post(&mut client, number, len).unwrap();
                    expected.push((number, len));
                }
                Step::Call(len, reply) => {
                    let refused_in_pieces = left != u32::MAX && reply >= 500_000;
                    let answer = call(&mut client, number, reply, len);
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

    /// Any bytes in the area, and any words.
    #[test]
    fn a_hostile_client_ends_its_session_at_worst(
        bytes in vec(prop_oneof![3 => 0u8..4, 1 => Just(8), 1 => any::<u8>()], 0..600),
        words in vec((0u64..4, prop_oneof![0u64..80, any::<u64>()]), 1..6),
    ) {
        let world = World::new();
        let areas = world.areas.as_ref().unwrap();
        areas.write_request(0, &[IoSlice::new(&bytes)]).unwrap();
        let mut over = false;
        for (operation, argument) in words {
            let result = world.desk.call(operation, argument / 8 * 8);
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
        struct Liar(Vec<u64>);
        impl Delegate for Liar {
            fn call(&mut self, _: u64, _: u64) -> Result<u64, CallError> {
                self.0.pop().ok_or(CallError::Gone)
            }
            fn hops(&self) -> u64 {
                0
            }
        }
        let mut world = World::new();
        let mut client = world.client_with(Liar(results), Refused::GoByRing);
        let mut failed = false;
        for number in 0..8 {
            let answer = call(&mut client, number, 0, 12);
            prop_assert!(!failed || matches!(answer, Err(Error::PeerGone)));
            prop_assert!(answer.as_ref().map_or(0, Vec::len) <= MAX as usize);
            failed |= answer.is_err();
        }
    }
}

#[test]
fn long_replies_come_in_pieces() {
    let mut world = World::new();
    let area = world.area();
    let mut client = world.client(u32::MAX, Refused::Fail);
    for len in [
        0,
        area - 4,
        area - 3,
        2 * area - 4,
        2 * area,
        MAX as usize - 4,
    ] {
        let answer = call(&mut client, 9, len as u32, 12).unwrap();
        assert_eq!(answer.len(), len + 4);
    }
    // The handler found that it cannot give that, and gave another one.
    assert_eq!(call(&mut client, 9, MAX, 12).unwrap(), b"no");
    assert_eq!(client.counts().total().home, 0);
    assert_eq!(client.transport(), "vmfunc");
}

#[test]
fn what_is_too_long_is_not_sent() {
    let mut world = World::new();
    let mut client = world.client(u32::MAX, Refused::Fail);
    let error = call(&mut client, 1, 0, MAX as usize + 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
    let error = post(&mut client, 1, MAX as usize + 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
    // The longest that can be goes by ring.
    call(&mut client, 2, 0, MAX as usize).unwrap();
    assert_eq!(world.log.lock().unwrap().requests, [(2, MAX as usize)]);
    assert_eq!(client.counts().of(ECHO).home, 1);
}

#[test]
fn a_full_batch_is_delivered() {
    let mut world = World::new();
    let mut client = world.client(u32::MAX, Refused::Fail);
    for number in 0..=RECORDS as u32 {
        assert!(world.log.lock().unwrap().requests.is_empty());
        post(&mut client, number, 12).unwrap();
    }
    assert_eq!(world.log.lock().unwrap().requests.len(), RECORDS);
    client.flush().unwrap();
    assert_eq!(world.log.lock().unwrap().requests.len(), RECORDS + 1);
    let counts = client.counts().of(ECHO);
    assert_eq!((counts.posted, counts.delegated), (RECORDS as u64 + 1, 2));
    assert_eq!((counts.hopped, counts.home), (0, 0));
}

#[test]
fn functions_that_always_hop_go_by_ring() {
    let mut world = World::new();
    let desk = world.desk.clone();
    let played = Played {
        desk,
        left: u32::MAX,
        hops: 0,
        hop: true,
    };
    let mut client = world.client_with(played, Refused::Fail);
    for number in 0..100u32 {
        post(&mut client, number, 12).unwrap();
        call(&mut client, number, 0, 12).unwrap();
    }
    let counts = client.counts().of(ECHO);
    // Three, and one on trial. What was posted for the others went with them.
    assert_eq!((counts.delegated, counts.hopped), (4, 4));
    assert_eq!((counts.posted, counts.home), (100, 192));
    assert_eq!(client.transport(), "vmfunc");
}

#[test]
fn asked_for_by_name_a_refusal_is_an_error() {
    let mut world = World::new();
    let mut client = world.client(1, Refused::Fail);
    call(&mut client, 1, 0, 12).unwrap();
    assert!(matches!(call(&mut client, 2, 0, 12), Err(Error::Io(_))));
    assert!(matches!(call(&mut client, 3, 0, 12), Err(Error::PeerGone)));
    assert_eq!(world.log.lock().unwrap().requests, [(1, 12)]);
}

#[test]
fn a_panic_does_not_leave_the_desk() {
    for (function, why) in [(PANIC, "a panic"), (RUBBISH, "rubbish")] {
        let world = World::new();
        let bad = request(function, 1, 0, 16);
        let areas = world.areas.as_ref().unwrap();
        let header = batch::header(bad.len() as u32, Kind::Call);
        let parts = [IoSlice::new(&header), IoSlice::new(&bad)];
        let len = areas.write_request(0, &parts).unwrap();
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
        let (mut ring, spare) = listener.accept().unwrap().serve_spare().unwrap();
        let mut client = connected.join().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let echo = Echo(log.clone());
        let server = std::thread::spawn(move || serve(ring.as_mut(), spare, echo, MAX, 1));
        if asks {
            let offer = ask(client.as_mut(), MAX).unwrap();
            assert_eq!((offer.errno, offer.max_message), (libc::EOPNOTSUPP, MAX));
        }
        for number in 0..3 {
            assert_eq!(call(client.as_mut(), number, 5, 12).unwrap().len(), 9);
        }
        assert_eq!(log.lock().unwrap().requests.len(), 3);
        // Later than first it is no greeting.
        assert!(ask(client.as_mut(), MAX).is_err());
        assert!(server.join().unwrap().is_err());
    }
}
