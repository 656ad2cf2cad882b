// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The file that holds a pairing.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// What the kernel puts before the name of each statistic in fdinfo.
const PREFIX: &str = "wormhole-";
/// Most statistics and most bytes of one that are passed on.
const STATISTICS: usize = 256;
const STATISTIC_LEN: usize = 256;

/// Whether the kernel has ended the pairing, since a VM is gone.
pub fn has_hung_up(pairing: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pairing.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
        && fds[0]
            .revents()
            .is_some_and(|flags| flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// The kernel's statistics of the pairing, by name.
pub fn statistics(pairing: &OwnedFd) -> BTreeMap<String, String> {
    let path = format!("/proc/self/fdinfo/{}", pairing.as_raw_fd());
    // Missing only if /proc is.
    parse(&fs::read_to_string(path).unwrap_or_default())
}

fn parse(fdinfo: &str) -> BTreeMap<String, String> {
    fdinfo
        .lines()
        .filter_map(|line| line.strip_prefix(PREFIX)?.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .filter(|(key, value)| key.len() + value.len() <= STATISTIC_LEN)
        .take(STATISTICS)
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn statistics_of_fdinfo() {
        let text = "pos:\t0\nflags:\t02\nwormhole-name:\tgpu0\nwormhole-calls: 12\nwormhole-bad\n";
        let read: Vec<_> = super::parse(text).into_iter().collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read, [pair("calls", "12"), pair("name", "gpu0")]);
    }
}
