// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A server's session, carrying out what comes.

use arbitrary::Unstructured;
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_server::{Binaries, Limits, Session};

use crate::grammar::read_as;
use crate::sequence::Names;
use crate::vendor::{self, Played};

/// What a client of the session may have.
const LIMITS: Limits = Limits {
    max_objects: 64,
    max_pending: 64 << 10,
};

/// Calls that a program begins with, so that there is something to work on.
const FIRST: [&str; 8] = [
    "clCreateContext",
    "clCreateCommandQueue",
    "clCreateBuffer",
    "clCreateSampler",
    "clCreateProgramWithSource",
    "clBuildProgram",
    "clCreateKernel",
    "clEnqueueWriteBuffer",
];

/// How a session went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Names of the functions whose requests were answered with success.
    pub good: Vec<&'static str>,
    /// That failed with a status.
    pub failed: u32,
    /// Whether one of them ended it.
    pub ended: bool,
}

/// Has a session carry out a sequence of requests that these bytes stand for.
///
/// # Panics
/// If the vendor's library was given what it must not be, a reply is none, or references to
/// objects were lost.
pub fn serve(bytes: &[u8]) -> Outcome {
    let mut u = Unstructured::new(bytes);
    let script = u.arbitrary_len::<u8>().unwrap_or(0).min(bytes.len() / 4);
    Played::begin(u.bytes(script).unwrap_or_default().to_vec());
    let nowhere = std::path::PathBuf::from("/nonexistent");
    let session = Session::new(vendor::table(), Binaries::new(nowhere, 0), LIMITS);
    let mut outcome = Outcome::default();
    let odds = u.choose(&[0, 250, 100, 30]).copied().unwrap_or(0);
    let mut names = Names::new(odds);
    let mut first = ["clGetPlatformIDs", "clGetDeviceIDs"].iter().chain(&FIRST);
    // Without these there is nothing to find.
    let by_the_rules = 2;
    for number in 0.. {
        let request = match first.next() {
            Some(name) if number < by_the_rules => {
                names.request_named(name, &mut Unstructured::new(&[]))
            }
            Some(name) => names.request_named(name, &mut u),
            None if u.is_empty() => break,
            None => names.request(&mut u),
        };
        let Ok(request) = request else { break };
        let Ok(answer) = session.request(&request.bytes, request.answered) else {
            outcome.ended = true;
            break;
        };
        assert_eq!(answer.is_some(), request.answered, "{request:?}");
        match answer {
            Some(Ok(reply)) => {
                let (_, is_reply) = read_as(request.message.function, &[], &reply);
                assert!(is_reply, "no reply: {reply:?} to {request:?}");
                names.made(&request);
                outcome.good.push(request.message.name);
            }
            Some(Err(_)) => outcome.failed += 1,
            None => names.made(&request),
        }
        if !Played::content() {
            panic!("{:?} after {request:?}", Played::end().0);
        }
    }
    Played::during("the end", Played::complete_all);
    let left = session.left();
    let (wrong, held) = Played::end();
    assert!(wrong.is_empty(), "{wrong:?}");
    if !outcome.ended {
        for kind in Kind::ALL {
            let of_kind = held.values().filter(|(of, _)| *of == kind);
            let held: i64 = of_kind.map(|(_, references)| i64::from(*references)).sum();
            assert_eq!(held, left.number(kind), "references to {}", kind.name());
        }
    }
    outcome
}
