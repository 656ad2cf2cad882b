// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server's side of delegated calls: batches of records and requests in pieces, in lanes that
//! the client has filled with anything.
#![no_main]

use std::fmt::Display;
use std::io::IoSlice;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use wormhole_transport::{fuzzing::spare, Error, Kind};
use wormhole_vmfunc::fuzzing::Calls;
use wormhole_vmfunc::{Handler, Reply};

/// Longest message.
const MAX: u32 = 100_000;
/// Result of a call when the session is over. Lengths are smaller.
const OVER: u64 = 1 << 32;

#[derive(Arbitrary, Debug)]
enum Argument {
    Filled,
    Small(u16),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// As userlib/vmfunc/src/batch.rs has them: what each is, and its bytes.
    Records(Vec<(u8, Vec<u8>)>),
    /// A header alone.
    Header(u32, u8),
}

impl Content {
    fn bytes(self) -> Vec<u8> {
        match self {
            Content::Bytes(bytes) => bytes,
            Content::Records(records) => {
                let mut bytes = Vec::new();
                for (kind, request) in records {
                    bytes.extend((request.len() as u32).to_le_bytes());
                    bytes.extend(u32::from(kind % 4).to_le_bytes());
                    bytes.extend(&request);
                    bytes.resize(bytes.len().next_multiple_of(8), 0);
                }
                bytes
            }
            Content::Header(len, kind) => {
                let mut bytes = len.to_le_bytes().to_vec();
                bytes.extend(u32::from(kind % 4).to_le_bytes());
                bytes
            }
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Step {
    work: u8,
    lane: u8,
    argument: Argument,
    content: Content,
}

/// Answers with as many bytes as the request says.
struct Echo;

impl Handler for Echo {
    type Error = &'static str;

    fn blocks(&self, _: &[u8]) -> bool {
        false
    }

    fn handle(
        &self,
        request: &[u8],
        kind: Kind,
        reply: &mut Reply<'_>,
    ) -> Result<(), &'static str> {
        assert!(request.len() <= MAX as usize);
        if kind == Kind::Posted {
            return Ok(());
        }
        let Some(len) = request.first_chunk() else {
            return Err("too short");
        };
        let zeros = vec![0; u32::from_le_bytes(*len) as usize % (2 * MAX as usize)];
        match reply(&[IoSlice::new(&zeros)]) {
            Err(Error::TooLarge { .. }) => reply(&[]).map_err(|_| "no empty reply"),
            replied => replied.map_err(|_| "no reply"),
        }
    }

    fn refuse(&self, _: &mut Reply<'_>) -> Result<(), &'static str> {
        Ok(())
    }

    fn over(&self, why: &dyn Display) {
        assert_ne!(why.to_string(), "a panic");
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let calls = Calls::new(spare().expect("memory for a channel"), Echo, MAX);
    for step in steps {
        let bytes = step.content.bytes();
        let argument = match step.argument {
            Argument::Filled => bytes.len() as u64,
            Argument::Small(number) => number.into(),
            Argument::Any(number) => number,
        };
        let result = calls.call(step.work % 5, step.lane % 18, argument, &bytes);
        assert!(result == OVER || result <= MAX.into());
    }
});
