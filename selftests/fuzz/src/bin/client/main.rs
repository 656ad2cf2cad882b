// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client's library, used by a program that keeps to the rules, of a server that does not.
//!
//! A process has one connection, and objects that it never forgets: each case has a process of its
//! own, which gives its coverage to the one that fuzzes.
#![no_main]

mod process;
mod program;

use std::io::IoSlice;
use std::sync::OnceLock;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use wormhole_opencl_fuzz::allocator::{fenced, Fence};
use wormhole_opencl_fuzz::grammar::MESSAGES;
use wormhole_opencl_fuzz::sequence::Names;
use wormhole_transport::{Config, Kind, Listener, Server};

#[global_allocator]
static FENCE: Fence = Fence;

/// Bytes that the program and the library may have at once.
const MOST: usize = 64 << 20;
/// In a directory that is this run's alone (selftests/testbed/enter.sh).
const SOCKET: &str = "/run/wormhole-fuzz";

/// Where the library will look for its server.
fn listener() -> Listener {
    std::env::set_var("WORMHOLE_TRANSPORT", "memfd");
    std::env::set_var("WORMHOLE_MEMFD", SOCKET);
    wormhole_transport::listen(&Config::memfd(SOCKET)).expect("a socket to listen at")
}

/// Answers every call by the bytes, until the client goes.
fn serve(mut server: Box<dyn Server>, bytes: &[u8]) -> Option<()> {
    let mut u = Unstructured::new(bytes);
    let odds = u.choose(&[0, 250, 60, 15]).copied().unwrap_or(0);
    let (mut names, mut handed) = (Names::new(odds), 0);
    let mut request = Vec::new();
    loop {
        if server.receive(&mut request).ok()?? == Kind::Posted {
            continue;
        }
        let function = u16::from_le_bytes(*request.first_chunk()?);
        let message = MESSAGES.iter().find(|of| of.function == function)?;
        let reply = names.reply(message, &mut handed, &mut u);
        server
            .reply(&[IoSlice::new(&reply.unwrap_or_default())])
            .ok()?;
    }
}

fuzz_target!(|bytes: &[u8]| {
    static LISTENER: OnceLock<std::sync::Mutex<Listener>> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| listener().into());
    let (program, server) = bytes.split_at(bytes.len() / 2);
    process::in_another(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut listener = listener.lock().expect("no panic");
                let server_end = listener.accept().and_then(|client| client.serve());
                server_end.ok().and_then(|end| serve(end, server))
            });
            fenced(MOST, || program::run(program));
            // The server's thread waits for this process to end.
            process::end();
        });
    });
});
