// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The label of a pairing.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;
use wormhole_uapi::WORMHOLE_NAME_LEN;

const CAPACITY: usize = WORMHOLE_NAME_LEN as usize;

/// A pairing's label: at most 31 of `[A-Za-z0-9._-]`, possibly none.
///
/// # Invariants
/// `bytes` holds such characters up to the first NUL, and only NULs after it;
/// its last byte is NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Name {
    bytes: [u8; CAPACITY],
}

/// Why something is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("a name has at most {} characters", CAPACITY - 1)]
    TooLong,
    #[error("a name holds letters, digits, '.', '_' and '-' only")]
    Character,
}

impl Name {
    /// Reads a label.
    pub fn new(text: &str) -> Result<Name, NameError> {
        let mut bytes = [0; CAPACITY];
        if text.len() >= CAPACITY {
            return Err(NameError::TooLong);
        }
        if !text.bytes().all(is_name_byte) {
            return Err(NameError::Character);
        }
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Name { bytes })
    }

    /// Reads a NUL-terminated field.
    pub fn from_field(field: &[u8; CAPACITY]) -> Result<Name, NameError> {
        let end = field
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(NameError::TooLong)?;
        let text = core::str::from_utf8(&field[..end]).map_err(|_| NameError::Character)?;
        Name::new(text)
    }

    /// The label as a NUL-padded field.
    pub const fn as_field(&self) -> &[u8; CAPACITY] {
        &self.bytes
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        // By the invariants neither fallback is ever taken.
        core::str::from_utf8(&self.bytes[..end.unwrap_or(0)]).unwrap_or("")
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
