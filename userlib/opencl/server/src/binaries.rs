// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Program binaries that this server's vendor built, by the tokens that
//! clients hold for them.
//!
//! They are files in a directory that only the server can use, so that a token
//! outlives the process that served its client. A file is named by 32 random
//! hexadecimal digits and holds the length of the device's key, the key, and
//! the binary. Who knows the name may use the binary: a token is a capability.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A store of program binaries.
#[derive(Debug)]
pub struct Binaries {
    directory: PathBuf,
    /// Bytes in the directory at most.
    max: u64,
    /// What this process has stored, by a hash of it.
    stored: HashMap<u64, [u8; 32]>,
}

impl Binaries {
    /// Uses the files in `directory`, which exists, and keeps it below `max` bytes.
    pub fn new(directory: PathBuf, max: u64) -> Self {
        Binaries {
            directory,
            max,
            stored: HashMap::new(),
        }
    }

    fn path(&self, identity: &[u8; 32]) -> PathBuf {
        // A token's identity is hexadecimal digits.
        self.directory
            .join(String::from_utf8_lossy(identity).as_ref())
    }

    /// Keeps a binary for the device of this key and returns its identity.
    ///
    /// # Errors
    /// If the directory is full or does not take it.
    pub(crate) fn store(&mut self, key: &[u8], binary: &[u8]) -> io::Result<[u8; 32]> {
        let mut hasher = DefaultHasher::new();
        (key, binary).hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(identity) = self.stored.get(&hash) {
            if self.load(identity, key).is_ok_and(|kept| kept == binary) {
                return Ok(*identity);
            }
        }
        let mut used = 0u64;
        for entry in fs::read_dir(&self.directory)? {
            used = used.saturating_add(entry?.metadata()?.len());
        }
        if used.saturating_add(binary.len() as u64) > self.max {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{} is full", self.directory.display()),
            ));
        }
        let identity = random_identity()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(&identity))?;
        file.write_all(&(key.len() as u64).to_le_bytes())?;
        file.write_all(key)?;
        file.write_all(binary)?;
        self.stored.insert(hash, identity);
        Ok(identity)
    }

    /// The binary of this identity for the device of this key.
    ///
    /// # Errors
    /// If there is none, or it is for another device.
    pub(crate) fn load(&self, identity: &[u8; 32], key: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(identity))?.read_to_end(&mut bytes)?;
        let split = || {
            let (len, rest) = bytes.split_first_chunk::<8>()?;
            let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
            rest.split_at_checked(len)
        };
        match split() {
            Some((kept, binary)) if kept == key => Ok(binary.to_vec()),
            _ => Err(io::Error::other("it is for another device")),
        }
    }
}

fn random_identity() -> io::Result<[u8; 32]> {
    let mut random = [0u8; 16];
    let len = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if len != random.len() {
        return Err(io::Error::other("too little randomness"));
    }
    let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut identity = [0; 32];
    for (digit, value) in identity.iter_mut().zip(digits) {
        *digit = b"0123456789abcdef"[usize::from(value)];
    }
    Ok(identity)
}
