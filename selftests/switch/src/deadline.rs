// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A signal that interrupts KVM_RUN.

use std::ptr::null_mut;
use std::sync::Once;
use std::time::Duration;

const SIGNAL: i32 = libc::SIGALRM;

/// Interrupts the thread that made it with a signal when the time is up, and every 100 ms from then on, until dropped.
pub struct Deadline(libc::timer_t);

impl Deadline {
    pub fn new(time: Duration) -> Self {
        handle();
        // SAFETY: An all-zero sigevent is a valid one.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        // SAFETY: It has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = null_mut();
        // SAFETY: The pointers are to live variables.
        let status =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        assert_eq!(status, 0, "timer_create");
        let times = libc::itimerspec {
            it_interval: timespec(Duration::from_millis(100)),
            it_value: timespec(time),
        };
        // SAFETY: As above.
        let status = unsafe { libc::timer_settime(timer, 0, &raw const times, null_mut()) };
        assert_eq!(status, 0, "timer_settime");
        Self(timer)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // SAFETY: The timer is ours.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// See to it that the signal interrupts a system call, and does nothing else.
fn handle() {
    extern "C" fn ignore(_: i32) {}
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: An all-zero sigaction is a valid one: no SA_RESTART, no signal masked.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = ignore as extern "C" fn(i32) as usize;
        // SAFETY: The handler does nothing, which is safe in a signal handler.
        let status = unsafe { libc::sigaction(SIGNAL, &raw const action, null_mut()) };
        assert_eq!(status, 0, "sigaction");
    });
}
