// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When to pair the two VMs, and when to let go. Pure: it is told what
//! happened and at what time, and answers what to do.

use std::fmt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use wormhole_window::Role;

use crate::host::PairError;
use crate::status::PairingState;

/// Time until a failed attempt is repeated, where that may help.
pub const RETRY: Duration = Duration::from_secs(1);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take both VMs and pair them; report with [`Pairing::attempted`].
    Attempt,
    /// Close the pairing's file.
    Release,
}

/// Why an attempt to pair failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This role's VM could not be taken from its process.
    Vm(Role, Errno),
    Host(PairError),
}

impl Failure {
    /// Whether another attempt may succeed with nothing else changed.
    fn is_transient(self) -> bool {
        match self {
            // It exits, or is about to, and then its socket says so.
            Failure::Vm(_, errno) => matches!(errno, Errno::ESRCH | Errno::EBADF | Errno::EINTR),
            // The host module is not loaded just now.
            Failure::Host(PairError::Device(errno)) => {
                matches!(errno, Errno::ENOENT | Errno::ENXIO | Errno::ENODEV)
            }
            Failure::Host(PairError::Pair(errno)) => matches!(
                errno,
                // An earlier pairing is not torn down yet, or someone else's.
                Errno::EBUSY
                    // A VM went away in the middle.
                    | Errno::ESRCH
                    | Errno::EBADF
                    | Errno::ENXIO
                    | Errno::EINTR
                    | Errno::EAGAIN
                    | Errno::ENOMEM
                    | Errno::EMFILE
                    | Errno::ENFILE
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Vm(role, errno) => write!(f, "cannot take the {role} VM: {}", errno.desc()),
            Failure::Host(error) => error.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing to do until something happens.
    Idle,
    /// To be attempted at that time.
    Due(Instant),
    /// An attempt was asked for and not reported on yet.
    Attempting,
    Paired,
    /// Will fail again until something changes.
    Failed,
}

/// The pairing of two VMs that come and go.
///
/// # Invariants
/// `state` is `Idle` unless both roles are attached, `held` is not set and
/// `enabled` is.
#[derive(Debug)]
pub struct Pairing {
    enabled: bool,
    held: bool,
    attached: [bool; 2],
    state: State,
    failure: Option<Failure>,
}

impl Pairing {
    /// No VM is there yet. Not `enabled`: it will never attempt anything.
    pub const fn new(enabled: bool) -> Pairing {
        Pairing {
            enabled,
            held: false,
            attached: [false; 2],
            state: State::Idle,
            failure: None,
        }
    }

    /// A role's VM is there.
    pub fn attached(&mut self, role: Role) -> Option<Action> {
        let before = self.detached(role);
        debug_assert!(before.is_none(), "one role was attached twice");
        self.attached[role.index()] = true;
        self.begin()
    }

    /// A role's VM has gone.
    pub fn detached(&mut self, role: Role) -> Option<Action> {
        self.attached[role.index()] = false;
        self.stop()
    }

    /// The kernel says that the pairing has ended: a VM is gone.
    pub fn hung_up(&mut self, now: Instant) -> Option<Action> {
        if self.state != State::Paired {
            return None;
        }
        // Its socket will say which one; should neither close, pair again.
        self.state = State::Due(now + RETRY);
        Some(Action::Release)
    }

    /// What became of an attempt.
    pub fn attempted(&mut self, result: Result<(), Failure>, now: Instant) {
        debug_assert_eq!(self.state, State::Attempting, "nothing was attempted");
        self.failure = result.err();
        self.state = match self.failure {
            None => State::Paired,
            Some(failure) if failure.is_transient() => State::Due(now + RETRY),
            Some(_) => State::Failed,
        };
    }

    /// The user wants no pairing from now on.
    pub fn hold(&mut self) -> Option<Action> {
        self.held = true;
        self.stop()
    }

    /// The user wants a pairing (again), now.
    pub fn release_hold(&mut self) -> Option<Action> {
        self.held = false;
        if self.state == State::Paired {
            return None;
        }
        self.begin()
    }

    /// Time has passed.
    pub fn elapsed(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Due(at) if at <= now => {
                self.state = State::Attempting;
                Some(Action::Attempt)
            }
            _ => None,
        }
    }

    /// When [`Pairing::elapsed`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at),
            _ => None,
        }
    }

    /// The state for people.
    pub fn state(&self) -> PairingState {
        match self.state {
            State::Paired => PairingState::Paired,
            State::Due(_) | State::Attempting => PairingState::Retrying,
            State::Failed => PairingState::Failed,
            State::Idle if !self.enabled => PairingState::Off,
            State::Idle if self.held => PairingState::Held,
            State::Idle => PairingState::Waiting,
        }
    }

    /// Why the last attempt failed.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    fn begin(&mut self) -> Option<Action> {
        if !self.enabled || self.held || self.attached != [true; 2] {
            return None;
        }
        self.state = State::Attempting;
        Some(Action::Attempt)
    }

    fn stop(&mut self) -> Option<Action> {
        let was = std::mem::replace(&mut self.state, State::Idle);
        self.failure = None;
        (was == State::Paired).then_some(Action::Release)
    }
}
