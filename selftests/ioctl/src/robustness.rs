// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Much at once, and much that makes no sense.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use wormhole_uapi::{wormhole_pair, WORMHOLE_IOC_INFO, WORMHOLE_IOC_PAIR};

use crate::device::{bytes_of, pair_args, with_bytes, Device};
use crate::kvm::Vm;
use crate::observe::{fdinfo, hangs_up, table, DEBUGFS};
use crate::process::VmProcess;
use crate::tap::Test;

pub fn tests() -> Vec<Test<'static>> {
    macro_rules! test {
        ($name:ident) => {
            Test::new(stringify!($name), $name)
        };
    }
    vec![
        test!(random_arguments),
        test!(random_ioctls),
        test!(same_vms_from_many_threads),
        test!(many_pairings),
        test!(readers_while_pairings_come_and_go),
        test!(kill_and_close_at_once),
        test!(no_file_descriptor_leaks),
    ]
}

/// xorshift64: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next() % count == 0
    }
}

fn own_file_descriptors() -> usize {
    fs::read_dir("/proc/self/fd")
        .expect("/proc/self/fd")
        .count()
}

/// A good argument, with some of it spoilt.
fn random_arguments() {
    let device = Device::open().expect("the device opens");
    let (client, server) = (Vm::new(), Vm::new());
    let good = pair_args(
        client.as_fd().as_raw_fd(),
        server.as_fd().as_raw_fd(),
        "fuzz",
    );
    let before = own_file_descriptors();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut paired = 0;
    for _ in 0..2000 {
        let mut bytes = bytes_of(&good);
        // Few are left good: to pair and unpair takes its time.
        let spoilt = !random.one_in(50);
        for _ in 0..if spoilt { 1 + random.below(3) } else { 0 } {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        if spoilt && random.one_in(3) {
            bytes.resize(random.below(200).max(4), random.next() as u8 & 1);
        }
        match with_bytes(&device, WORMHOLE_IOC_PAIR, &bytes) {
            Ok(fd) => {
                paired += 1;
                // SAFETY: PAIR returned a new file descriptor.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            }
            Err(Errno::INVAL | Errno::TOOBIG | Errno::BADF | Errno::MEDIUMTYPE | Errno::LOOP) => {}
            Err(error) => panic!("{error} for {bytes:?}"),
        }
    }
    assert!(paired > 0, "some were good");
    assert_eq!(own_file_descriptors(), before);
    assert_eq!(device.info().expect("INFO").pairings, 0);
}

fn random_ioctls() {
    let device = Device::open().expect("the device opens");
    let mut random = Random(0x0123_4567_89ab_cdef);
    for _ in 0..2000 {
        let mut number = random.next() & u64::from(u32::MAX);
        if random.one_in(2) {
            number = number & !0xff00 | 0xb700;
        }
        let bytes: Vec<u8> = (0..random.below(128).max(4))
            .map(|_| random.next() as u8)
            .collect();
        let what = |ioctl: u64| number & !0x3fff_0000 == ioctl & !0x3fff_0000;
        // The number is known, so the argument is wrong.
        let known = what(WORMHOLE_IOC_INFO) || what(WORMHOLE_IOC_PAIR);
        let result = with_bytes(&device, number, &bytes);
        // The kernel itself answers some numbers for any file (FIONBIO and the like), before the device does.
        let ours = number & 0xff00 == 0xb700;
        match result {
            Err(Errno::NOTTY) => assert!(!known, "{number:#x}"),
            Ok(_) | Err(_) => assert!(known || !ours, "{number:#x}: {result:?}"),
        }
    }
}

fn same_vms_from_many_threads() {
    let device = Device::open().expect("the device opens");
    let (client, server) = (Vm::new(), Vm::new());
    let (paired, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    match device.pair(&client, &server, "race") {
                        Ok(pairing) => {
                            paired.fetch_add(1, Relaxed);
                            assert_eq!(fdinfo(&pairing)["state"], "paired");
                            assert_eq!(device.info().expect("INFO").pairings, 1, "one at a time");
                        }
                        Err(Errno::BUSY) => {
                            busy.fetch_add(1, Relaxed);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(paired.load(Relaxed) > 0);
    assert_eq!(paired.load(Relaxed) + busy.load(Relaxed), 100);
    assert_eq!(device.info().expect("INFO").pairings, 0);
}

/// A chain of VMs, each the client of the next: all of one process, so many notifiers on one address space.
fn many_pairings() {
    let device = Device::open().expect("the device opens");
    let vms: Vec<_> = (0..17).map(|_| Vm::new()).collect();
    let pairings: Vec<_> = vms
        .windows(2)
        .map(|pair| device.pair(&pair[0], &pair[1], "").expect("PAIR"))
        .collect();
    assert_eq!(
        device.info().expect("INFO").pairings as usize,
        pairings.len()
    );
    assert_eq!(table().len(), pairings.len());
    let mut ids: Vec<_> = pairings
        .iter()
        .map(|pairing| fdinfo(pairing)["id"].clone())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), pairings.len());
}

fn readers_while_pairings_come_and_go() {
    let device = Device::open().expect("the device opens");
    let (client, server) = (Vm::new(), Vm::new());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                // Either may vanish under the reader's hands.
                for entry in fs::read_dir(DEBUGFS).expect("debugfs").flatten() {
                    let _ = fs::read_to_string(entry.path().join("client_exits"));
                }
                assert!(table().len() <= 1);
            }
        });
        for _ in 0..30 {
            drop(device.pair(&client, &server, "read").expect("PAIR"));
        }
        done.store(true, Relaxed);
    });
}

/// The two ways in which a pairing ends, at the same time.
fn kill_and_close_at_once() {
    let device = Device::open().expect("the device opens");
    let server = Vm::new();
    for round in 0..8_u32 {
        let mut client = VmProcess::new();
        let path = client.debugfs.clone();
        let pairing = device.pair(&client.fd, &server, "").expect("PAIR");
        thread::scope(|scope| {
            scope.spawn(|| client.kill());
            // sweep the close over the time that the kill takes
            thread::sleep(Duration::from_micros(u64::from(round) * 500));
            drop(pairing);
        });
        drop(client);
        assert!(table().is_empty());
        // A reference may be with the work queue: see that it comes back.
        let gone = (0..600).any(|_| {
            let gone = !Path::new(&path).exists();
            if !gone {
                thread::sleep(Duration::from_millis(100));
            }
            gone
        });
        assert!(gone, "the VM is gone");
    }
    let mut other = VmProcess::new();
    let pairing = device
        .pair(&other.fd, &server, "")
        .expect("the server can be paired again");
    other.kill();
    assert!(hangs_up(pairing, Duration::from_secs(60)));
}

fn no_file_descriptor_leaks() {
    let device = Device::open().expect("the device opens");
    let vm = Vm::new();
    let before = own_file_descriptors();
    for args in [
        pair_args(-1, vm.as_fd().as_raw_fd(), ""),
        pair_args(vm.as_fd().as_raw_fd(), -1, ""),
        pair_args(vm.as_fd().as_raw_fd(), vm.as_fd().as_raw_fd(), ""),
        pair_args(vm.as_fd().as_raw_fd(), device.as_fd().as_raw_fd(), ""),
        wormhole_pair::default(),
    ] {
        assert!(device.pair_raw(&args).is_err());
    }
    assert_eq!(own_file_descriptors(), before);
    // The failed calls kept no reference to the VM either.
    let path = format!(
        "/sys/kernel/debug/kvm/{}-{}",
        std::process::id(),
        vm.as_fd().as_raw_fd()
    );
    assert!(Path::new(&path).exists());
    drop(vm);
    assert!(!Path::new(&path).exists());
}

pub fn log_is_clean(messages: &[String]) {
    const SPLATS: [&str; 7] = [
        "BUG:",
        "WARNING:",
        "Oops",
        "Call Trace",
        "INFO: task",
        "rcu: INFO",
        "general protection",
    ];
    let bad: Vec<_> = messages
        .iter()
        .filter(|line| SPLATS.iter().any(|splat| line.contains(splat)))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
