// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be seen of pairings from outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};

pub const DEBUGFS: &str = "/sys/kernel/debug/wormhole";

/// The "wormhole-KEY: value" lines of a pairing's fdinfo.
pub fn fdinfo(pairing: impl AsFd) -> BTreeMap<String, String> {
    let path = format!("/proc/self/fdinfo/{}", pairing.as_fd().as_raw_fd());
    fs::read_to_string(path)
        .expect("fdinfo")
        .lines()
        .filter_map(|line| line.strip_prefix("wormhole-")?.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A file of a pairing's directory in debugfs, without the newline.
pub fn debugfs(id: &str, file: &str) -> String {
    let path = Path::new(DEBUGFS).join(id).join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.strip_suffix('\n').expect("a whole line").to_owned()
}

/// The lines of the table of pairings, without its head.
pub fn table() -> Vec<String> {
    let text = fs::read_to_string(Path::new(DEBUGFS).join("pairings")).expect("pairings");
    text.lines().skip(1).map(str::to_owned).collect()
}

/// Whether poll(2) reports EPOLLHUP within `wait`. It must report nothing else.
pub fn hangs_up(pairing: impl AsFd, wait: Duration) -> bool {
    let timeout = Timespec::try_from(wait).expect("a sensible duration");
    let mut fds = [PollFd::new(&pairing, PollFlags::IN | PollFlags::OUT)];
    let ready = poll(&mut fds, Some(&timeout)).expect("poll");
    let events = fds[0].revents();
    assert!(events.is_empty() || events == PollFlags::HUP, "{events:?}");
    ready == 1
}
