// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A child process that is killed in the middle of its work.

use std::io;

pub struct Child(i32);

impl Child {
    /// Forks. The child runs `run` and ends with the exit status 1 if that returns. To be called with one thread alone.
    pub fn fork(run: impl FnOnce()) -> Result<Self, String> {
        // SAFETY: The caller has one thread, so that the child may do as it likes.
        match unsafe { libc::fork() } {
            0 => {
                run();
                std::process::exit(1)
            }
            -1 => Err(format!("fork: {}", io::Error::last_os_error())),
            pid => Ok(Self(pid)),
        }
    }

    /// kill -9. An error if it had ended before.
    pub fn kill(self) -> Result<(), String> {
        let mut status = 0;
        // SAFETY: A child of ours that was not waited for.
        let pid = unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, &mut status, 0)
        };
        if pid != self.0 {
            return Err(format!("waitpid: {}", io::Error::last_os_error()));
        }
        if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL {
            Ok(())
        } else {
            Err(format!(
                "the process ended before it was killed: status {status:#x}"
            ))
        }
    }
}
