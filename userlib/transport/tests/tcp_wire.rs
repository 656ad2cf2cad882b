// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes on a TCP connection that no peer of ours would send.

use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use wormhole_transport::{connect, listen, Client, Config, Error, Kind, Limits};

const MAX: u32 = 1 << 20;

fn hello(magic: &[u8; 8], version: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&MAX.to_le_bytes());
    bytes
}

fn good_hello() -> Vec<u8> {
    hello(b"WORMHOLE", 1)
}

fn frame(kind: u8, sequence: u32, len: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"WHFR".to_vec();
    bytes.extend_from_slice(&[kind, 0, 0, 0]);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn config() -> Config {
    let mut config = Config::tcp("127.0.0.1:0");
    config.limits.max_message = MAX;
    config
}

/// What a server made of a client's bytes: the requests, how it ended, and how
/// much memory its buffer took.
struct Outcome {
    requests: Vec<(Kind, Vec<u8>)>,
    end: Result<(), Error>,
    capacity: usize,
}

/// Sends `bytes` to a server and ends the stream behind them.
fn serve(bytes: &[u8]) -> Outcome {
    let mut listener = listen(&config()).unwrap();
    let mut client = TcpStream::connect(listener.to_string()).unwrap();
    let server: JoinHandle<Outcome> = thread::spawn(move || {
        let mut outcome = Outcome {
            requests: Vec::new(),
            end: Ok(()),
            capacity: 0,
        };
        let mut server = match listener.accept().unwrap().serve() {
            Ok(server) => server,
            Err(error) => {
                outcome.end = Err(error);
                return outcome;
            }
        };
        let mut request = Vec::new();
        loop {
            let received = server.receive(&mut request);
            outcome.capacity = request.capacity();
            match received {
                Ok(Some(kind)) => outcome.requests.push((kind, request.clone())),
                Ok(None) => return outcome,
                Err(error) => {
                    outcome.end = Err(error);
                    return outcome;
                }
            }
            if matches!(outcome.requests.last(), Some((Kind::Call, _))) {
                if let Err(error) = server.reply(&[IoSlice::new(b"reply")]) {
                    outcome.end = Err(error);
                    return outcome;
                }
            }
        }
    });
    // The server may have hung up already.
    let _ = client.write_all(bytes);
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.read_to_end(&mut Vec::new());
    server.join().unwrap()
}

/// What a client makes of a server's bytes, which follow its call.
fn call(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let bytes = bytes.to_vec();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let config = Config {
        limits: config().limits,
        ..Config::tcp(address)
    };
    let called = connect(&config).and_then(|client: Box<dyn Client>| {
        let mut reply = Vec::new();
        client.call(&[IoSlice::new(b"call")], &mut reply)?;
        Ok(reply)
    });
    server.join().unwrap();
    called
}

fn after_hello(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = good_hello();
    bytes.extend(frames.iter().flatten());
    bytes
}

#[test]
fn good_bytes_are_served() {
    let outcome = serve(&after_hello(&[frame(1, 0, 2, b"ab"), frame(2, 1, 0, b"")]));
    assert!(outcome.end.is_ok(), "{:?}", outcome.end);
    assert_eq!(
        outcome.requests,
        [(Kind::Posted, b"ab".to_vec()), (Kind::Call, Vec::new())]
    );
    assert_eq!(call(&after_hello(&[frame(3, 0, 2, b"ok")])).unwrap(), b"ok");
}

#[test]
fn a_peer_of_another_kind_is_refused() {
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for bytes in [&http[..], &hello(b"WORMHOLF", 1)] {
        let end = serve(bytes).end;
        assert!(matches!(end, Err(Error::Protocol(_))), "{end:?}");
        let called = call(bytes);
        assert!(matches!(called, Err(Error::Protocol(_))), "{called:?}");
    }
}

#[test]
fn another_version_is_named_on_both_ends() {
    let future = hello(b"WORMHOLE", 9);
    for end in [serve(&future).end, call(&future).map(|_| ())] {
        let Err(error @ Error::Version { ours: 1, theirs: 9 }) = end else {
            panic!("{end:?}");
        };
        assert!(error.to_string().contains("version 9"), "{error}");
    }
}

#[test]
fn an_end_at_any_byte_is_noticed() {
    let whole = after_hello(&[frame(1, 0, 40, &[1; 40])]);
    for cut in 0..whole.len() {
        let end = serve(&whole[..cut]).end;
        // Right behind the hello, nothing is missing.
        match cut {
            16 => assert!(end.is_ok(), "{end:?}"),
            _ => assert!(matches!(end, Err(Error::PeerGone)), "{cut}: {end:?}"),
        }
    }
    let whole = after_hello(&[frame(3, 0, 40, &[1; 40])]);
    for cut in 0..whole.len() {
        let called = call(&whole[..cut]);
        assert!(matches!(called, Err(Error::PeerGone)), "{cut}: {called:?}");
    }
}

#[test]
fn wrong_frames_are_refused() {
    let mut no_magic = frame(1, 0, 0, b"");
    no_magic[3] = b'X';
    let mut reserved = frame(1, 0, 0, b"");
    reserved[6] = 1;
    for (wrong, word) in [
        (no_magic, "magic"),
        (reserved, "reserved"),
        (frame(0, 0, 0, b""), "kind"),
        (frame(4, 0, 0, b""), "kind"),
        (frame(3, 0, 0, b""), "reply came"),
        (frame(1, 1, 0, b""), "sequence"),
        (frame(2, u32::MAX, 0, b""), "sequence"),
    ] {
        let outcome = serve(&after_hello(&[wrong]));
        let Err(error @ Error::Protocol(_)) = outcome.end else {
            panic!("{word}: {:?}", outcome.end);
        };
        assert!(error.to_string().contains(word), "{error}");
        assert!(outcome.requests.is_empty());
    }
    for (wrong, word) in [
        (frame(1, 0, 0, b""), "request came"),
        (frame(2, 0, 0, b""), "request came"),
        (frame(3, 1, 0, b""), "another call"),
    ] {
        let called = call(&after_hello(&[wrong]));
        let Err(error @ Error::Protocol(_)) = called else {
            panic!("{word}: {called:?}");
        };
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_length_is_not_believed() {
    let over = frame(1, 0, MAX + 1, b"");
    let outcome = serve(&after_hello(&[over]));
    let end = outcome.end;
    assert!(
        matches!(
            end,
            Err(Error::TooLarge {
                len: 1_048_577,
                max: 1_048_576
            })
        ),
        "{end:?}"
    );
    assert_eq!(outcome.capacity, 0);

    // Allowed, but it does not come: no memory is spent on the promise.
    let outcome = serve(&after_hello(&[frame(1, 0, MAX, b"little")]));
    let end = outcome.end;
    assert!(matches!(end, Err(Error::PeerGone)), "{end:?}");
    assert!(outcome.capacity < 64 << 10, "{}", outcome.capacity);
}

#[test]
fn a_silent_client_does_not_hold_the_greeting() {
    let mut config = config();
    config.limits = Limits {
        connect_timeout: std::time::Duration::from_millis(30),
        ..config.limits
    };
    let mut listener = listen(&config).unwrap();
    let _silent = TcpStream::connect(listener.to_string()).unwrap();
    let served = listener.accept().unwrap().serve();
    assert!(matches!(served, Err(Error::TimedOut)));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_streams_end_in_an_error_at_worst(
        lens in prop::collection::vec((1u8..3, 0usize..300), 0..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let frames: Vec<_> = lens.iter().enumerate().map(|(i, &(kind, len))| {
            frame(kind, i as u32, len as u32, &vec![i as u8; len])
        }).collect();
        let mut bytes = after_hello(&frames);
        bytes.extend(garbage);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let outcome = serve(&bytes);
        prop_assert!(outcome.requests.len() <= lens.len() + 2);
        prop_assert!(outcome.capacity < 64 << 10);
        let _ = call(&bytes);
    }
}
