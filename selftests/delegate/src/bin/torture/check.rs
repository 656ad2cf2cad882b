// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the kernel of this machine is well.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::splat::is_splat;

/// For a dead client's server to let go of its pages.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails if the kernel log has a splat, or there are not `pins` pages pinned after a while.
pub fn run(pins: Option<u64>) -> Result<u8, String> {
    let log = kernel_log().map_err(|error| format!("kernel log: {error}"))?;
    if let Some(line) = String::from_utf8_lossy(&log)
        .lines()
        .find(|line| is_splat(line))
    {
        return Err(line.to_owned());
    }
    let start = Instant::now();
    loop {
        let now = pinned()?;
        match pins {
            Some(pins) if now != pins && start.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(50));
            }
            Some(pins) if now != pins => return Err(format!("{now} pages are pinned, not {pins}")),
            _ => {
                println!("{now}");
                return Ok(0);
            }
        }
    }
}

/// Pages that are pinned now.
fn pinned() -> Result<u64, String> {
    const FILE: &str = "/proc/vmstat";
    // Counts that the CPUs have not added up yet could be more than there is in all.
    const REFRESH: &str = "/proc/sys/vm/stat_refresh";
    let read = |file| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    read(REFRESH)?;
    let text = read(FILE)?;
    let value = |key: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    };
    let (acquired, released) = value("nr_foll_pin_acquired ")
        .zip(value("nr_foll_pin_released "))
        .ok_or(format!("{FILE} has no count of pins"))?;
    acquired.checked_sub(released).ok_or(format!(
        "{released} pages were unpinned, but {acquired} pinned"
    ))
}

/// The whole kernel log, as dmesg shows it.
fn kernel_log() -> io::Result<Vec<u8>> {
    const SYSLOG_ACTION_READ_ALL: libc::c_int = 3;
    const SYSLOG_ACTION_SIZE_BUFFER: libc::c_int = 10;
    let length =
        |result: libc::c_int| usize::try_from(result).map_err(|_| io::Error::last_os_error());
    // SAFETY: This action takes no buffer.
    let size = unsafe { libc::klogctl(SYSLOG_ACTION_SIZE_BUFFER, std::ptr::null_mut(), 0) };
    let mut log = vec![0; length(size)?];
    // SAFETY: The buffer can be written and is `size` bytes long.
    let filled = unsafe { libc::klogctl(SYSLOG_ACTION_READ_ALL, log.as_mut_ptr().cast(), size) };
    log.truncate(length(filled)?);
    Ok(log)
}
