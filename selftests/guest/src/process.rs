// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Child processes and signals.

use std::ffi::CStr;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

/// How a child process ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Signal(i32),
}

/// The exit status of a child that panicked.
const PANICKED: i32 = 101;

/// A child process.
pub struct Child(i32);

impl Child {
    /// Forks; the child runs `run` and exits with what that returns, or with [`PANICKED`]: it must not come back and
    /// run the parent's tests too. To be called with one thread alone.
    pub fn fork(run: impl FnOnce() -> i32) -> Self {
        // SAFETY: Callers have one thread, so that the child may do as it likes.
        match unsafe { libc::fork() } {
            0 => {
                let code = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(PANICKED);
                // SAFETY: Ends the child without the parent's exit handlers.
                unsafe { libc::_exit(code) }
            }
            pid => {
                assert!(pid > 0, "fork: {}", io::Error::last_os_error());
                Self(pid)
            }
        }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        // SAFETY: A child of ours that was not waited for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// Waits for its end.
    pub fn end(self) -> End {
        let mut status = 0;
        // SAFETY: `status` lives during the call.
        let pid = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(pid, self.0, "waitpid: {}", io::Error::last_os_error());
        End::of(status)
    }
}

impl End {
    /// From what `waitpid(2)` says.
    fn of(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal(libc::WTERMSIG(status))
        } else {
            Self::Exit(libc::WEXITSTATUS(status))
        }
    }
}

/// Collects a child that has ended, if there is one.
pub fn reap() -> Option<End> {
    let mut status = 0;
    // SAFETY: `status` lives during the call.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then(|| End::of(status))
}

/// `kill -9` of this very process.
pub fn die() -> ! {
    // SAFETY: Nothing is left to be wrong after it.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("survived SIGKILL")
}

/// Has SIGALRM end this thread's system call after a time, without a restart, while this value lives. One at a time.
pub struct Alarm(());

impl Alarm {
    pub fn after(time: Duration) -> Self {
        extern "C" fn nothing(_signal: i32) {}
        // SAFETY: All zeroes is an empty sigaction: no flags, so no SA_RESTART.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        // SAFETY: The handler does nothing, so it may run at any time.
        unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) };
        set_timer(time);
        Self(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        set_timer(Duration::ZERO);
    }
}

fn set_timer(time: Duration) {
    let zero = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let value = libc::timeval {
        tv_sec: time.as_secs() as i64,
        tv_usec: i64::from(time.subsec_micros()),
    };
    let timer = libc::itimerval {
        it_interval: zero,
        it_value: value,
    };
    // SAFETY: `timer` lives during the call.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    assert_eq!(set, 0, "setitimer: {}", io::Error::last_os_error());
}

/// Unloads a kernel module unless it is in use; fails with an error number.
pub fn unload(module: &CStr) -> Result<(), i32> {
    // SAFETY: A string and flags.
    match unsafe { libc::syscall(libc::SYS_delete_module, module.as_ptr(), libc::O_NONBLOCK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}
