// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server VM dies and comes back, as the client VM sees it.

use std::thread;
use std::time::{Duration, Instant};

use libc::ENOTCONN;
use wormhole_uapi::{WORMHOLE_GUEST_WAIT_LINK_DOWN, WORMHOLE_GUEST_WAIT_PEER_CLOSED};

use crate::device::{Device, FOREVER, LONG};
use crate::script::{ask, Command};
use crate::tap::{self, Test};

pub fn run() -> bool {
    tap::run(&[Test::new(
        "server_vm_dies_and_comes_back",
        dies_and_comes_back,
    )])
}

fn dies_and_comes_back() {
    let device = Device::open();
    device.connect(LONG).expect("CONNECT");
    let map = device.map();
    ask(&device, &map, Command::Echo, 1);
    println!("# waiting");

    let wait = device.wait(device.event(), FOREVER).expect("WAIT");
    assert_eq!(
        wait.status,
        WORMHOLE_GUEST_WAIT_PEER_CLOSED | WORMHOLE_GUEST_WAIT_LINK_DOWN
    );
    assert_eq!(device.poll(0) & libc::POLLHUP, libc::POLLHUP);
    assert_eq!(device.info().expect("INFO").peer_up, 0);
    assert_eq!(Device::open().connect(LONG).unwrap_err(), ENOTCONN);
    println!("# the server VM is gone");

    let start = Instant::now();
    while device.info().expect("INFO").peer_up == 0 {
        assert!(
            start.elapsed() < Duration::from_secs(600),
            "the server VM does not come back"
        );
        thread::sleep(Duration::from_millis(100));
    }
    // The old connection is not the new VM's.
    let wait = device.wait(device.event(), FOREVER).expect("WAIT");
    assert_eq!(
        wait.status,
        WORMHOLE_GUEST_WAIT_PEER_CLOSED | WORMHOLE_GUEST_WAIT_LINK_DOWN
    );
    // Offered before its driver is there, accepted by it.
    let again = Device::open();
    again
        .connect(10 * LONG)
        .expect("CONNECT to the VM that came back");
    let map = again.map();
    ask(&again, &map, Command::Echo, 2);
    ask(&again, &map, Command::Quit, 3);
}
