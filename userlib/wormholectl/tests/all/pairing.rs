// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The decisions about pairing, with no VM and no time that passes.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use proptest::prelude::*;
use wormhole_window::Role;
use wormholectl::host::PairError;
use wormholectl::serve::{Action, Failure, Pairing, RETRY};
use wormholectl::status::PairingState;

const ATTEMPT: Option<Action> = Some(Action::Attempt);
const RELEASE: Option<Action> = Some(Action::Release);

fn paired() -> Pairing {
    let mut pairing = Pairing::new(true);
    assert_eq!(pairing.attached(Role::Server), None);
    assert_eq!(pairing.attached(Role::Client), ATTEMPT);
    pairing.attempted(Ok(()), Instant::now());
    assert_eq!(pairing.state(), PairingState::Paired);
    pairing
}

#[test]
fn either_may_come_first() {
    for first in Role::ALL {
        let mut pairing = Pairing::new(true);
        assert_eq!(pairing.state(), PairingState::Waiting);
        assert_eq!(pairing.attached(first), None);
        assert_eq!(pairing.state(), PairingState::Waiting);
        assert_eq!(pairing.attached(first.peer()), ATTEMPT);
    }
}

#[test]
fn either_may_go_and_come_back() {
    for role in Role::ALL {
        let mut pairing = paired();
        assert_eq!(pairing.detached(role), RELEASE);
        assert_eq!(pairing.state(), PairingState::Waiting);
        assert_eq!(pairing.detached(role.peer()), None);
        assert_eq!(pairing.attached(role), None);
        assert_eq!(pairing.attached(role.peer()), ATTEMPT);
    }
}

#[test]
fn hanging_up_comes_before_or_after_the_sockets_end() {
    let now = Instant::now();
    let mut pairing = paired();
    assert_eq!(pairing.hung_up(now), RELEASE);
    assert_eq!(pairing.detached(Role::Client), None);
    assert_eq!(pairing.elapsed(now + RETRY), None);
    assert_eq!(pairing.attached(Role::Client), ATTEMPT);

    let mut pairing = paired();
    assert_eq!(pairing.detached(Role::Client), RELEASE);
    assert_eq!(pairing.hung_up(now), None);
}

#[test]
fn hanging_up_with_both_there_tries_again_later() {
    let now = Instant::now();
    let mut pairing = paired();
    assert_eq!(pairing.hung_up(now), RELEASE);
    assert_eq!(pairing.state(), PairingState::Retrying);
    assert_eq!(pairing.deadline(), Some(now + RETRY));
    assert_eq!(pairing.elapsed(now), None);
    assert_eq!(pairing.elapsed(now + RETRY), ATTEMPT);
    assert_eq!(pairing.deadline(), None);
}

#[test]
fn each_failure_is_repeated_or_final() {
    let pair = |errno| Failure::Host(PairError::Pair(errno));
    let device = |errno| Failure::Host(PairError::Device(errno));
    let repeated = [
        pair(Errno::EBUSY),
        pair(Errno::ESRCH),
        pair(Errno::EBADF),
        pair(Errno::ENXIO),
        pair(Errno::EINTR),
        pair(Errno::EAGAIN),
        pair(Errno::ENOMEM),
        pair(Errno::EMFILE),
        pair(Errno::ENFILE),
        device(Errno::ENOENT),
        device(Errno::ENODEV),
        Failure::Vm(Role::Client, Errno::ESRCH),
        Failure::Vm(Role::Server, Errno::EBADF),
    ];
    let last = [
        pair(Errno::EINVAL),
        pair(Errno::EMEDIUMTYPE),
        pair(Errno::ELOOP),
        pair(Errno::EPERM),
        pair(Errno::E2BIG),
        pair(Errno::ENODEV),
        pair(Errno::EOPNOTSUPP),
        pair(Errno::ENOTTY),
        device(Errno::EACCES),
        Failure::Vm(Role::Client, Errno::EPERM),
    ];
    let now = Instant::now();
    let failed = |failure| {
        let mut pairing = Pairing::new(true);
        pairing.attached(Role::Client);
        assert_eq!(pairing.attached(Role::Server), ATTEMPT);
        pairing.attempted(Err(failure), now);
        assert_eq!(pairing.failure(), Some(failure));
        pairing
    };
    for failure in repeated {
        let mut pairing = failed(failure);
        assert_eq!(pairing.state(), PairingState::Retrying, "{failure}");
        assert_eq!(pairing.elapsed(now + RETRY), ATTEMPT, "{failure}");
        pairing.attempted(Ok(()), now);
        assert_eq!(
            (pairing.state(), pairing.failure()),
            (PairingState::Paired, None)
        );
    }
    for failure in last {
        let mut pairing = failed(failure);
        assert_eq!(pairing.state(), PairingState::Failed, "{failure}");
        assert_eq!(
            pairing.elapsed(now + Duration::from_secs(99)),
            None,
            "{failure}"
        );
        // A VM that is started anew, or the user, gets another attempt.
        assert_eq!(pairing.detached(Role::Client), None);
        assert_eq!(pairing.failure(), None);
        assert_eq!(pairing.attached(Role::Client), ATTEMPT);
        pairing.attempted(Err(failure), now);
        assert_eq!(pairing.release_hold(), ATTEMPT);
    }
}

#[test]
fn a_vm_that_goes_during_a_retry_ends_it() {
    let now = Instant::now();
    let mut pairing = Pairing::new(true);
    pairing.attached(Role::Client);
    pairing.attached(Role::Server);
    pairing.attempted(Err(Failure::Vm(Role::Server, Errno::ESRCH)), now);
    assert_eq!(pairing.detached(Role::Server), None);
    assert_eq!(pairing.deadline(), None);
    assert_eq!(pairing.elapsed(now + RETRY), None);
}

#[test]
fn unpaired_by_the_user() {
    let mut pairing = paired();
    assert_eq!(pairing.hold(), RELEASE);
    assert_eq!(pairing.state(), PairingState::Held);
    assert_eq!(pairing.hold(), None);
    // Also not when a VM is started anew.
    assert_eq!(pairing.detached(Role::Client), None);
    assert_eq!(pairing.attached(Role::Client), None);
    assert_eq!(pairing.state(), PairingState::Held);
    assert_eq!(pairing.release_hold(), ATTEMPT);
    pairing.attempted(Ok(()), Instant::now());
    assert_eq!(pairing.release_hold(), None);
    assert_eq!(pairing.state(), PairingState::Paired);
}

#[test]
fn off_means_never() {
    let mut pairing = Pairing::new(false);
    assert_eq!(pairing.attached(Role::Client), None);
    assert_eq!(pairing.attached(Role::Server), None);
    assert_eq!(pairing.release_hold(), None);
    assert_eq!(pairing.state(), PairingState::Off);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Attached(Role),
    Detached(Role),
    HungUp,
    Hold,
    ReleaseHold,
    Elapsed(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let role = prop_oneof![Just(Role::Server), Just(Role::Client)];
    prop_oneof![
        3 => role.clone().prop_map(Event::Attached),
        2 => role.prop_map(Event::Detached),
        1 => Just(Event::HungUp),
        1 => Just(Event::Hold),
        1 => Just(Event::ReleaseHold),
        2 => any::<u8>().prop_map(Event::Elapsed),
    ]
}

proptest! {
    /// Against the plainest model: which VMs are there, whether it is held,
    /// and whether a pairing's file is open.
    #[test]
    fn any_order_of_events(
        events in prop::collection::vec((event(), 0..3), 0..60),
    ) {
        let mut pairing = Pairing::new(true);
        let mut now = Instant::now();
        let (mut there, mut held, mut open) = ([false; 2], false, false);
        for (event, outcome) in events {
            let action = match event {
                Event::Attached(role) if there[role.index()] => None,
                Event::Attached(role) => {
                    there[role.index()] = true;
                    pairing.attached(role)
                }
                Event::Detached(role) => {
                    there[role.index()] = false;
                    pairing.detached(role)
                }
                Event::HungUp => pairing.hung_up(now),
                Event::Hold => {
                    held = true;
                    pairing.hold()
                }
                Event::ReleaseHold => {
                    held = false;
                    pairing.release_hold()
                }
                Event::Elapsed(tenths) => {
                    now += RETRY * u32::from(tenths) / 10;
                    pairing.elapsed(now)
                }
            };
            match action {
                None => {}
                Some(Action::Release) => {
                    prop_assert!(open, "nothing to release");
                    open = false;
                }
                Some(Action::Attempt) => {
                    prop_assert!(!open && !held && there == [true; 2]);
                    let result = match outcome {
                        0 => Ok(()),
                        1 => Err(Failure::Host(PairError::Pair(Errno::EBUSY))),
                        _ => Err(Failure::Host(PairError::Pair(Errno::EINVAL))),
                    };
                    open = result.is_ok();
                    pairing.attempted(result, now);
                }
            }
            prop_assert_eq!(pairing.state() == PairingState::Paired, open);
            if open {
                prop_assert!(!held && there == [true; 2]);
            }
        }
    }
}
