// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server VM's half: tests of its own, and in their middle one child process per connection, which does what the
//! client's tests tell it, until they tell it that they are over.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use libc::{EAGAIN, EINTR, EINVAL, ENODEV, ENOTCONN, EOPNOTSUPP, ETIMEDOUT};
use wormhole_uapi::{WORMHOLE_GUEST_IOC_ACCEPT, WORMHOLE_GUEST_UNBOUND, WORMHOLE_ROLE_SERVER};

use crate::carrier;
use crate::device::{Device, Mapping, FOREVER, LONG, MILLISECOND};
use crate::pci;
use crate::process::{self, Alarm, Child, End};
use crate::script::{Command, ANSWER, ARGUMENT, COMMAND};
use crate::tap::{self, Test};

pub fn run() -> bool {
    // Those that need to be alone with an ACCEPT come after the client's last CONNECT.
    tap::run(&[
        Test::new("info_of_an_unbound_file", info),
        Test::new("connect_is_for_clients", connect),
        Test::new("accept_bad_arguments", accept_bad_arguments),
        Test::new("unbound_file_can_do_nothing_else", unbound),
        Test::new("serve_the_client", serve),
        Test::new("accept_does_not_wait_longer_than_told", accept_times_out),
        Test::new("accept_ends_with_a_signal", accept_signal),
        Test::new("unbind_wakes_accept", unbind_wakes_accept),
    ])
}

/// Serves the client alone.
pub fn run_serve() -> bool {
    tap::run(&[Test::new("serve_the_client", serve)])
}

fn info() {
    let info = Device::open().info().expect("INFO");
    assert_eq!(info.role, WORMHOLE_ROLE_SERVER);
    assert_eq!(info.channel, WORMHOLE_GUEST_UNBOUND);
    assert!(info.channels >= 1 && info.channel_size >= 1 << 18);
}

fn connect() {
    assert_eq!(Device::open().connect(0).unwrap_err(), EOPNOTSUPP);
}

fn accept_bad_arguments() {
    let device = Device::open();
    assert_eq!(
        device.bind(WORMHOLE_GUEST_IOC_ACCEPT, 1, 0).unwrap_err(),
        EINVAL
    );
    assert_eq!(device.accept(-2).unwrap_err(), EINVAL);
    assert_eq!(device.accept(i64::MIN).unwrap_err(), EINVAL);
}

fn accept_times_out() {
    let device = Device::open();
    assert_eq!(device.poll(0), 0);
    assert_eq!(device.accept(0).unwrap_err(), ETIMEDOUT);
    assert_eq!(device.accept(20 * MILLISECOND).unwrap_err(), ETIMEDOUT);
    assert_eq!(
        Device::open_nonblocking().accept(FOREVER).unwrap_err(),
        EAGAIN
    );
}

fn accept_signal() {
    let _alarm = Alarm::after(Duration::from_millis(50));
    assert_eq!(Device::open().accept(FOREVER).unwrap_err(), EINTR);
}

fn unbound() {
    let device = Device::open();
    assert_eq!(device.notify().unwrap_err(), ENOTCONN);
    assert_eq!(device.wait(0, 0).unwrap_err(), ENOTCONN);
    assert_eq!(device.await_hop(0, FOREVER).unwrap_err(), ENOTCONN);
    assert_eq!(device.end().unwrap_err(), ENOTCONN);
    assert_eq!(
        device
            .try_map(0, 4096, libc::PROT_READ, libc::MAP_SHARED)
            .err(),
        Some(ENOTCONN)
    );
}

/// What a child has its parent do. The parent confirms it, but for the last two, which are the last of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Errand {
    Pause,
    Resume,
    /// To unbind the driver for a second.
    Rebind,
    Quit,
}

/// Pipes between the parent and its children, of whom one at a time has an errand.
struct Errands {
    /// Does not block.
    errand: (File, File),
    confirmation: (File, File),
}

impl Errands {
    fn new() -> Self {
        let errand = pipe();
        // SAFETY: Sets a flag on a descriptor of ours.
        unsafe { libc::fcntl(errand.0.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        Self {
            errand,
            confirmation: pipe(),
        }
    }

    /// Child: sends an errand.
    fn send(&self, errand: Errand) {
        (&self.errand.1)
            .write_all(&[errand as u8])
            .expect("the parent's pipe");
    }

    /// Child: waits until the parent has run it.
    fn wait(&self) {
        (&self.confirmation.0)
            .read_exact(&mut [0])
            .expect("the parent's pipe");
    }

    /// Parent: an errand, if there is one.
    fn receive(&self) -> Option<Errand> {
        let mut byte = [0];
        (&self.errand.0).read_exact(&mut byte).ok()?;
        [Errand::Pause, Errand::Resume, Errand::Rebind, Errand::Quit]
            .into_iter()
            .find(|errand| *errand as u8 == byte[0])
    }

    /// Parent: has run it.
    fn confirm(&self) {
        (&self.confirmation.1)
            .write_all(&[0])
            .expect("a child's pipe");
    }
}

fn pipe() -> (File, File) {
    let mut fds = [0; 2];
    // SAFETY: Room for two descriptors.
    let made = unsafe { libc::pipe(fds.as_mut_ptr()) };
    assert_eq!(made, 0, "pipe: {}", io::Error::last_os_error());
    // SAFETY: New descriptors, of nobody else.
    unsafe { (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])) }
}

fn serve() {
    let errands = Errands::new();
    let mut accepting = true;
    loop {
        while let Some(end) = process::reap() {
            assert!(!matches!(end, End::Exit(1..)), "a child failed: {end:?}");
        }
        match errands.receive() {
            Some(errand @ (Errand::Pause | Errand::Resume)) => {
                accepting = errand == Errand::Resume;
                errands.confirm();
            }
            Some(Errand::Rebind) => {
                let address = pci::address();
                pci::unbind(&address);
                thread::sleep(Duration::from_secs(1));
                pci::bind(&address);
            }
            Some(Errand::Quit) => return,
            None => (),
        }
        if !accepting {
            thread::sleep(Duration::from_millis(10));
            continue;
        }
        let device = Device::open();
        // Not for ever: errands come meanwhile.
        match device.accept(20 * MILLISECOND) {
            Ok(_) => {
                // Mapped here: by the time the child runs, an errand may have unbound the driver.
                let map = device.map();
                let _ = Child::fork(|| attend(&device, &map, &errands));
            }
            Err(ETIMEDOUT) => (),
            Err(error) => panic!("ACCEPT: {}", io::Error::from_raw_os_error(error)),
        }
    }
}

/// One connection, until it ends. A driver that is unbound meanwhile ends it with 0 or SIGBUS.
fn attend(device: &Device, map: &Mapping, errands: &Errands) -> i32 {
    let mut seen = 0;
    loop {
        let command = Command::from_word(map.word(COMMAND).swap(0, SeqCst));
        // After the command: the client writes it last.
        let argument = map.word(ARGUMENT).load(SeqCst);
        let answer = || {
            map.word(ANSWER).store(argument.wrapping_add(1), SeqCst);
            // The device may be gone: then the client knows.
            let _ = device.notify();
        };
        match command {
            None => (),
            Some(Command::Echo) => answer(),
            Some(Command::Close) => return 0,
            Some(Command::Die) => process::die(),
            Some(command @ (Command::Pause | Command::Resume)) => {
                errands.send(if command == Command::Pause {
                    Errand::Pause
                } else {
                    Errand::Resume
                });
                errands.wait();
                answer();
            }
            Some(Command::Rebind) => {
                answer();
                errands.send(Errand::Rebind);
            }
            Some(Command::Quit) => {
                answer();
                errands.send(Errand::Quit);
                return 0;
            }
            Some(Command::Later) => {
                thread::sleep(Duration::from_millis(argument.into()));
                answer();
            }
            Some(Command::Carry) => {
                carrier::with_interrupts(device);
                answer();
                carrier::until_the_client_closes(device);
            }
            Some(Command::Fill) => {
                for offset in (0x10000..map.length()).step_by(0x10000) {
                    map.word(offset).store(argument, SeqCst);
                }
                answer();
            }
        }
        match device.wait(seen, FOREVER) {
            Ok(wait) if wait.status == 0 => seen = wait.event,
            Ok(_) | Err(ENODEV) => return 0,
            Err(_) => return 1,
        }
    }
}

fn unbind_wakes_accept() {
    let device = Device::open();
    let address = pci::address();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| device.accept(LONG));
        thread::sleep(Duration::from_millis(100));
        pci::unbind(&address);
        assert_eq!(waiting.join().expect("no panic").unwrap_err(), ENODEV);
    });
    assert_eq!(device.accept(0).unwrap_err(), ENODEV);
    assert_eq!(device.poll(0), libc::POLLERR | libc::POLLHUP);
    drop(device);
    pci::bind(&address);
    assert_eq!(Device::open().accept(0).unwrap_err(), ETIMEDOUT);
}
