// SPDX-License-Identifier: GPL-2.0

//! The label of a pairing.
//!
//! Pure checking, without the kernel crate: `rustc --test` on this file runs its tests.

/// Bytes of `wormhole_pair.name` (`WORMHOLE_NAME_LEN`), the NUL included.
pub(crate) const NAME_LEN: usize = 32;

/// A label for fdinfo and debugfs.
///
/// # Invariants
///
/// `bytes[..len]` are of `[A-Za-z0-9._-]`, and `len < NAME_LEN`.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; NAME_LEN],
    len: usize,
}

impl Name {
    /// Checks what user space gave: NUL-terminated within the array, of `[A-Za-z0-9._-]` up to
    /// the NUL. May be empty. What follows the NUL is ignored.
    pub(crate) fn new(bytes: [u8; NAME_LEN]) -> Option<Self> {
        let len = bytes.iter().position(|&byte| byte == 0)?;
        let text = bytes.get(..len)?;
        // INVARIANT: checked here, and `position()` is within the array.
        text.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
            .then_some(Self { bytes, len })
    }

    /// Without the NUL.
    pub(crate) fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &[u8]) -> Option<String> {
        let mut bytes = [0; NAME_LEN];
        bytes[..text.len()].copy_from_slice(text);
        Name::new(bytes).map(|name| name.as_str().to_owned())
    }

    #[test]
    fn good() {
        for text in ["", "gpu0", "A.b_c-9", "0123456789012345678901234567890"] {
            assert_eq!(name(text.as_bytes()).as_deref(), Some(text));
        }
    }

    #[test]
    fn unterminated() {
        assert!(Name::new([b'a'; NAME_LEN]).is_none());
    }

    #[test]
    fn every_other_byte_is_refused() {
        for byte in 1..=u8::MAX {
            let good = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            assert_eq!(name(&[b'x', byte, b'y']).is_some(), good, "{byte:#x}");
        }
    }

    #[test]
    fn what_follows_the_nul_is_ignored() {
        assert_eq!(name(b"a\0\xff/").as_deref(), Some("a"));
    }
}
