// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host tells the server VM of calls that hop home.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};
use rustix::io::{read, Errno};
use wormhole_uapi as uapi;
use wormhole_uapi::wormhole_pair;

use crate::device::{pair_args, Device};
use crate::guest_code as code;
use crate::hops::{hop_again, resume};
use crate::layout::*;
use crate::pair::{Pair, CARRIER};
use crate::vm::Guest;

crate::tests! {
    each_hop_is_signalled
    unpairing_signals_the_calls_that_hop_then
}

/// Ready for calls of `function`, with the eventfd that hops signal.
fn ready(function: u64) -> (Pair, OwnedFd) {
    let (client, server) = (Guest::new(), Guest::new());
    let event = eventfd(0, EventfdFlags::NONBLOCK).expect("eventfd");
    let arguments = wormhole_pair {
        flags: uapi::WORMHOLE_PAIR_SERVER_EVENT,
        server_event_fd: event.as_raw_fd(),
        ..pair_args(
            client.as_fd().as_raw_fd(),
            server.as_fd().as_raw_fd(),
            "signal",
        )
    };
    let device = Device::open().expect("/dev/wormhole opens");
    let pairing = device.pair_raw(&arguments).expect("PAIR");
    let mut pair = Pair {
        client,
        server,
        pairing,
    };
    pair.open(function);
    pair.bind();
    (pair, event)
}

/// How often it was signalled since it was last asked.
fn signals(event: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match read(event, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(Errno::AGAIN) => 0,
        Err(errno) => panic!("read: {errno}"),
    }
}

fn each_hop_is_signalled() {
    let (mut pair, event) = ready(code::guest_syscall_inside());
    assert_eq!(signals(&event), 0);
    for _ in 0..3 {
        let token = hop_again(&mut pair, [0, 0]);
        assert_eq!(signals(&event), 1);
        assert_eq!(pair.finish(CARRIER, 1), 0);
        assert_eq!(resume(&mut pair, token), 1);
        assert_eq!(signals(&event), 0, "RETURN is the server's own");
    }
}

fn unpairing_signals_the_calls_that_hop_then() {
    let (mut pair, event) = ready(code::guest_loop_until());
    pair.start([SERVER_DATA, 100, 0, 0, 0, 0]);
    let stop = pair.client.vcpu.run_until(Duration::from_millis(50));
    assert!(stop.is_none(), "{stop:x?}");
    assert_ne!(pair.server.memory.get(SERVER_DATA_PAGES + 8), 0);
    assert_eq!(signals(&event), 0, "a call that is stopped has not hopped");
    drop(pair.pairing);
    assert_eq!(signals(&event), 1);
}
