// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client's side of exitless calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::device::{Channel, Role, Wake};
use crate::stub::{Flight, Landed, Token};
use crate::{cpu, region, stub, Error};

/// How often a call that hopped is asked after, each time by an exit, before the thread sleeps.
const SPINS: u32 = 1;
/// How often a call is tried again at once that found no carrier.
const YIELDS: u32 = 64;
const PAUSE: Duration = Duration::from_micros(100);
/// How long to sleep for a result at most, in case a notification is lost.
const NAP: Duration = Duration::from_millis(200);
/// How often to ask for a result after the server has closed the channel.
const LAST_QUESTIONS: u32 = 20;
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The function was not called, and this process cannot call it so.
    #[error("the host refuses exitless calls (error {0})")]
    Refused(i32),
    /// The server is gone. The function may have been called.
    #[error("the server is gone")]
    Gone,
    /// The function may have been called.
    #[error("the call failed (error {0})")]
    Failed(i32),
}

impl CallError {
    fn from_errno(errno: i32) -> Self {
        match errno {
            // EPERM is KVM's own answer to RESUME: the VMs are not paired any more.
            libc::ECONNRESET | libc::EPERM => CallError::Gone,
            libc::EOPNOTSUPP | libc::ENOENT => CallError::Refused(errno),
            errno => CallError::Failed(errno),
        }
    }

    /// As C programs get it.
    pub fn errno(self) -> i32 {
        match self {
            CallError::Gone => libc::ECONNRESET,
            CallError::Refused(errno) | CallError::Failed(errno) => errno,
        }
    }
}

/// What has come of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// What the server's function returned.
    pub result: u64,
    /// How often it hopped home.
    pub hops: u32,
}

/// What [`fly`] needs of the world.
trait Sky {
    /// # Safety
    /// As for [`Client::call`].
    unsafe fn enter(&mut self) -> Landed;
    /// # Safety
    /// As for [`Client::call`].
    unsafe fn resume(&mut self, token: Token) -> Landed;
    fn look(&mut self) -> Result<Wake, Errno>;
    fn wait(&mut self, seen: u32) -> Result<Wake, Errno>;
    fn pause(&mut self, time: Duration);
    fn hopped(&mut self);
    /// It finds no carrier.
    fn busy(&mut self);
}

/// Makes a call, whatever comes between.
///
/// # Safety
/// As for [`Client::call`].
unsafe fn fly(sky: &mut impl Sky) -> Result<u64, CallError> {
    let mut busy = 0u32;
    loop {
        // SAFETY: the caller vouches for it.
        match unsafe { sky.enter() } {
            Landed::Result(result) => return Ok(result),
            Landed::Hopped(token) | Landed::NotYet(token) => {
                sky.hopped();
                // SAFETY: the caller vouches for it.
                return unsafe { wait(sky, token) };
            }
            // No carrier is free; nothing tells when one is.
            Landed::Failed(libc::EAGAIN) => {
                if busy == 0 {
                    sky.busy();
                }
                busy = busy.saturating_add(1);
                match busy {
                    0..YIELDS => std::thread::yield_now(),
                    _ => {
                        sky.pause(PAUSE);
                        if sky.look().is_ok_and(|wake| wake.closed) {
                            return Err(CallError::Gone);
                        }
                    }
                }
            }
            Landed::Failed(errno) => {
                return Err(
                    match (CallError::from_errno(errno), sky.look().map_err(lost)) {
                        // There is no other way either.
                        (CallError::Refused(_), Err(CallError::Gone)) => CallError::Gone,
                        (error, _) => error,
                    },
                );
            }
        }
    }
}

/// What it means that the channel cannot be looked at.
fn lost(errno: Errno) -> CallError {
    match errno {
        Errno::NODEV | Errno::NOTCONN => CallError::Gone,
        errno => CallError::Failed(errno.raw_os_error()),
    }
}

/// Waits for a call that hopped.
///
/// # Safety
/// As for [`Client::call`].
unsafe fn wait(sky: &mut impl Sky, mut token: Token) -> Result<u64, CallError> {
    // Before the question: what comes after it is not missed.
    let mut seen = sky.look().map_err(lost)?;
    let mut questions = 0u32;
    loop {
        // SAFETY: the caller vouches for it.
        match unsafe { sky.resume(token) } {
            Landed::Result(result) => return Ok(result),
            // It has gone on here, and hopped again.
            Landed::Hopped(again) => {
                token = again;
                sky.hopped();
            }
            Landed::NotYet(_) => {}
            Landed::Failed(libc::ENOENT) => return Err(CallError::Gone),
            Landed::Failed(errno) => {
                return Err(match CallError::from_errno(errno) {
                    // It has begun.
                    CallError::Refused(errno) => CallError::Failed(errno),
                    other => other,
                });
            }
        }
        questions = questions.saturating_add(1);
        if seen.closed {
            if questions > LAST_QUESTIONS {
                return Err(CallError::Gone);
            }
            sky.pause(LAST_PAUSE);
        } else if questions <= SPINS {
            std::hint::spin_loop();
        } else {
            match sky.wait(seen.event) {
                Ok(wake) => {
                    seen = wake;
                    if seen.closed {
                        questions = 0;
                    }
                }
                Err(Errno::TIMEDOUT | Errno::INTR) => {}
                Err(errno) => return Err(lost(errno)),
            }
        }
    }
}

/// A process that calls a server's function.
pub struct Client {
    channel: Arc<Channel>,
    has_pkru: bool,
    hops: AtomicU64,
}

impl Client {
    /// Binds the channel's session, which a server has opened, to this process. One at a time.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if calls must go by messages.
    pub fn bind(channel: &Arc<Channel>) -> Result<Self, Error> {
        cpu::check()?;
        let has_pkru = cpu::has_pkru();
        // SAFETY: only `Flight` jumps there.
        unsafe { region::install(Role::Client, &stub::gate_page(has_pkru)) }?;
        channel.bind().map_err(|errno| match errno {
            Errno::OPNOTSUPP => Error::Unsupported("no VMFUNC"),
            Errno::NOTTY => Error::Unsupported("the driver does not know them"),
            errno => Error::system("cannot bind the session", errno),
        })?;
        Ok(Client {
            channel: channel.clone(),
            has_pkru,
            hops: AtomicU64::new(0),
        })
    }

    /// Calls the server's function. Threads can call at the same time; each has a carrier then.
    ///
    /// # Safety
    /// The server decides what comes back, and what state this thread's registers are in on the
    /// way, which the stub repairs. The server is not able to touch this process's memory.
    pub unsafe fn call(
        &self,
        a: u64,
        b: u64,
        c: u64,
        d: u64,
        e: u64,
        f: u64,
    ) -> Result<u64, CallError> {
        // SAFETY: the caller vouches for it.
        unsafe { self.call_asking([a, b, c, d, e, f], || {}) }.map(|called| called.result)
    }

    /// As [`call`](Client::call); also tells how often the call hopped. `busy` is called if it
    /// finds no carrier, and may see to it that the server makes more; then the call waits for
    /// one.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn call_asking(
        &self,
        arguments: [u64; 6],
        busy: impl FnOnce(),
    ) -> Result<Called, CallError> {
        let mut sky = Real {
            client: self,
            flight: Flight::new(arguments, self.has_pkru),
            hops: 0,
            busy: Some(busy),
        };
        // SAFETY: the session is bound and the page in place since `bind`; the caller vouches for
        // the rest.
        let result = unsafe { fly(&mut sky) }?;
        let hops = sky.hops;
        Ok(Called { result, hops })
    }

    /// Calls that hopped home so far.
    pub fn hops(&self) -> u64 {
        self.hops.load(Ordering::Relaxed)
    }
}

struct Real<'a, F> {
    client: &'a Client,
    flight: Flight,
    hops: u32,
    busy: Option<F>,
}

impl<F: FnOnce()> Sky for Real<'_, F> {
    unsafe fn enter(&mut self) -> Landed {
        // SAFETY: the caller vouches for it.
        unsafe { self.flight.enter() }
    }

    unsafe fn resume(&mut self, token: Token) -> Landed {
        // SAFETY: the caller vouches for it.
        unsafe { self.flight.resume(token) }
    }

    fn look(&mut self) -> Result<Wake, Errno> {
        self.client.channel.look()
    }

    fn wait(&mut self, seen: u32) -> Result<Wake, Errno> {
        self.client.channel.wait(seen, NAP)
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn hopped(&mut self) {
        self.hops = self.hops.saturating_add(1);
        self.client.hops.fetch_add(1, Ordering::Relaxed);
    }

    fn busy(&mut self) {
        if let Some(busy) = self.busy.take() {
            busy();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::stub::token;

    /// Plays a script of landings.
    #[derive(Default)]
    struct Script {
        enter: VecDeque<Landed>,
        resume: VecDeque<Landed>,
        /// After so many waits the server closes the channel.
        closes: Option<u32>,
        waits: u32,
        device_gone: bool,
        hops: u32,
        busy: u32,
    }

    impl Sky for Script {
        unsafe fn enter(&mut self) -> Landed {
            self.enter.pop_front().expect("in the script")
        }

        unsafe fn resume(&mut self, asked: Token) -> Landed {
            self.resume.pop_front().unwrap_or(Landed::NotYet(asked))
        }

        fn look(&mut self) -> Result<Wake, Errno> {
            if self.device_gone {
                return Err(Errno::NODEV);
            }
            Ok(Wake {
                event: self.waits,
                closed: self.closes.is_some_and(|closes| self.waits >= closes),
            })
        }

        fn wait(&mut self, seen: u32) -> Result<Wake, Errno> {
            assert_eq!(seen, self.waits);
            self.waits += 1;
            self.look()
        }

        fn pause(&mut self, _: Duration) {}

        fn hopped(&mut self) {
            self.hops += 1;
        }

        fn busy(&mut self) {
            self.busy += 1;
        }
    }

    fn call(script: &mut Script) -> Result<u64, CallError> {
        // SAFETY: nothing is called.
        unsafe { fly(script) }
    }

    #[test]
    fn a_hop_is_waited_for() {
        for later in [0, 1, SPINS, 5 * SPINS] {
            let not_yet = std::iter::repeat_n(Landed::NotYet(token(1)), later as usize);
            let mut script = Script {
                enter: [Landed::Hopped(token(1))].into(),
                resume: not_yet.chain([Landed::Result(5)]).collect(),
                ..Script::default()
            };
            assert_eq!(call(&mut script), Ok(5));
            assert_eq!(script.hops, 1);
            assert_eq!(script.waits, later.saturating_sub(SPINS));
        }
    }

    #[test]
    fn a_busy_server_is_tried_again() {
        let busy = std::iter::repeat_n(Landed::Failed(libc::EAGAIN), 100);
        let mut script = Script {
            enter: busy.chain([Landed::Result(6)]).collect(),
            ..Script::default()
        };
        assert_eq!(call(&mut script), Ok(6));
        assert_eq!(script.busy, 1, "more carriers are asked for once");
    }

    #[test]
    fn a_server_that_goes_ends_the_wait() {
        for closes in [0, 3] {
            let mut script = Script {
                enter: [Landed::Hopped(token(1))].into(),
                closes: Some(closes),
                ..Script::default()
            };
            assert_eq!(call(&mut script), Err(CallError::Gone));
        }
    }

    #[test]
    fn errors() {
        for (errno, error) in [
            (libc::ECONNRESET, CallError::Gone),
            (libc::EPERM, CallError::Gone),
            (libc::ENOENT, CallError::Refused(libc::ENOENT)),
            (libc::EOPNOTSUPP, CallError::Refused(libc::EOPNOTSUPP)),
            (libc::EFAULT, CallError::Failed(libc::EFAULT)),
        ] {
            let mut script = Script {
                enter: [Landed::Failed(errno)].into(),
                ..Script::default()
            };
            assert_eq!(call(&mut script), Err(error));
        }
        // Without the device messages do not go either.
        let mut script = Script {
            enter: [Landed::Failed(libc::ENOENT)].into(),
            device_gone: true,
            ..Script::default()
        };
        assert_eq!(call(&mut script), Err(CallError::Gone));
        // The call has begun: it must not be made another way again.
        let mut script = Script {
            enter: [Landed::Hopped(token(1))].into(),
            resume: [Landed::Failed(libc::EOPNOTSUPP)].into(),
            ..Script::default()
        };
        assert_eq!(call(&mut script), Err(CallError::Failed(libc::EOPNOTSUPP)));
    }
}
