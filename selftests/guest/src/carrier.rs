// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server's side of exitless calls: AWAIT and END, in the child that serves a connection.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use libc::{EBUSY, EINTR, EINVAL, ENOENT, EOPNOTSUPP, EPERM, EPIPE, ETIMEDOUT};
use wormhole_uapi::{
    wormhole_carrier, wormhole_guest_await, WORMHOLE_CARRIER_HOPPED, WORMHOLE_CARRIER_PARKED,
    WORMHOLE_GUEST_WAIT_PEER_CLOSED, WORMHOLE_MAX_CARRIERS,
};

use crate::device::{Device, FOREVER, LONG, MILLISECOND};
use crate::process::{Alarm, Child, End};

const PAGE: usize = 4096;
/// The carrier that there is.
const INDEX: u32 = 5;

extern "C" fn entry(_: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0
}

/// A carrier's context, never freed: a session may have it to its end.
struct Context(*mut wormhole_carrier);

impl Context {
    fn new() -> Self {
        // SAFETY: A new mapping, at an address of the kernel's choice.
        let page = unsafe {
            libc::mmap(
                null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(page, libc::MAP_FAILED);
        let context: *mut wormhole_carrier = page.cast();
        // SAFETY: A page of ours that nobody else has yet.
        unsafe { (*context).stack = page as u64 + PAGE as u64 };
        Self(context)
    }

    /// The word that the host sets.
    fn state(&self) -> &AtomicU32 {
        // SAFETY: Aligned and mapped for good; accessed as an atomic alone.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).state) }
    }
}

/// Serves a session, and gives it the carrier.
fn serve(device: &Device) -> Context {
    device.serve(entry as usize as u64).expect("SERVE");
    let context = Context::new();
    device.carrier(INDEX, context.0 as u64).expect("CARRIER");
    context
}

/// All that needs the client's interrupts alone, which come while this runs.
pub fn with_interrupts(device: &Device) {
    assert_eq!(device.await_hop(INDEX, FOREVER).unwrap_err(), ENOENT);
    assert_eq!(device.end().unwrap_err(), ENOENT);
    assert_eq!(device.retire(INDEX).unwrap_err(), ENOENT);
    match device.serve(entry as usize as u64) {
        Err(EOPNOTSUPP) => {
            println!("# no exitless calls here");
            return;
        }
        served => served.expect("SERVE"),
    }
    assert_eq!(device.end(), Ok(()));

    let context = serve(device);
    assert_eq!(device.serve(entry as usize as u64).unwrap_err(), EBUSY);
    arguments(device);
    timeouts(device);
    another_process(device);
    hops(device, &context);
    retires(device);
    ends(device, &context);
}

fn arguments(device: &Device) {
    for index in [INDEX - 1, INDEX + 1, WORMHOLE_MAX_CARRIERS, u32::MAX] {
        assert_eq!(device.await_hop(index, FOREVER).unwrap_err(), ENOENT);
    }
    assert_eq!(device.await_hop(INDEX, -2).unwrap_err(), EINVAL);
    assert_eq!(device.await_hop(INDEX, i64::MIN).unwrap_err(), EINVAL);
    let mut request = wormhole_guest_await {
        index: INDEX,
        reserved: 1,
        ..Default::default()
    };
    assert_eq!(device.await_with(&mut request).unwrap_err(), EINVAL);
}

fn timeouts(device: &Device) {
    assert_eq!(device.await_hop(INDEX, 0).unwrap_err(), ETIMEDOUT);
    let start = Instant::now();
    let slept = device.await_hop(INDEX, 20 * MILLISECOND);
    assert_eq!(slept.unwrap_err(), ETIMEDOUT);
    assert!(start.elapsed() >= Duration::from_millis(20));
    let _alarm = Alarm::after(Duration::from_millis(50));
    assert_eq!(device.await_hop(INDEX, FOREVER).unwrap_err(), EINTR);
}

fn another_process(device: &Device) {
    let child = Child::fork(|| {
        assert_eq!(device.await_hop(INDEX, FOREVER).unwrap_err(), EPERM);
        assert_eq!(device.end().unwrap_err(), EPERM);
        assert_eq!(device.retire(INDEX).unwrap_err(), EPERM);
        0
    });
    assert_eq!(child.end(), End::Exit(0));
}

/// Our own hand plays the host's here.
fn hops(device: &Device, context: &Context) {
    context.state().store(WORMHOLE_CARRIER_HOPPED, SeqCst);
    assert_eq!(device.await_hop(INDEX, 0), Ok(0));
    assert_eq!(device.await_hop(INDEX, FOREVER), Ok(0));
    context.state().store(WORMHOLE_CARRIER_PARKED, SeqCst);
    assert_eq!(device.await_hop(INDEX, 0).unwrap_err(), ETIMEDOUT);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| device.await_hop(INDEX, LONG));
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished(), "interrupts wake whom they concern");
        context.state().store(WORMHOLE_CARRIER_HOPPED, SeqCst);
        // By the next interrupt, whose event is another one's.
        assert_eq!(waiting.join().expect("no panic"), Ok(0));
    });
    context.state().store(WORMHOLE_CARRIER_PARKED, SeqCst);
}

/// Nobody calls here: what is asked for twice is given back.
fn retires(device: &Device) {
    for unknown in [INDEX + 1, WORMHOLE_MAX_CARRIERS, u32::MAX] {
        assert_eq!(device.retire(unknown).unwrap_err(), ENOENT, "{unknown}");
    }
    let context = Context::new();
    for _ in 0..2 {
        device
            .carrier(INDEX + 1, context.0 as u64)
            .expect("CARRIER");
        assert_eq!(device.await_hop(INDEX + 1, 0).unwrap_err(), ETIMEDOUT);
        assert_eq!(device.retire(INDEX + 1).unwrap_err(), EBUSY);
        assert_eq!(device.retire(INDEX + 1), Ok(()));
        for known_no_more in [
            device.await_hop(INDEX + 1, FOREVER).map(drop),
            device.retire(INDEX + 1),
        ] {
            assert_eq!(known_no_more.unwrap_err(), ENOENT);
        }
    }
    assert_eq!(device.await_hop(INDEX, 0).unwrap_err(), ETIMEDOUT);
}

fn ends(device: &Device, context: &Context) {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| device.await_hop(INDEX, FOREVER));
        thread::sleep(Duration::from_millis(50));
        assert_eq!(device.end(), Ok(()));
        assert_eq!(waiting.join().expect("no panic").unwrap_err(), EPIPE);
    });
    assert_eq!(device.end().unwrap_err(), EPIPE);
    assert_eq!(device.retire(INDEX).unwrap_err(), EPIPE);
    assert_eq!(device.await_hop(INDEX, FOREVER).unwrap_err(), EPIPE);
    assert_eq!(device.await_hop(INDEX + 1, 0).unwrap_err(), EPIPE);
    // A call that END had hop home, and whose thread was elsewhere then.
    context.state().store(WORMHOLE_CARRIER_HOPPED, SeqCst);
    assert_eq!(device.await_hop(INDEX, FOREVER), Ok(0));
    context.state().store(WORMHOLE_CARRIER_PARKED, SeqCst);
    assert_eq!(device.await_hop(INDEX, FOREVER).unwrap_err(), EPIPE);
    assert_eq!(device.finish(INDEX, 0).unwrap_err(), ENOENT);
    let context = Context::new();
    let given = device.carrier(INDEX, context.0 as u64);
    assert_eq!(given.unwrap_err(), EPIPE);
}

/// Until the client closes the channel.
pub fn until_the_client_closes(device: &Device) {
    match device.serve(entry as usize as u64) {
        Err(EOPNOTSUPP) => return,
        served => served.expect("SERVE"),
    }
    assert_eq!(device.end(), Ok(()));
    let _context = serve(device);
    let closed = device.await_hop(INDEX, LONG);
    assert_eq!(closed, Ok(WORMHOLE_GUEST_WAIT_PEER_CLOSED));
}
