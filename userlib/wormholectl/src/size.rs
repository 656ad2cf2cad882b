// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sizes on the command line: `67108864`, `65536K`, `64M`, `1G`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("expected bytes, or a number with K, M or G".into());
        }
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
            .map(Size)
            .ok_or_else(|| "too large".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, 'G'), (20, 'M'), (10, 'K')] {
            if self.0 != 0 && self.0 % (1 << shift) == 0 {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<Size>();
        assert_eq!(size("64M"), Ok(Size(64 << 20)));
        assert_eq!(size("256k"), Ok(Size(256 << 10)));
        assert_eq!(size("1G"), Ok(Size(1 << 30)));
        assert_eq!(size("4096"), Ok(Size(4096)));
        for bad in [
            "",
            "M",
            "-1",
            "+1",
            "1T",
            "1.5M",
            "99999999999G",
            "١M",
            "4é",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(Size(64 << 20).to_string(), "64M");
        assert_eq!(Size(1000).to_string(), "1000");
        assert_eq!(Size(0).to_string(), "0");
    }
}
