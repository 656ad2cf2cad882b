// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every transport must do, run over each of them.

mod loopback;

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use wormhole_transport::{
    connect, listen, pair, Client, Config, Endpoint, Ends, Error, Kind, Limits, Server,
    VsockAddress,
};

use loopback::{has_vsock, take_port, TCP, VSOCK};

/// Ends that accept messages of `server.max_message` and `client.max_message`.
fn over(config: Config, client: Limits, server: Limits) -> Ends {
    let config = Config {
        limits: server,
        ..config
    };
    let mut listener = listen(&config).unwrap();
    let mut config = Config {
        limits: client,
        ..config
    };
    take_port(&mut config, &listener.to_string());
    let client = thread::spawn(move || connect(&config).unwrap());
    let server = listener.accept().unwrap().serve().unwrap();
    (client.join().unwrap(), server)
}

fn tcp(client: Limits, server: Limits) -> Ends {
    over(Config::tcp(TCP), client, server)
}

fn vsock(client: Limits, server: Limits) -> Ends {
    over(Config::vsock(VSOCK), client, server)
}

/// A path that no other test uses.
fn socket_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("wormhole-{}-{number}.sock", std::process::id()))
}

fn memfd(client: Limits, server: Limits) -> Ends {
    let path = socket_path();
    let ends = over(Config::memfd(&path), client, server);
    std::fs::remove_file(path).unwrap();
    ends
}

/// Bytes that tell a message from every other, and a shifted one from itself:
/// a random stretch of a length that no power of two divides, over and over.
fn content(seed: u64, len: usize) -> Vec<u8> {
    const STRETCH: usize = 10_007;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len.min(STRETCH) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push((state >> 32) as u8);
    }
    while bytes.len() < len {
        let more = (len - bytes.len()).min(STRETCH);
        bytes.extend_from_within(bytes.len() - STRETCH..bytes.len() - STRETCH + more);
    }
    bytes
}

/// Answers each call with its request.
fn echo(mut server: Box<dyn Server>) -> JoinHandle<Result<(), Error>> {
    thread::spawn(move || {
        let mut request = Vec::new();
        while let Some(kind) = server.receive(&mut request)? {
            if kind == Kind::Call {
                server.reply(&[IoSlice::new(&request)])?;
            }
        }
        Ok(())
    })
}

fn call(client: &dyn Client, request: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reply = b"what was there before".to_vec();
    client.call(&[IoSlice::new(request)], &mut reply)?;
    Ok(reply)
}

fn limits() -> Limits {
    Limits::default()
}

fn requests_arrive_whole_and_in_order(ends: fn(Limits, Limits) -> Ends) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 16,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let len = prop_oneof![0usize..64, 0usize..10_000, 0usize..2_000_000];
    let requests = prop::collection::vec((any::<bool>(), len, 1usize..9), 1..60);
    runner
        .run(&requests, |requests| {
            let (client, mut server) = ends(limits(), limits());
            let expected = requests.clone();
            let thread = thread::spawn(move || {
                let mut request = Vec::new();
                for (i, (is_call, len, _)) in expected.into_iter().enumerate() {
                    let kind = server.receive(&mut request).unwrap();
                    assert_eq!(kind, Some(if is_call { Kind::Call } else { Kind::Posted }));
                    assert!(
                        request == content(i as u64, len),
                        "request {i} of {len} bytes"
                    );
                    if is_call {
                        let reply = content(!(i as u64), len / 2);
                        server.reply(&[IoSlice::new(&reply)]).unwrap();
                    }
                }
                server
            });
            for (i, (is_call, len, parts)) in requests.into_iter().enumerate() {
                let request = content(i as u64, len);
                let chunks = request.chunks(len / parts + 1);
                let parts: Vec<_> = chunks.map(IoSlice::new).collect();
                if is_call {
                    let mut reply = vec![7; 100];
                    client.call(&parts, &mut reply).unwrap();
                    assert!(reply == content(!(i as u64), len / 2), "reply {i}");
                } else {
                    client.post(&parts).unwrap();
                }
            }
            client.flush().unwrap();
            thread.join().unwrap();
            Ok(())
        })
        .unwrap();
}

fn messages_of_every_size(ends: fn(Limits, Limits) -> Ends) {
    let (client, server) = ends(limits(), limits());
    let thread = echo(server);
    let edges = [
        32,
        64,
        2048,
        4096,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
        5 << 20,
    ];
    let around = edges
        .iter()
        .flat_map(|&edge| [edge - 17, edge - 1, edge, edge + 1]);
    for len in [0, 1]
        .into_iter()
        .chain(around.filter(|&len| len < 6 << 20))
        .chain([64 << 20])
    {
        let request = content(len as u64, len);
        let reply = call(client.as_ref(), &request).unwrap();
        assert!(reply == request, "{len} bytes");
    }
    drop(client);
    thread.join().unwrap().unwrap();
}

fn many_posted_requests(ends: fn(Limits, Limits) -> Ends) {
    const COUNT: u32 = 100_000;
    let (client, mut server) = ends(limits(), limits());
    let thread = thread::spawn(move || {
        let mut request = Vec::new();
        for i in 0..COUNT {
            assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
            assert_eq!(request, i.to_le_bytes());
        }
        assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
        server.reply(&[]).unwrap();
    });
    for i in 0..COUNT {
        client.post(&[IoSlice::new(&i.to_le_bytes())]).unwrap();
    }
    assert_eq!(call(client.as_ref(), b"").unwrap(), b"");
    thread.join().unwrap();
}

fn flush_wakes_the_server(ends: fn(Limits, Limits) -> Ends) {
    let (client, mut server) = ends(limits(), limits());
    let thread = thread::spawn(move || {
        let mut request = Vec::new();
        assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
        server
    });
    client.post(&[IoSlice::new(b"posted")]).unwrap();
    client.flush().unwrap();
    client.flush().unwrap();
    thread.join().unwrap();
}

fn a_message_in_many_parts(ends: fn(Limits, Limits) -> Ends) {
    let (client, server) = ends(limits(), limits());
    let thread = echo(server);
    let request = content(1, 3000);
    let mut parts = vec![IoSlice::new(&[])];
    for byte in request.chunks(1) {
        parts.push(IoSlice::new(byte));
        parts.push(IoSlice::new(&[]));
    }
    let mut reply = Vec::new();
    client.call(&parts, &mut reply).unwrap();
    assert_eq!(reply, request);
    drop(client);
    thread.join().unwrap().unwrap();
}

/// The smaller limit holds, whichever end has it, and what is refused leaves
/// the connection in order.
fn too_long_is_refused_by_the_sender(ends: fn(Limits, Limits) -> Ends) {
    let short = Limits {
        max_message: 1000,
        ..limits()
    };
    for (of_client, of_server) in [(short, limits()), (limits(), short)] {
        let (client, mut server) = ends(of_client, of_server);
        let thread = thread::spawn(move || {
            let mut request = Vec::new();
            assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
            assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
            assert_eq!(request.len(), 1000);
            assert_too_large(server.reply(&[IoSlice::new(&[1; 1001])]));
            server.reply(&[IoSlice::new(&[2; 1000])]).unwrap();
            assert_eq!(server.receive(&mut request).unwrap(), None);
        });
        assert_too_large(client.post(&[IoSlice::new(&[1; 600]), IoSlice::new(&[1; 401])]));
        client.post(&[IoSlice::new(&[1; 1000])]).unwrap();
        assert_too_large(call(client.as_ref(), &[1; 1001]));
        assert_eq!(call(client.as_ref(), &[1; 1000]).unwrap(), [2; 1000]);
        drop(client);
        thread.join().unwrap();
    }
}

fn assert_too_large<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(
        matches!(
            result,
            Err(Error::TooLarge {
                len: 1001,
                max: 1000
            })
        ),
        "{result:?}"
    );
}

fn misuse_of_the_server_end_is_refused(ends: fn(Limits, Limits) -> Ends) {
    let (client, mut server) = ends(limits(), limits());
    let thread = thread::spawn(move || {
        let mut request = Vec::new();
        assert!(matches!(server.reply(&[]), Err(Error::Misuse(_))));
        assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
        assert!(matches!(server.reply(&[]), Err(Error::Misuse(_))));
        assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
        assert!(matches!(
            server.receive(&mut request),
            Err(Error::Misuse(_))
        ));
        server.reply(&[IoSlice::new(b"ok")]).unwrap();
        assert!(matches!(server.reply(&[]), Err(Error::Misuse(_))));
        assert!(matches!(server.set_aside(), Err(Error::Misuse(_))));
        assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
        let mut aside = server.set_aside().unwrap();
        assert!(matches!(server.reply(&[]), Err(Error::Misuse(_))));
        aside.reply(&[IoSlice::new(b"later")]).unwrap();
        assert!(matches!(aside.reply(&[]), Err(Error::Misuse(_))));
        assert_eq!(server.receive(&mut request).unwrap(), None);
    });
    client.post(&[]).unwrap();
    assert_eq!(call(client.as_ref(), b"").unwrap(), b"ok");
    assert_eq!(call(client.as_ref(), b"").unwrap(), b"later");
    drop(client);
    thread.join().unwrap();
}

/// As many calls as threads are under way before the first is answered.
fn calls_are_answered_in_any_order(ends: fn(Limits, Limits) -> Ends) {
    const THREADS: usize = 8;
    for turn in [0, 3] {
        let (client, mut server) = ends(limits(), limits());
        let thread = thread::spawn(move || {
            let mut aside = Vec::new();
            let mut request = Vec::new();
            while aside.len() < THREADS {
                assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
                aside.push((server.set_aside().unwrap(), request.clone()));
            }
            aside.reverse();
            aside.rotate_left(turn);
            for (mut call, request) in aside {
                call.reply(&[IoSlice::new(&request)]).unwrap();
            }
            server
        });
        thread::scope(|scope| {
            for i in 0..THREADS {
                let client = client.as_ref();
                scope.spawn(move || {
                    let request = content(i as u64, i * 30_000);
                    assert!(call(client, &request).unwrap() == request, "call {i}");
                });
            }
        });
        let mut server = thread.join().unwrap();
        drop(client);
        assert_eq!(server.receive(&mut Vec::new()).unwrap(), None);
    }
}

/// One that is not answered holds up no other thread's, of either kind and any length.
fn a_call_set_aside_holds_up_nobody(ends: fn(Limits, Limits) -> Ends) {
    let (client, mut server) = ends(limits(), limits());
    let (begun, has_begun) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let mut request = Vec::new();
        assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
        let mut aside = server.set_aside().unwrap();
        begun.send(()).unwrap();
        while let Some(kind) = server.receive(&mut request).unwrap() {
            if kind == Kind::Call {
                server.reply(&[IoSlice::new(&request)]).unwrap();
            }
            if request == b"answer" {
                aside.reply(&[IoSlice::new(b"at last")]).unwrap();
            }
        }
    });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| call(client.as_ref(), b"wait").unwrap());
        has_begun.recv().unwrap();
        for len in [0, 100, 5000, 3 << 20] {
            let request = content(len as u64, len);
            client.post(&[IoSlice::new(&request)]).unwrap();
            assert!(call(client.as_ref(), &request).unwrap() == request);
        }
        client.post(&[IoSlice::new(b"answer")]).unwrap();
        client.flush().unwrap();
        assert_eq!(waiting.join().unwrap(), b"at last");
    });
    drop(client);
    thread.join().unwrap();
}

/// Each thread's requests arrive in its order, and each reply where it belongs, whatever the
/// lengths and whichever thread of the server replies.
fn threads_call_at_the_same_time(ends: fn(Limits, Limits) -> Ends) {
    const THREADS: u32 = 6;
    const ROUNDS: u32 = 60;
    let (client, mut server) = ends(limits(), limits());
    let thread = thread::spawn(move || {
        let mut next = [0; THREADS as usize];
        let mut request = Vec::new();
        thread::scope(|scope| {
            while let Some(kind) = server.receive(&mut request).unwrap() {
                let word = |at: usize| request[at..at + 4].try_into().map(u32::from_le_bytes);
                let (thread, number) = (word(0).unwrap() as usize, word(4).unwrap());
                assert_eq!(next[thread], number, "of thread {thread}");
                next[thread] += 1;
                if kind == Kind::Posted {
                    continue;
                }
                if number % 3 == 0 {
                    server.reply(&[IoSlice::new(&request)]).unwrap();
                    continue;
                }
                let (mut aside, request) = (server.set_aside().unwrap(), request.clone());
                scope.spawn(move || aside.reply(&[IoSlice::new(&request)]).unwrap());
            }
        });
        next
    });
    thread::scope(|scope| {
        for number in 0..THREADS {
            let client = client.as_ref();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut request = [number.to_le_bytes(), round.to_le_bytes()].concat();
                    let len = match (number + round) % 5 {
                        0 => 300_000,
                        1 => 70_000,
                        _ => 50,
                    };
                    request.extend(content((number * ROUNDS + round).into(), len));
                    if round % 4 == 1 {
                        client.post(&[IoSlice::new(&request)]).unwrap();
                    } else {
                        let reply = call(client, &request).unwrap();
                        assert!(reply == request, "thread {number} round {round}");
                    }
                }
            });
        }
    });
    client.flush().unwrap();
    drop(client);
    assert_eq!(thread.join().unwrap(), [ROUNDS; THREADS as usize]);
}

/// Every thread that waits learns that the server has gone.
fn a_server_that_goes_is_noticed_by_all(ends: fn(Limits, Limits) -> Ends) {
    let (client, mut server) = ends(limits(), limits());
    let thread = thread::spawn(move || {
        let mut request = Vec::new();
        let aside = [0; 4].map(|_| {
            assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
            server.set_aside().unwrap()
        });
        drop(server);
        drop(aside);
    });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let called = call(client.as_ref(), b"x");
                assert!(matches!(called, Err(Error::PeerGone)), "{called:?}");
            });
        }
    });
    thread.join().unwrap();
}

fn a_server_that_goes_is_noticed(ends: fn(Limits, Limits) -> Ends) {
    // While the call is under way.
    let (client, mut server) = ends(limits(), limits());
    let thread = thread::spawn(move || {
        let mut request = Vec::new();
        assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Call));
    });
    assert!(matches!(call(client.as_ref(), b"x"), Err(Error::PeerGone)));
    thread.join().unwrap();
    // From then on.
    assert!(matches!(call(client.as_ref(), b"x"), Err(Error::PeerGone)));
    assert!(matches!(client.post(&[]), Err(Error::PeerGone)));
    assert!(matches!(client.flush(), Err(Error::PeerGone)));

    // Before the call, and with more than any buffer holds.
    let (client, server) = ends(limits(), limits());
    drop(server);
    let request = content(0, 16 << 20);
    assert!(matches!(
        call(client.as_ref(), &request),
        Err(Error::PeerGone)
    ));
    let (client, server) = ends(limits(), limits());
    drop(server);
    let mut posted = Ok(());
    for _ in 0..16 {
        posted = client.post(&[IoSlice::new(&request)]);
    }
    assert!(matches!(posted, Err(Error::PeerGone)));
}

fn a_client_that_goes_is_noticed(ends: fn(Limits, Limits) -> Ends) {
    let (client, mut server) = ends(limits(), limits());
    drop(client);
    assert_eq!(server.receive(&mut Vec::new()).unwrap(), None);
    assert!(matches!(
        server.receive(&mut Vec::new()),
        Err(Error::PeerGone)
    ));

    // What it flushed is served first.
    let (client, mut server) = ends(limits(), limits());
    client.post(&[IoSlice::new(b"1")]).unwrap();
    client.post(&[IoSlice::new(b"2")]).unwrap();
    client.flush().unwrap();
    drop(client);
    let mut request = Vec::new();
    assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
    assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
    assert_eq!(request, b"2");
    assert_eq!(server.receive(&mut request).unwrap(), None);
}

fn silence_times_out(ends: fn(Limits, Limits) -> Ends) {
    let impatient = Limits {
        timeout: Some(Duration::from_millis(30)),
        ..limits()
    };
    // No reply.
    let (client, server) = ends(impatient, limits());
    assert!(matches!(call(client.as_ref(), b"x"), Err(Error::TimedOut)));
    assert!(matches!(call(client.as_ref(), b"x"), Err(Error::PeerGone)));
    drop(server);
    // Nobody takes the request.
    let (client, server) = ends(impatient, limits());
    let request = content(0, 32 << 20);
    assert!(matches!(
        call(client.as_ref(), &request),
        Err(Error::TimedOut)
    ));
    drop(server);
    // A server has patience with a client that asks for nothing.
    let (client, server) = ends(limits(), impatient);
    let thread = echo(server);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(call(client.as_ref(), b"late").unwrap(), b"late");
    drop(client);
    thread.join().unwrap().unwrap();
}

fn a_deadline_bounds_the_wait_for_a_request(ends: fn(Limits, Limits) -> Ends) {
    // Nothing comes.
    let (client, mut server) = ends(limits(), limits());
    let soon = Instant::now() + Duration::from_millis(30);
    server.set_deadline(Some(soon)).unwrap();
    let mut request = Vec::new();
    assert!(matches!(server.receive(&mut request), Err(Error::TimedOut)));
    assert!(Instant::now() >= soon);
    drop(client);
    // What comes in time is taken, and then there is patience again.
    let (client, mut server) = ends(limits(), limits());
    let deadline = Instant::now() + Duration::from_secs(600);
    server.set_deadline(Some(deadline)).unwrap();
    client.post(&[IoSlice::new(b"in time")]).unwrap();
    client.flush().unwrap();
    assert_eq!(server.receive(&mut request).unwrap(), Some(Kind::Posted));
    assert_eq!(request, b"in time");
    server.set_deadline(None).unwrap();
    let thread = echo(server);
    assert_eq!(call(client.as_ref(), b"x").unwrap(), b"x");
    drop(client);
    thread.join().unwrap().unwrap();
}

fn times_of_any_length_are_taken(ends: fn(Limits, Limits) -> Ends) {
    let longest = Limits {
        connect_timeout: Duration::MAX,
        timeout: Some(Duration::MAX),
        ..limits()
    };
    let (client, server) = ends(longest, longest);
    let thread = echo(server);
    assert_eq!(call(client.as_ref(), b"x").unwrap(), b"x");
    drop(client);
    thread.join().unwrap().unwrap();

    let none = Limits {
        timeout: Some(Duration::ZERO),
        ..limits()
    };
    let (client, server) = ends(none, limits());
    assert!(matches!(call(client.as_ref(), b"x"), Err(Error::TimedOut)));
    drop(server);
}

macro_rules! conformance {
    ($ends:ident: $($test:ident)*) => {
        mod $ends {
            $(
                #[test]
                fn $test() {
                    if stringify!($ends) != "vsock" || super::has_vsock() {
                        super::$test(super::$ends);
                    }
                }
            )*
        }
    };
    ($($ends:ident)*) => {
        $(
            conformance! {
                $ends:
                requests_arrive_whole_and_in_order
                messages_of_every_size
                many_posted_requests
                flush_wakes_the_server
                a_message_in_many_parts
                too_long_is_refused_by_the_sender
                misuse_of_the_server_end_is_refused
                calls_are_answered_in_any_order
                a_call_set_aside_holds_up_nobody
                threads_call_at_the_same_time
                a_server_that_goes_is_noticed_by_all
                a_server_that_goes_is_noticed
                a_client_that_goes_is_noticed
                silence_times_out
                a_deadline_bounds_the_wait_for_a_request
                times_of_any_length_are_taken
            }
        )*
    };
}

conformance! { tcp vsock memfd }

#[test]
fn a_pair_needs_no_address() {
    let (client, server) = pair(&limits()).unwrap();
    let thread = echo(server);
    client.post(&[IoSlice::new(b"posted")]).unwrap();
    assert_eq!(call(client.as_ref(), b"hello").unwrap(), b"hello");
    assert_eq!(client.transport(), "pair");
    drop(client);
    thread.join().unwrap().unwrap();
}

#[test]
fn transports_have_their_names() {
    assert_eq!(tcp(limits(), limits()).0.transport(), "tcp");
    assert_eq!(memfd(limits(), limits()).0.transport(), "memfd");
    if has_vsock() {
        assert_eq!(vsock(limits(), limits()).0.transport(), "vsock");
    }
}

#[test]
fn nobody_to_connect_to_is_a_clear_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let nobody = VsockAddress { port: 1, ..VSOCK };
    for (config, word) in [
        (Config::tcp(&address), address.as_str()),
        (Config::tcp("no port"), "no port"),
        (Config::vsock(nobody), &nobody.to_string()),
        (Config::memfd("/nonexistent/socket"), "/nonexistent/socket"),
        (Config::ring("/nonexistent/device"), "/nonexistent/device"),
        (Config::ring("/dev/null"), "/dev/null"),
    ] {
        match connect(&config) {
            Err(error @ Error::Setup { .. }) => {
                assert!(error.to_string().contains(word), "{error}");
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("connected to {word}"),
        }
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let config = Config::memfd(socket_path());
    let first = listen(&config).unwrap();
    assert!(matches!(listen(&config), Err(Error::Setup { .. })));
    drop(first);
    listen(&config).unwrap();
    let Endpoint::Memfd(path) = config.endpoint else {
        unreachable!("as configured above")
    };
    std::fs::remove_file(path).unwrap();
}
