// SPDX-License-Identifier: GPL-2.0

//! The life of a session's carriers: which vCPU may enter the server with which, and where a call
//! that was stopped goes on.
//!
//! The host does not see a call begin or end. It knows that a carrier may be in a call while its
//! vCPU is in guest mode, and learns the truth at the next exit.
//!
//! ```text
//! Parked -> Assigned -> Suspended -> Assigned ...        (stopped, and gone on with)
//!                           |
//!                           v
//!                        Hopped -> Finished -> Parked    (goes on natively in the server VM)
//! ```
//!
//! A carrier that is parked can be taken back, when nobody has wanted it for some time: since the
//! server has asked for it before.
//!
//! Pure: no `kernel::` imports, so that `rustc --test carrier.rs` runs the tests below.

/// Names a call that was stopped. Not a secret: the client must name the address space too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) u64);

/// Where a carrier is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// The server has not given it.
    #[default]
    Absent,
    /// In the server VM, waiting. `spare`: it was asked back, and not wanted since.
    Parked { spare: bool },
    /// The view of vCPU `vcpu` has it. While that is in guest mode it may be in a call.
    Assigned { vcpu: usize },
    /// A call was stopped; its registers are in the host.
    Suspended { token: Token },
    /// The call goes on natively in the server VM.
    Hopped { token: Token },
    /// The same, but the client has gone that would ask for the result.
    Abandoned,
    /// It has ended there; the client has yet to ask.
    Finished { token: Token, result: u64 },
}

/// In the server VM, after it was wanted.
const PARKED: State = State::Parked { spare: false };

/// What RETIRE comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retire {
    /// It is absent.
    Done,
    /// It stays. A vCPU out of guest mode had it, and has it no more.
    Stays(Option<usize>),
    Unknown,
}

/// What RESUME comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Carrier `usize` goes on, on this vCPU.
    GoOn(usize),
    /// It hopped home and has not ended.
    Wait,
    Result(u64),
    Unknown,
}

impl State {
    fn is_parked(&self) -> bool {
        matches!(self, Self::Parked { .. })
    }
}

/// The carriers of a session.
pub(crate) struct Carriers<'a>(pub(crate) &'a mut [State]);

impl Carriers<'_> {
    /// A new carrier, or one that was absent. `false`: it is there already, or its number is too
    /// high.
    pub(crate) fn give(&mut self, index: usize) -> bool {
        match self.0.get_mut(index) {
            Some(state @ State::Absent) => {
                *state = PARKED;
                true
            }
            _ => false,
        }
    }

    /// Assigns a parked carrier to `vcpu`.
    pub(crate) fn assign(&mut self, vcpu: usize) -> Option<usize> {
        let index = self.0.iter().position(State::is_parked)?;
        *self.0.get_mut(index)? = State::Assigned { vcpu };
        Some(index)
    }

    /// `vcpu` is out of guest mode, not in a call, and is to have another carrier or none: its
    /// carrier is parked.
    pub(crate) fn release(&mut self, vcpu: usize) {
        for state in self.0.iter_mut() {
            if *state == (State::Assigned { vcpu }) {
                *state = PARKED;
            }
        }
    }

    /// A vCPU out of guest mode has its carrier taken: returns which vCPU that was. `idle` says of
    /// a vCPU whether it is out of guest mode.
    pub(crate) fn take_idle(&mut self, idle: impl Fn(usize) -> bool) -> Option<usize> {
        self.0.iter_mut().find_map(|state| match *state {
            State::Assigned { vcpu } if idle(vcpu) => {
                *state = PARKED;
                Some(vcpu)
            }
            _ => None,
        })
    }

    /// The server wants carrier `index` back. `idle` as in [`Self::take_idle`].
    pub(crate) fn retire(&mut self, index: usize, idle: impl Fn(usize) -> bool) -> Retire {
        let Some(state) = self.0.get_mut(index) else {
            return Retire::Unknown;
        };
        let (next, outcome) = match *state {
            State::Absent => return Retire::Unknown,
            State::Parked { spare: true } => (State::Absent, Retire::Done),
            State::Parked { spare: false } => (State::Parked { spare: true }, Retire::Stays(None)),
            // It may call again at once.
            State::Assigned { vcpu } if idle(vcpu) => {
                (State::Parked { spare: true }, Retire::Stays(Some(vcpu)))
            }
            other => (other, Retire::Stays(None)),
        };
        *state = next;
        outcome
    }

    /// The call of carrier `index` was stopped. `false`: it was on no vCPU.
    pub(crate) fn suspend(&mut self, index: usize, token: Token) -> bool {
        match self.0.get_mut(index) {
            Some(state @ State::Assigned { .. }) => {
                *state = State::Suspended { token };
                true
            }
            _ => false,
        }
    }

    /// The carrier of a call that was stopped, and what RESUME would come to.
    fn find(&self, token: Token) -> Option<(usize, Resume)> {
        self.0.iter().enumerate().find_map(|(index, state)| {
            let resume = match *state {
                State::Suspended { token: its } if its == token => Resume::GoOn(index),
                State::Hopped { token: its } if its == token => Resume::Wait,
                State::Finished { token: its, result } if its == token => Resume::Result(result),
                _ => return None,
            };
            Some((index, resume))
        })
    }

    /// What [`Self::resume`] would come to.
    pub(crate) fn look(&self, token: Token) -> Resume {
        self.find(token)
            .map_or(Resume::Unknown, |(_, resume)| resume)
    }

    /// The client goes on with a call on `vcpu`, which is in no call.
    pub(crate) fn resume(&mut self, token: Token, vcpu: usize) -> Resume {
        let Some((index, resume)) = self.find(token) else {
            return Resume::Unknown;
        };
        let next = match resume {
            Resume::GoOn(_) => {
                self.release(vcpu);
                State::Assigned { vcpu }
            }
            Resume::Result(_) => PARKED,
            Resume::Wait | Resume::Unknown => return resume,
        };
        if let Some(state) = self.0.get_mut(index) {
            *state = next;
        }
        resume
    }

    /// A stopped call goes on in the server VM. `false`: it was not stopped.
    pub(crate) fn hop(&mut self, index: usize) -> bool {
        match self.0.get_mut(index) {
            Some(state) => match *state {
                State::Suspended { token } => {
                    *state = State::Hopped { token };
                    true
                }
                _ => false,
            },
            None => false,
        }
    }

    /// The server has ended a call natively. `false`: that carrier was not to. `wanted`: the client
    /// is still there to ask for the result.
    pub(crate) fn finish(&mut self, index: usize, result: u64, wanted: bool) -> bool {
        match self.0.get_mut(index) {
            Some(state) => match *state {
                State::Abandoned => {
                    *state = PARKED;
                    true
                }
                State::Hopped { token } => {
                    *state = if wanted {
                        State::Finished { token, result }
                    } else {
                        PARKED
                    };
                    true
                }
                _ => false,
            },
            None => false,
        }
    }

    /// The client has gone, and its vCPUs are out of guest mode: what was assigned or finished is
    /// parked. Those suspended have to hop; returns the first, if any.
    pub(crate) fn client_gone(&mut self) -> Option<usize> {
        for state in self.0.iter_mut() {
            *state = match *state {
                State::Assigned { .. } | State::Finished { .. } => PARKED,
                State::Hopped { .. } => State::Abandoned,
                other => other,
            };
        }
        self.0
            .iter()
            .position(|state| matches!(*state, State::Suspended { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token(7);

    #[test]
    fn a_call_that_is_stopped_twice() {
        let mut states = [State::Absent; 2];
        let mut carriers = Carriers(&mut states);
        assert_eq!(carriers.assign(0), None);
        assert!(carriers.give(1) && !carriers.give(1) && !carriers.give(2));
        assert_eq!(carriers.assign(0), Some(1));
        assert_eq!(carriers.assign(3), None);
        assert!(carriers.suspend(1, TOKEN));
        assert_eq!(carriers.resume(Token(8), 3), Resume::Unknown);
        assert_eq!(carriers.look(TOKEN), Resume::GoOn(1));
        assert_eq!(carriers.resume(TOKEN, 3), Resume::GoOn(1));
        assert_eq!(carriers.resume(TOKEN, 3), Resume::Unknown);
        assert_eq!(carriers.0[1], State::Assigned { vcpu: 3 });
        assert!(carriers.suspend(1, Token(9)));
        assert_eq!(carriers.resume(TOKEN, 3), Resume::Unknown);
    }

    #[test]
    fn a_call_that_hops() {
        let mut states = [PARKED];
        let mut carriers = Carriers(&mut states);
        carriers.assign(0);
        assert!(!carriers.hop(0));
        carriers.suspend(0, TOKEN);
        assert!(carriers.hop(0) && !carriers.hop(0));
        assert_eq!(carriers.resume(TOKEN, 0), Resume::Wait);
        assert!(carriers.finish(0, 42, true) && !carriers.finish(0, 43, true));
        assert_eq!(carriers.resume(TOKEN, 0), Resume::Result(42));
        assert_eq!(carriers.resume(TOKEN, 0), Resume::Unknown);
        assert_eq!(carriers.0[0], PARKED);
    }

    #[test]
    fn resuming_parks_the_carrier_that_the_vcpu_had() {
        let mut states = [PARKED; 2];
        let mut carriers = Carriers(&mut states);
        assert_eq!(carriers.assign(0), Some(0));
        carriers.suspend(0, TOKEN);
        assert_eq!(carriers.assign(0), Some(1));
        assert_eq!(carriers.resume(TOKEN, 0), Resume::GoOn(0));
        assert_eq!(carriers.0, &[State::Assigned { vcpu: 0 }, PARKED]);
    }

    #[test]
    fn only_idle_vcpus_lose_their_carrier() {
        let mut states = [PARKED; 2];
        let mut carriers = Carriers(&mut states);
        carriers.assign(0);
        carriers.assign(1);
        assert_eq!(carriers.take_idle(|_| false), None);
        assert_eq!(carriers.take_idle(|vcpu| vcpu == 1), Some(1));
        assert_eq!(carriers.0, &[State::Assigned { vcpu: 0 }, PARKED]);
    }

    #[test]
    fn the_client_goes() {
        let mut states = [
            State::Assigned { vcpu: 0 },
            State::Suspended { token: TOKEN },
            State::Hopped { token: Token(8) },
            State::Finished {
                token: Token(9),
                result: 1,
            },
        ];
        let mut carriers = Carriers(&mut states);
        assert_eq!(carriers.client_gone(), Some(1));
        assert!(carriers.hop(1));
        assert_eq!(carriers.client_gone(), None);
        // Whoever is bound next is not given their results.
        assert_eq!(carriers.0[1..3], [State::Abandoned; 2]);
        assert!(carriers.finish(1, 0, true) && carriers.finish(2, 0, false));
        assert!(carriers.0.iter().all(|state| *state == PARKED));
    }

    #[test]
    fn what_nobody_wants_is_given_back_when_asked_twice() {
        let never = |_| false;
        let mut states = [PARKED, State::Absent];
        let mut carriers = Carriers(&mut states);
        for unknown in [1, 2] {
            assert_eq!(carriers.retire(unknown, never), Retire::Unknown);
        }
        assert_eq!(carriers.retire(0, never), Retire::Stays(None));
        // Wanted in between
        assert_eq!(carriers.assign(5), Some(0));
        assert_eq!(carriers.retire(0, never), Retire::Stays(None));
        assert_eq!(carriers.0[0], State::Assigned { vcpu: 5 });
        carriers.release(5);
        assert_eq!(carriers.retire(0, never), Retire::Stays(None));
        assert_eq!(carriers.retire(0, never), Retire::Done);
        assert_eq!((carriers.assign(0), carriers.0[0]), (None, State::Absent));
        assert!(carriers.give(0));
        // A vCPU that is out of guest mode may call again in time.
        assert_eq!(carriers.assign(5), Some(0));
        assert_eq!(carriers.retire(0, |vcpu| vcpu == 5), Retire::Stays(Some(5)));
        assert_eq!(carriers.assign(5), Some(0));
    }

    /// A vCPU of the client's, as the hooks have it, and what it does by itself in guest mode.
    #[derive(Clone, Copy, Default)]
    struct Vcpu {
        in_guest: bool,
        carrier: Option<usize>,
        in_call: bool,
    }

    /// Two vCPUs that call with two carriers, and a server that wants these back: whatever the
    /// order, no carrier that a call uses, or may come to use without an exit, is absent.
    #[test]
    fn every_short_history_with_carriers_asked_back() {
        fn check(states: &[State], vcpus: &[Vcpu]) {
            for vcpu in vcpus.iter().filter(|vcpu| vcpu.in_call) {
                assert!(vcpu.carrier.is_some());
            }
            for index in vcpus.iter().filter_map(|vcpu| vcpu.carrier) {
                assert!(matches!(states[index], State::Assigned { .. }));
            }
        }
        fn explore(states: [State; 2], vcpus: [Vcpu; 2], depth: u64, next: u64, done: &mut u64) {
            check(&states, &vcpus);
            if depth == 0 {
                return;
            }
            for step in 0..16 {
                let (mut states, mut vcpus) = (states, vcpus);
                let mut carriers = Carriers(&mut states);
                let (it, mut token) = (step % 2, next);
                match step / 2 {
                    // Enters guest mode, with the carrier that it has, or with another one.
                    0 => {
                        let vcpu = &mut vcpus[it];
                        vcpu.carrier = vcpu.carrier.or_else(|| carriers.assign(it));
                        vcpu.in_guest = true;
                    }
                    // Calls, without an exit; or the call is over.
                    1 if vcpus[it].in_guest && vcpus[it].carrier.is_some() => {
                        vcpus[it].in_call = !vcpus[it].in_call;
                    }
                    // Leaves guest mode.
                    2 => {
                        let vcpu = &mut vcpus[it];
                        if core::mem::take(&mut vcpu.in_call) {
                            let carrier = vcpu.carrier.take().unwrap();
                            assert!(carriers.suspend(carrier, Token(next)));
                            token += 1;
                        }
                        vcpu.in_guest = false;
                    }
                    3 if !vcpus[it].in_guest => {
                        let last = Token(next.saturating_sub(1));
                        if let Resume::GoOn(index) = carriers.resume(last, it) {
                            vcpus[it] = Vcpu {
                                in_guest: true,
                                carrier: Some(index),
                                in_call: true,
                            };
                        }
                    }
                    4 => {
                        carriers.hop(it);
                    }
                    5 => {
                        carriers.finish(it, 0, true);
                    }
                    6 => {
                        let before = carriers.0[it];
                        match carriers.retire(it, |vcpu| !vcpus[vcpu].in_guest) {
                            Retire::Done => {
                                assert_eq!(before, State::Parked { spare: true });
                                *done += 1;
                            }
                            Retire::Stays(Some(vcpu)) => vcpus[vcpu].carrier = None,
                            Retire::Stays(None) | Retire::Unknown => {}
                        }
                    }
                    7 => {
                        carriers.give(it);
                    }
                    _ => {}
                }
                explore(states, vcpus, depth - 1, token, done);
            }
        }
        let mut done = 0;
        explore([PARKED; 2], [Vcpu::default(); 2], 6, 1, &mut done);
        assert!(done > 0);
    }

    /// Whatever happens in whatever order, no carrier is on two vCPUs' hands or in two calls: each
    /// token is known once, each vCPU has one carrier at most.
    #[test]
    fn every_short_history() {
        fn check(states: &[State]) {
            for (index, state) in states.iter().enumerate() {
                for other in &states[index + 1..] {
                    match (state, other) {
                        (State::Assigned { vcpu: a }, State::Assigned { vcpu: b }) => {
                            assert_ne!(a, b)
                        }
                        (State::Suspended { token: a }, State::Suspended { token: b })
                        | (State::Hopped { token: a }, State::Hopped { token: b }) => {
                            assert_ne!(a, b)
                        }
                        _ => (),
                    }
                }
            }
        }
        fn explore(states: [State; 2], depth: u64, next: u64) {
            check(&states);
            if depth == 0 {
                return;
            }
            for step in 0..14 {
                let mut states = states;
                let mut carriers = Carriers(&mut states);
                let mut token = next;
                match step {
                    0 | 1 => {
                        carriers.give(step);
                    }
                    2 | 3 => {
                        carriers.release(step - 2);
                        carriers.assign(step - 2);
                    }
                    4 | 5 => {
                        carriers.suspend(step - 4, Token(next));
                        token += 1;
                    }
                    6 | 7 => {
                        carriers.resume(Token(next.saturating_sub(1)), step - 6);
                    }
                    8 | 9 => {
                        carriers.hop(step - 8);
                    }
                    10 | 11 => {
                        carriers.finish(step - 10, 0, step == 10);
                    }
                    12 => {
                        carriers.take_idle(|vcpu| vcpu == 0);
                    }
                    _ => {
                        carriers.client_gone();
                    }
                }
                explore(states, depth - 1, token);
            }
        }
        explore([State::Absent; 2], 5, 1);
    }
}
