// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Either end of a ring whose other side writes what it likes into the memory of both.
#![no_main]

use std::io::IoSlice;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use wormhole_transport::fuzzing::{client, server, Deed};
use wormhole_transport::{Client, Kind, Server};

/// Longest message.
const MAX: u32 = 100_000;

/// Something that the other side does.
#[derive(Arbitrary, Debug)]
enum Step {
    Number(u8, u64),
    Small(u8, u16),
    Ring(u16, Vec<u8>),
    Record(u16, [u32; 3], u8, u8),
    Bulk(u16, Vec<u8>),
    Pause,
}

impl From<Step> for Deed {
    fn from(step: Step) -> Deed {
        match step {
            Step::Number(word, value) => Deed::Word(word, value),
            Step::Small(word, value) => Deed::Word(word, value.into()),
            Step::Ring(at, bytes) => Deed::Ring(at, bytes),
            // As userlib/transport/src/ring/record.rs has it, on its boundary.
            Step::Record(at, numbers, kind, place) => {
                let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
                bytes.extend([kind % 4, place % 3, 0, 0]);
                Deed::Ring(at / 16 * 16, bytes)
            }
            Step::Bulk(at, bytes) => Deed::Bulk(at, bytes),
            Step::Pause => Deed::Pause,
        }
    }
}

fn serve(mut server: impl Server) {
    let mut request = Vec::new();
    while let Ok(Some(kind)) = server.receive(&mut request) {
        assert!(request.len() <= MAX as usize);
        if kind == Kind::Call && server.reply(&[IoSlice::new(&request)]).is_err() {
            break;
        }
    }
    assert!(request.capacity() <= 2 * MAX as usize);
}

fn call(client: impl Client) {
    let mut reply = Vec::new();
    let request = [IoSlice::new(&[7; 3000])];
    while client.post(&request).is_ok() && client.call(&request, &mut reply).is_ok() {
        assert!(reply.len() <= MAX as usize);
    }
    assert!(reply.capacity() <= 2 * MAX as usize);
}

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (serves, steps) = input;
    let deeds = steps.into_iter().map(Deed::from).collect();
    match serves {
        true => serve(server(deeds, MAX).expect("memory for a channel")),
        false => call(client(deeds, MAX).expect("memory for a channel")),
    }
});
