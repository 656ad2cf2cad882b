// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stands in for the host module and for other processes' VMs. A VM, and a
//! pairing, is the read end of a pipe, whose write end tells whether anybody
//! still holds it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::stat::fstat;
use nix::unistd::pipe;
use wormhole_window::{Name, Role};
use wormholectl::host::{Host, PairError};
use wormholectl::process::{Process, Processes};

/// The write end of a pipe.
struct Holder {
    write: OwnedFd,
    inode: u64,
}

impl Holder {
    fn new() -> (Holder, OwnedFd) {
        let (read, write) = pipe().unwrap();
        let inode = fstat(&read).unwrap().st_ino;
        (Holder { write, inode }, read)
    }

    fn is_held(&self) -> bool {
        let mut fds = [PollFd::new(self.write.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 0
    }
}

/// A process; clones are the same one.
#[derive(Clone)]
pub struct FakeProcess {
    answer: Rc<Cell<Result<bool, Errno>>>,
    vms: Rc<RefCell<Vec<Holder>>>,
}

impl FakeProcess {
    pub fn with_vm() -> FakeProcess {
        FakeProcess::answering(Ok(true))
    }

    /// `Ok(true)`: it has a VM.
    pub fn answering(answer: Result<bool, Errno>) -> FakeProcess {
        FakeProcess {
            answer: Rc::new(Cell::new(answer)),
            vms: Rc::default(),
        }
    }

    pub fn set(&self, answer: Result<bool, Errno>) {
        self.answer.set(answer);
    }

    /// Whether somebody keeps this VM alive.
    pub fn vm_is_held(&self) -> bool {
        self.vms.borrow().iter().any(Holder::is_held)
    }

    fn owns(&self, vm: BorrowedFd<'_>) -> bool {
        let inode = fstat(vm).unwrap().st_ino;
        // A closed pipe's inode number may have been given away again.
        let vms = self.vms.borrow();
        let mut held = vms.iter().filter(|vm| vm.is_held());
        held.any(|vm| vm.inode == inode)
    }
}

impl Process for FakeProcess {
    fn vm(&self) -> Result<Option<OwnedFd>, Errno> {
        if !self.answer.get()? {
            return Ok(None);
        }
        let (holder, read) = Holder::new();
        self.vms.borrow_mut().push(holder);
        Ok(Some(read))
    }
}

/// The processes that connect, in order.
#[derive(Clone, Default)]
pub struct FakeProcesses(Rc<RefCell<VecDeque<FakeProcess>>>);

impl FakeProcesses {
    /// The next one that connects.
    pub fn expect(&self, process: &FakeProcess) {
        self.0.borrow_mut().push_back(process.clone());
    }
}

impl Processes for FakeProcesses {
    type Process = FakeProcess;

    fn open(&self, pid: i32) -> Result<FakeProcess, Errno> {
        assert_eq!(pid, std::process::id() as i32);
        self.0.borrow_mut().pop_front().ok_or(Errno::ESRCH)
    }
}

/// The host module; clones are the same one.
#[derive(Clone, Default)]
pub struct FakeHost {
    expected: Rc<RefCell<[Option<FakeProcess>; 2]>>,
    error: Rc<Cell<Option<PairError>>>,
    attempts: Rc<Cell<usize>>,
    pairings: Rc<RefCell<Vec<Holder>>>,
    event: Rc<RefCell<Option<OwnedFd>>>,
    key: Rc<Cell<Option<u32>>>,
}

impl FakeHost {
    /// Whose VM it is to be given for a role; otherwise it takes any.
    pub fn expect(&self, role: Role, process: &FakeProcess) {
        self.expected.borrow_mut()[role.index()] = Some(process.clone());
    }

    /// What it answers from now on.
    pub fn set_error(&self, error: Option<PairError>) {
        self.error.set(error);
    }

    /// The key that it was given last.
    pub fn key(&self) -> Option<u32> {
        self.key.get()
    }

    pub fn attempts(&self) -> usize {
        self.attempts.get()
    }

    /// Signals that a call has hopped home.
    pub fn signal(&self) {
        let event = self.event.borrow();
        let event = event.as_ref().expect("an eventfd was given");
        nix::unistd::write(event, &1u64.to_ne_bytes()).unwrap();
    }

    /// Number of pairings that are held now.
    pub fn held(&self) -> usize {
        let pairings = self.pairings.borrow();
        pairings.iter().filter(|pairing| pairing.is_held()).count()
    }

    /// Ends all pairings, as when a VM has gone.
    pub fn hang_up(&self) {
        self.pairings.borrow_mut().clear();
    }
}

impl Host for FakeHost {
    fn pair(
        &self,
        client: BorrowedFd<'_>,
        server: BorrowedFd<'_>,
        name: &Name,
        key: u32,
        event: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, PairError> {
        self.attempts.set(self.attempts.get() + 1);
        assert_eq!(name.as_str(), "gpu0");
        self.key.set(Some(key));
        self.event
            .replace(event.map(|event| event.try_clone_to_owned().unwrap()));
        for (process, vm) in self.expected.borrow().iter().zip([server, client]) {
            assert!(process.as_ref().is_none_or(|process| process.owns(vm)));
        }
        if let Some(error) = self.error.get() {
            return Err(error);
        }
        let (holder, read) = Holder::new();
        self.pairings.borrow_mut().push(holder);
        Ok(read)
    }
}
