// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the first process of the Intel host does once its root is in place: it runs one command (or a shell), shows
//! what the VMs print on their serial lines, and leaves the exit status and the kernel log in `/out`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// The command to run, as a JSON list of strings; an empty list is an interactive shell.
pub const COMMAND_FILE: &str = "/etc/testbed/command.json";

/// Where the command, `vm` and the session leave what is to be brought back.
pub const OUT: &str = "/out";

/// What the host prints on its console when the interactive shell is about to start.
pub const SHELL_READY: &str = "testbed: here is the shell";

/// Last part of the name of the file with a VM's serial output.
pub const SERIAL_SUFFIX: &str = ".serial";

/// Runs the session; returns the command's exit status.
pub fn run() -> Result<i32> {
    let text = fs::read(COMMAND_FILE).with_context(|| format!("cannot read {COMMAND_FILE}"))?;
    let command: Vec<String> =
        serde_json::from_slice(&text).with_context(|| format!("cannot parse {COMMAND_FILE}"))?;
    let status = match command.split_first() {
        None => shell()?,
        Some((program, arguments)) => {
            thread::spawn(|| {
                let mut serials = Serials::default();
                loop {
                    serials.show();
                    thread::sleep(Duration::from_millis(200));
                }
            });
            let status = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .status()
                .with_context(|| format!("cannot run {program}"))?;
            // what the VMs said last
            thread::sleep(Duration::from_millis(300));
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
        }
    };
    fs::write(Path::new(OUT).join("host.dmesg"), kernel_log()?)?;
    fs::write(Path::new(OUT).join("exit-status"), format!("{status}\n"))?;
    Ok(status)
}

/// A shell on the console, with job control.
fn shell() -> Result<i32> {
    let terminal = File::options().read(true).write(true).open("/dev/ttyS0")?;
    println!("{SHELL_READY}");
    let mut command = Command::new("/bin/bash");
    command
        .arg("-l")
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal);
    // SAFETY: between fork and exec only setsid and ioctl are called, both async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            nix::errno::Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            Ok(())
        });
    }
    Ok(command.status()?.code().unwrap_or(1))
}

/// Follows the files with the VMs' serial output and repeats their lines on the console, so that whoever watches it
/// sees a VM's kernel fail when it fails.
#[derive(Default)]
struct Serials {
    /// Bytes shown so far of each file.
    shown: HashMap<PathBuf, u64>,
}

impl Serials {
    fn show(&mut self) {
        let Ok(directory) = fs::read_dir(OUT) else {
            return;
        };
        for entry in directory.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(vm) = name.strip_suffix(SERIAL_SUFFIX) else {
                continue;
            };
            let shown = self.shown.entry(entry.path()).or_default();
            let Ok(mut file) = File::open(entry.path()) else {
                continue;
            };
            let mut bytes = Vec::new();
            if file.seek(SeekFrom::Start(*shown)).is_err() || file.read_to_end(&mut bytes).is_err()
            {
                continue;
            }
            // whole lines only
            let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
                continue;
            };
            *shown += end as u64 + 1;
            let text = String::from_utf8_lossy(&bytes[..end]);
            let mut lines = String::new();
            for line in text
                .lines()
                .map(str::trim_end)
                .filter(|line| !line.is_empty())
            {
                let line = printable(line);
                lines.push_str(&format!("vm {vm}: {line}\n"));
            }
            let _ = std::io::stdout().write_all(lines.as_bytes());
        }
    }
}

/// Returns `line` without control characters and terminal escape sequences: the VM's firmware clears the screen.
fn printable(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            if characters.next() == Some('[') {
                characters.find(|c| ('@'..='~').contains(c));
            }
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text
}

/// The whole kernel log, as dmesg shows it.
fn kernel_log() -> Result<Vec<u8>> {
    const SYSLOG_ACTION_READ_ALL: libc::c_int = 3;
    const SYSLOG_ACTION_SIZE_BUFFER: libc::c_int = 10;
    // SAFETY: this action takes no buffer.
    let size = unsafe { libc::klogctl(SYSLOG_ACTION_SIZE_BUFFER, std::ptr::null_mut(), 0) };
    let size = nix::errno::Errno::result(size).context("kernel log")?;
    let mut log = vec![0; usize::try_from(size)?];
    // SAFETY: the buffer is writable and `size` bytes long.
    let length = unsafe { libc::klogctl(SYSLOG_ACTION_READ_ALL, log.as_mut_ptr().cast(), size) };
    log.truncate(usize::try_from(
        nix::errno::Errno::result(length).context("kernel log")?,
    )?);
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_sequences_are_left_out() {
        assert_eq!(printable("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r"), "SeaBIOS");
        assert_eq!(printable("a\x1b"), "a");
        assert_eq!(printable("\x1b[1"), "");
    }
}
