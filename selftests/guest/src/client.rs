// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client VM's half: most of the tests.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use libc::{
    E2BIG, EACCES, EAGAIN, EALREADY, EFAULT, EINTR, EINVAL, EISCONN, ENODEV, ENOSPC, ENOTCONN,
    ENOTTY, EOPNOTSUPP, ETIMEDOUT, MAP_PRIVATE, MAP_SHARED, POLLERR, POLLHUP, POLLIN, PROT_EXEC,
    PROT_READ, PROT_WRITE,
};
use wormhole_uapi::{
    wormhole_guest_info, WORMHOLE_GUEST_ABI_VERSION, WORMHOLE_GUEST_IOC_AWAIT,
    WORMHOLE_GUEST_IOC_CONNECT, WORMHOLE_GUEST_IOC_INFO, WORMHOLE_GUEST_IOC_WAIT,
    WORMHOLE_GUEST_UNBOUND, WORMHOLE_GUEST_WAIT_PEER_CLOSED, WORMHOLE_ROLE_CLIENT,
};

use crate::device::{Device, Epoll, Errno, Mapping, FOREVER, LONG, MILLISECOND};
use crate::pci;
use crate::process::{self, Alarm, Child, End};
use crate::script::{ask, tell, Command, ANSWER, COMMAND};
use crate::tap::{self, Outcome, Test};

pub fn run() -> bool {
    let tests: Vec<Test> = vec![
        Test::new("info", info),
        Test::new("sizes_of_structures", sizes),
        Test::new("bad_addresses_and_commands", bad_addresses),
        Test::new("bad_bind_arguments", bad_bind_arguments),
        Test::new("accept_is_for_servers", wrong_role),
        Test::new("unbound_file_can_do_nothing_else", unbound),
        Test::new("connect_and_exchange", connect_and_exchange),
        Test::new("a_file_binds_once", binds_once),
        Test::new("mmap_of_the_bound_channel_alone", mmap_bounds),
        Test::new("ping_pong_1000", ping_pong),
        Test::new("wait_timeouts_and_signals", wait_timeouts),
        Test::new("poll", poll),
        Test::new("epoll_from_before_connect", epoll_from_before_connect),
        Test::new("server_closes", server_closes),
        Test::new("server_process_is_killed", server_is_killed),
        Test::new("client_process_is_killed", client_is_killed),
        Test::new("forked_child_keeps_the_channel", fork_keeps),
        Test::new("mapping_keeps_the_channel", mapping_keeps),
        Test::new("all_channels_in_use", all_in_use),
        Test::new("connect_close_300", connect_close),
        Test::new("a_new_channel_is_all_zero", new_is_zero),
        Test::with_outcome(
            "forged_words_end_their_connection_alone",
            needs_two(forged_words),
        ),
        Test::with_outcome("connect_timeout_and_signal", needs_two(connect_timeout)),
        Test::with_outcome(
            "connect_waits_for_the_server_driver",
            needs_two(connect_waits_for_driver),
        ),
        Test::new("module_stays_while_in_use", module_stays),
        Test::new("unbind_with_open_files", unbind),
        Test::new("carriers_of_a_server", carriers),
        Test::new("quit", quit),
    ];
    tap::run(&tests)
}

/// A test for windows of two channels at least.
fn needs_two(run: fn()) -> impl Fn() -> Outcome {
    move || {
        if channels() < 2 {
            return Outcome::Skip("needs two channels");
        }
        run();
        Outcome::Pass
    }
}

/// A connected file and its channel.
fn connected() -> (Device, Mapping) {
    let device = Device::open();
    device
        .connect(LONG)
        .unwrap_or_else(|error| panic!("CONNECT: {}", std::io::Error::from_raw_os_error(error)));
    let map = device.map();
    (device, map)
}

fn channels() -> u32 {
    Device::open().info().expect("INFO").channels
}

/// All channels at once, which shows that none was lost.
fn connect_all() -> Vec<Device> {
    (0..channels())
        .map(|_| {
            let device = Device::open();
            device.connect(LONG).expect("CONNECT");
            device
        })
        .collect()
}

fn info() {
    let device = Device::open();
    let info = device.info().expect("INFO");
    assert_eq!(info.abi_version, WORMHOLE_GUEST_ABI_VERSION);
    assert_eq!(info.role, WORMHOLE_ROLE_CLIENT);
    assert_eq!(info.channel, WORMHOLE_GUEST_UNBOUND);
    assert_eq!(info.peer_up, 1);
    assert!(
        info.channels >= 1 && info.channel_size.is_power_of_two() && info.channel_size >= 1 << 18
    );
    let bind = device.connect(LONG).expect("CONNECT");
    assert_eq!(device.info().expect("INFO").channel, bind.channel);
    assert!(bind.channel < info.channels && bind.connection != 0);
}

fn sizes() {
    const SIZE: usize = size_of::<wormhole_guest_info>();
    let device = Device::open();
    let with = |size: u32, tail: &[u8]| {
        let mut bytes = vec![0; SIZE];
        bytes[..4].copy_from_slice(&size.to_ne_bytes());
        bytes.extend_from_slice(tail);
        // Not less than the size says, wherever that leads.
        bytes.resize(bytes.len().max((size as usize).min(1 << 16)), 0);
        device
            .raw_ioctl(WORMHOLE_GUEST_IOC_INFO, Some(&mut bytes))
            .map(|()| bytes)
    };
    for small in [0, 1, 4, SIZE as u32 - 1] {
        assert_eq!(with(small, &[]).unwrap_err(), EINVAL, "size {small}");
    }
    assert!(with(SIZE as u32, &[]).is_ok());
    let larger = with(SIZE as u32 + 8, &[0; 8]).expect("unknown bytes, all zero");
    assert_eq!(larger[..4], (SIZE as u32).to_ne_bytes());
    assert_eq!(larger[SIZE..], [0; 8]);
    assert!(with(4096, &[]).is_ok());
    for at in [0, 7, 100] {
        let mut tail = [0; 101];
        tail[at] = 1;
        assert_eq!(
            with(SIZE as u32 + 101, &tail).unwrap_err(),
            E2BIG,
            "byte {at} behind the structure"
        );
    }
    for large in [4097, 1 << 16, u32::MAX] {
        assert_eq!(with(large, &[]).unwrap_err(), E2BIG, "size {large}");
    }
}

fn bad_addresses() {
    let device = Device::open();
    for request in [
        WORMHOLE_GUEST_IOC_INFO,
        WORMHOLE_GUEST_IOC_CONNECT,
        WORMHOLE_GUEST_IOC_WAIT,
        WORMHOLE_GUEST_IOC_AWAIT,
    ] {
        assert_eq!(device.raw_ioctl(request, None).unwrap_err(), EFAULT);
    }
    let mut bytes = [0; 64];
    for request in [
        0,
        0xb700,
        0xb745,
        0x5401,
        WORMHOLE_GUEST_IOC_INFO & 0xffff,
        WORMHOLE_GUEST_IOC_INFO + 5,
    ] {
        assert_eq!(
            device.raw_ioctl(request, Some(&mut bytes)).unwrap_err(),
            ENOTTY,
            "request {request:#x}"
        );
    }
}

fn bad_bind_arguments() {
    let device = Device::open();
    for flags in [1, 1 << 31, u32::MAX] {
        assert_eq!(
            device
                .bind(WORMHOLE_GUEST_IOC_CONNECT, flags, 0)
                .unwrap_err(),
            EINVAL
        );
    }
    assert_eq!(device.connect(-2).unwrap_err(), EINVAL);
    assert_eq!(device.connect(i64::MIN).unwrap_err(), EINVAL);
    // Nothing of that took a channel or the file.
    device.connect(LONG).expect("CONNECT");
}

fn wrong_role() {
    assert_eq!(Device::open().accept(0).unwrap_err(), EOPNOTSUPP);
    let (device, _map) = connected();
    assert_eq!(device.await_hop(0, FOREVER).unwrap_err(), EOPNOTSUPP);
    assert_eq!(device.end().unwrap_err(), EOPNOTSUPP);
}

fn unbound() {
    let device = Device::open();
    assert_eq!(device.notify().unwrap_err(), ENOTCONN);
    assert_eq!(device.wait(0, 0).unwrap_err(), ENOTCONN);
    assert_eq!(device.wait(0, FOREVER).unwrap_err(), ENOTCONN);
    assert_eq!(
        device.try_map(0, 4096, PROT_READ, MAP_SHARED).err(),
        Some(ENOTCONN)
    );
    assert_eq!(device.poll(0), 0);
}

fn connect_and_exchange() {
    let (device, map) = connected();
    ask(&device, &map, Command::Echo, 41);
    assert_eq!(map.word(ANSWER).load(SeqCst), 42);
    assert_eq!(map.word(COMMAND).load(SeqCst), 0);
}

fn binds_once() {
    let (device, _map) = connected();
    assert_eq!(device.connect(0).unwrap_err(), EISCONN);
    assert_eq!(device.connect(FOREVER).unwrap_err(), EISCONN);
}

fn mmap_bounds() {
    let (device, _map) = connected();
    let size = device.info().expect("INFO").channel_size as usize;
    let error = |offset: usize, length, protection, flags| -> Option<Errno> {
        device
            .try_map(offset as i64, length, protection, flags)
            .err()
    };
    assert_eq!(error(0, size + 4096, PROT_READ, MAP_SHARED), Some(EINVAL));
    assert_eq!(error(4096, size, PROT_READ, MAP_SHARED), Some(EINVAL));
    assert_eq!(error(size, 4096, PROT_READ, MAP_SHARED), Some(EINVAL));
    assert_eq!(error(1 << 40, 4096, PROT_READ, MAP_SHARED), Some(EINVAL));
    assert_eq!(
        error(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE),
        Some(EINVAL)
    );
    assert_eq!(
        error(0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED),
        Some(EACCES)
    );
    assert_eq!(error(0, 4096, PROT_READ, MAP_SHARED), None);
    let last = device
        .try_map(size as i64 - 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED)
        .expect("the last page");
    last.word(4092).store(1, SeqCst);
    assert_eq!(last.protect(PROT_READ | PROT_EXEC).unwrap_err(), EACCES);
    assert_eq!(last.protect(PROT_READ), Ok(()));
}

fn ping_pong() {
    let (device, map) = connected();
    for round in 0..1000 {
        ask(&device, &map, Command::Echo, round);
    }
}

fn wait_timeouts() {
    let (device, map) = connected();
    ask(&device, &map, Command::Echo, 1);
    let seen = device.event();
    assert_eq!(device.wait(seen, -2).unwrap_err(), EINVAL);
    assert_eq!(device.wait(seen, 1).unwrap_err(), ETIMEDOUT);
    let start = Instant::now();
    assert_eq!(device.wait(seen, 30 * MILLISECOND).unwrap_err(), ETIMEDOUT);
    assert!(start.elapsed() >= Duration::from_millis(30));
    let looked = device.wait(seen, 0).expect("a look");
    assert_eq!((looked.event, looked.status), (seen, 0));
    // Another word than that of now is an event, whatever it is.
    assert_eq!(
        device
            .wait(seen.wrapping_add(7), FOREVER)
            .expect("WAIT")
            .event,
        seen
    );
    let _alarm = Alarm::after(Duration::from_millis(50));
    assert_eq!(device.wait(seen, FOREVER).unwrap_err(), EINTR);
}

fn poll() {
    let (device, map) = connected();
    ask(&device, &map, Command::Echo, 1);
    device.event();
    assert_eq!(device.poll(0), 0);
    tell(&device, &map, Command::Later, 50);
    assert_eq!(device.poll(60_000), POLLIN);
    // Until WAIT has told of it.
    assert_eq!(device.poll(0), POLLIN);
    let event = device.event();
    assert_eq!(device.poll(0), 0);
    assert_eq!(device.event(), event);
}

fn epoll_from_before_connect() {
    let device = Device::open();
    let epoll = Epoll::watch(&device);
    assert_eq!(epoll.wait(0), 0);
    device.connect(LONG).expect("CONNECT");
    let map = device.map();
    ask(&device, &map, Command::Echo, 1);
    device.event();
    assert_eq!(epoll.wait(0), 0);
    tell(&device, &map, Command::Later, 50);
    assert_eq!(epoll.wait(60_000), libc::EPOLLIN as u32);
    device.event();
    tell(&device, &map, Command::Close, 0);
    assert_eq!(
        epoll.wait(60_000) & libc::EPOLLHUP as u32,
        libc::EPOLLHUP as u32
    );
}

/// The peer's end, as WAIT, poll and NOTIFY see it.
fn expect_closed(device: &Device) {
    let mut seen = device.event();
    loop {
        let wait = device.wait(seen, LONG).expect("WAIT");
        if wait.status != 0 {
            assert_eq!(wait.status, WORMHOLE_GUEST_WAIT_PEER_CLOSED);
            break;
        }
        seen = wait.event;
    }
    assert_eq!(device.poll(0) & POLLHUP, POLLHUP);
    assert_eq!(device.notify(), Ok(()));
}

fn server_closes() {
    let (device, map) = connected();
    ask(&device, &map, Command::Echo, 1);
    device.event();
    assert_eq!(device.poll(0), 0);
    tell(&device, &map, Command::Close, 0);
    assert_eq!(device.poll(60_000) & !POLLIN, POLLHUP);
    expect_closed(&device);
}

fn server_is_killed() {
    let (device, map) = connected();
    tell(&device, &map, Command::Die, 0);
    expect_closed(&device);
}

fn client_is_killed() {
    for _ in 0..channels() + 1 {
        let child = Child::fork(|| {
            let (device, map) = connected();
            ask(&device, &map, Command::Echo, 1);
            device.wait(device.event(), FOREVER).map_or(1, |_| 0)
        });
        thread::sleep(Duration::from_millis(30));
        child.kill();
        assert_eq!(child.end(), End::Signal(libc::SIGKILL));
    }
    connect_all();
}

fn fork_keeps() {
    let (device, map) = connected();
    let channel = device.info().expect("INFO").channel;
    let child = Child::fork(|| {
        ask(&device, &map, Command::Echo, 1);
        device
            .wait(device.event(), FOREVER)
            .map_or(1, |wait| wait.status as i32)
    });
    drop((device, map));
    // The others, without that one.
    let others: Vec<_> = (1..channels())
        .map(|_| {
            let other = Device::open();
            let bind = other.connect(LONG).expect("CONNECT");
            assert_ne!(bind.channel, channel);
            other
        })
        .collect();
    assert_eq!(Device::open().connect(LONG).unwrap_err(), ENOSPC);
    child.kill();
    assert_eq!(child.end(), End::Signal(libc::SIGKILL));
    let last = Device::open();
    assert_eq!(last.connect(LONG).expect("CONNECT").channel, channel);
    drop(others);
}

fn mapping_keeps() {
    let (device, map) = connected();
    let channel = device.info().expect("INFO").channel;
    ask(&device, &map, Command::Echo, 1);
    drop(device);
    map.word(ANSWER).store(9, SeqCst);
    let others: Vec<_> = (1..channels())
        .map(|_| {
            let other = Device::open();
            assert_ne!(other.connect(LONG).expect("CONNECT").channel, channel);
            other
        })
        .collect();
    assert_eq!(Device::open().connect(LONG).unwrap_err(), ENOSPC);
    assert_eq!(map.word(ANSWER).load(SeqCst), 9);
    drop(map);
    assert_eq!(
        Device::open().connect(LONG).expect("CONNECT").channel,
        channel
    );
    drop(others);
}

fn all_in_use() {
    let all = connect_all();
    let mut indices: Vec<_> = all
        .iter()
        .map(|device| device.info().expect("INFO").channel)
        .collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..channels()).collect::<Vec<_>>());
    let one_more = Device::open();
    assert_eq!(one_more.connect(FOREVER).unwrap_err(), ENOSPC);
    for device in &all {
        ask(device, &device.map(), Command::Echo, 1);
    }
    drop(all);
    one_more.connect(LONG).expect("CONNECT");
}

fn connect_close() {
    for round in 0..300 {
        let (device, map) = connected();
        if round % 3 == 0 {
            ask(&device, &map, Command::Echo, round);
        }
    }
    connect_all();
}

fn new_is_zero() {
    for _ in 0..2 {
        let all = connect_all();
        for device in &all {
            let map = device.map();
            for offset in (4096 + 512..map.length()).step_by(4096) {
                assert_eq!(map.word(offset).load(SeqCst), 0, "at {offset:#x}");
            }
            // What the server leaves in pages that we never looked at counts too.
            ask(device, &map, Command::Fill, 0x5ec2e7);
            map.word(4096 + 512).store(0x5ec2e7, SeqCst);
            map.word(map.length() - 4).store(0x5ec2e7, SeqCst);
        }
    }
    // Never looked at, but for the page with the command.
    for (round, device) in connect_all().into_iter().enumerate() {
        let first = device
            .try_map(0, 0x2000, PROT_READ | PROT_WRITE, MAP_SHARED)
            .expect("mmap");
        ask(&device, &first, Command::Fill, 0x5ec2e7 + round as u32);
    }
    for device in connect_all() {
        let map = device.map();
        for offset in (0x10000..map.length()).step_by(0x10000) {
            assert_eq!(map.word(offset).load(SeqCst), 0, "at {offset:#x}");
        }
    }
}

fn forged_words() {
    let (other, other_map) = connected();
    for value in [0, 1, u32::MAX] {
        for offset in (0..512).step_by(4) {
            let (device, map) = connected();
            map.word(offset).store(value, SeqCst);
            let _ = device.wait(0, 0);
            let _ = device.poll(0);
            assert_eq!(device.notify(), Ok(()));
        }
    }
    ask(&other, &other_map, Command::Echo, 1);
    drop((other, other_map));
    connect_all();
}

fn connect_timeout() {
    let (device, map) = connected();
    ask(&device, &map, Command::Pause, 1);
    assert_eq!(Device::open().connect(0).unwrap_err(), ETIMEDOUT);
    let late = Device::open();
    assert_eq!(late.connect(50 * MILLISECOND).unwrap_err(), ETIMEDOUT);
    {
        let _alarm = Alarm::after(Duration::from_millis(50));
        assert_eq!(late.connect(FOREVER).unwrap_err(), EINTR);
    }
    thread::scope(|scope| {
        // Whoever is first, the other one is told.
        let first = scope.spawn(|| loop {
            match late.connect(LONG) {
                Err(EALREADY) => thread::yield_now(),
                outcome => break outcome,
            }
        });
        loop {
            match late.connect(MILLISECOND).unwrap_err() {
                EALREADY => break,
                error => assert_eq!(error, ETIMEDOUT),
            }
            // Or on one CPU the other thread might never come between two of these.
            thread::sleep(Duration::from_millis(1));
        }
        ask(&device, &map, Command::Resume, 2);
        first
            .join()
            .expect("no panic")
            .expect("CONNECT, once the server accepts again");
    });
    ask(&late, &late.map(), Command::Echo, 1);
    drop((device, map, late));
    connect_all();
}

fn connect_waits_for_driver() {
    let (device, map) = connected();
    let open = connect_all_but_one();
    ask(&device, &map, Command::Rebind, 1);
    // The server's driver goes, and its connections with it ...
    for gone in open.iter().chain([&device]) {
        expect_closed(gone);
    }
    // ... an offer that it does not see until it is back is seen then, a connection from before is not.
    let (again, again_map) = connected();
    ask(&again, &again_map, Command::Echo, 1);
    for gone in open.iter().chain([&device]) {
        assert_eq!(
            gone.wait(gone.event(), LONG).expect("WAIT").status,
            WORMHOLE_GUEST_WAIT_PEER_CLOSED
        );
    }
    drop((device, map, open, again, again_map));
    connect_all();
}

/// All channels but one that somebody has and one that is left.
fn connect_all_but_one() -> Vec<Device> {
    (2..channels())
        .map(|_| {
            let device = Device::open();
            device.connect(LONG).expect("CONNECT");
            device
        })
        .collect()
}

fn module_stays() {
    let device = Device::open();
    assert_eq!(process::unload(c"wormhole_guest"), Err(EAGAIN));
    device.connect(LONG).expect("CONNECT");
    let map = device.map();
    drop(device);
    assert_eq!(process::unload(c"wormhole_guest"), Err(EAGAIN));
    drop(map);
}

fn unbind() {
    let address = pci::address();
    let (device, map) = connected();
    ask(&device, &map, Command::Echo, 1);
    let untouched = device.map();
    let unbound = Device::open();
    let epoll = Epoll::watch(&device);
    let seen = device.event();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| device.wait(seen, LONG));
        thread::sleep(Duration::from_millis(100));
        pci::unbind(&address);
        assert_eq!(waiting.join().expect("no panic").unwrap_err(), ENODEV);
    });
    for file in [&device, &unbound] {
        assert_eq!(file.info().unwrap_err(), ENODEV);
        assert_eq!(file.poll(0), POLLERR | POLLHUP);
    }
    assert_eq!(epoll.wait(0), (libc::EPOLLERR | libc::EPOLLHUP) as u32);
    assert_eq!(device.notify().unwrap_err(), ENODEV);
    assert_eq!(device.wait(seen, 0).unwrap_err(), ENODEV);
    assert_eq!(unbound.connect(LONG).unwrap_err(), ENODEV);
    assert_eq!(
        device.try_map(0, 4096, PROT_READ, MAP_SHARED).err(),
        Some(ENODEV)
    );
    // Touched before or not: the memory has gone.
    for mapping in [&map, &untouched] {
        let child = Child::fork(|| mapping.word(COMMAND).load(SeqCst) as i32);
        assert_eq!(child.end(), End::Signal(libc::SIGBUS));
    }

    // A new driver beside the old one's files; the server has seen the end of their connections.
    pci::bind(&address);
    connect_all();
    assert_eq!(device.info().unwrap_err(), ENODEV);
    drop((device, unbound, map, untouched));
    connect_all();
}

fn carriers() {
    let (device, map) = connected();
    map.word(ANSWER).store(0, SeqCst);
    tell(&device, &map, Command::Carry, 6);
    let mut seen = device.event();
    while map.word(ANSWER).load(SeqCst) != 7 {
        // Interrupts, which are to wake no carrier but one whose call has hopped.
        device.notify().expect("NOTIFY");
        match device.wait(seen, 5 * MILLISECOND) {
            Err(ETIMEDOUT) => (),
            wait => {
                let wait = wait.expect("WAIT");
                assert_eq!(wait.status, 0, "the server went");
                seen = wait.event;
            }
        }
    }
}

fn quit() {
    let (device, map) = connected();
    ask(&device, &map, Command::Quit, 1);
}
