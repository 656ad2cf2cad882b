// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ends a client's process when the client has gone while the vendor's library
//! is at work for it, which may take for ever.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// How long a call may go on that nobody waits for.
const GRACE: Duration = Duration::from_secs(10);

/// Watches a connection from a thread of its own.
///
/// # Errors
/// If there can be no thread.
pub fn start(connection: OwnedFd) -> io::Result<()> {
    let watch = move || {
        // nix has no name for it. A hang-up proper and an error need none.
        let gone = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        loop {
            let mut polled = [PollFd::new(connection.as_fd(), gone)];
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => break,
                Err(error) => return log::warn!("cannot watch the connection: {error}"),
            }
        }
        // Between calls the session sees it too, and ends by itself.
        thread::sleep(GRACE);
        log::info!("the client has gone in the middle of a call");
        // SAFETY: _exit only ends the process, which is this client's alone.
        unsafe { nix::libc::_exit(0) }
    };
    thread::Builder::new()
        .name("watchdog".into())
        .spawn(watch)?;
    Ok(())
}
