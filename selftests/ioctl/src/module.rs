// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernel modules, and what the kernel says about them.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

/// As insmod(8). `path` is not compressed.
pub fn load(path: &Path) -> Result<(), Errno> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    finit_module(file, c"", 0)
}

/// As rmmod(8).
pub fn unload(name: &std::ffi::CStr) -> Result<(), Errno> {
    delete_module(name, OFlags::NONBLOCK.bits() as _)
}

pub fn is_loaded(name: &str) -> bool {
    Path::new("/sys/module").join(name).exists()
}

/// The kernel's log from now on.
pub struct KernelLog(File);

impl KernelLog {
    pub fn new() -> Self {
        let mut file = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open("/dev/kmsg")
            .expect("/dev/kmsg opens");
        file.seek(SeekFrom::End(0)).expect("/dev/kmsg seeks");
        Self(file)
    }

    /// The messages since the last call.
    pub fn read(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(len) => {
                    let record = String::from_utf8_lossy(&record[..len]);
                    let text = record.split_once(';').map_or("", |(_, text)| text);
                    messages.push(text.lines().next().unwrap_or_default().to_owned());
                }
                // records were overwritten before they were read: go on with those that are there
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return messages,
                Err(error) => panic!("/dev/kmsg: {error}"),
            }
        }
    }
}
