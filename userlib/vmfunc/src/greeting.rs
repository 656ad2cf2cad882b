// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the two sides say by ring about exitless calls. Pure.

/// Stands where a request has its function's number, and is none.
const OWN: u16 = 0xffff;
/// What follows it: the version of the protocol if the message is an [`Upgrade`].
const VERSION: u16 = 2;
const GROW: u16 = 0xffff;

fn pack(what: u16, number: u32) -> [u8; 8] {
    let head = u64::from(OWN) | (u64::from(what) << 16);
    (head | (u64::from(number) << 32)).to_le_bytes()
}

fn unpack(what: u16, bytes: &[u8]) -> Option<u32> {
    let word = u64::from_le_bytes(bytes.try_into().ok()?);
    let number = (word >> 32) as u32;
    (pack(what, number) == bytes).then_some(number)
}

/// The client's first message, a call: it would like exitless calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// Longest message that the client accepts.
    pub(crate) max_message: u32,
}

/// The server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// 0, or why there are no exitless calls.
    pub(crate) errno: i32,
    /// Longest message that the server accepts.
    pub(crate) max_message: u32,
}

impl Upgrade {
    pub(crate) fn pack(self) -> [u8; 8] {
        pack(VERSION, self.max_message)
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let max_message = unpack(VERSION, bytes)?;
        Some(Upgrade { max_message })
    }
}

/// A later call of the client: it would like to have more calls under way. The answer
/// is how many there can be, 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grow {
    pub(crate) carriers: u32,
}

impl Grow {
    pub(crate) fn pack(self) -> [u8; 8] {
        pack(GROW, self.carriers)
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let carriers = unpack(GROW, bytes)?;
        Some(Grow { carriers })
    }
}

impl Offer {
    pub(crate) fn pack(self) -> [u8; 8] {
        let errno = u64::from(self.errno.unsigned_abs());
        (errno | (u64::from(self.max_message) << 32)).to_le_bytes()
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let word = u64::from_le_bytes(bytes.try_into().ok()?);
        Some(Offer {
            errno: i32::try_from(word as u32).ok()?,
            max_message: (word >> 32) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let upgrade = Upgrade { max_message: 77 };
        let bytes = upgrade.pack();
        assert_eq!(bytes[..2], [0xff, 0xff]);
        assert_eq!(Upgrade::unpack(&bytes), Some(upgrade));
        assert_eq!(Upgrade::unpack(&bytes[..7]), None);
        let mut other = bytes;
        other[2] = 9;
        assert_eq!(Upgrade::unpack(&other), None, "another version");
        let grow = Grow { carriers: 5 };
        assert_eq!(Grow::unpack(&grow.pack()), Some(grow));
        assert_eq!(Grow::unpack(&bytes), None);
        assert_eq!(Upgrade::unpack(&grow.pack()), None);
        let offer = Offer {
            errno: 95,
            max_message: u32::MAX,
        };
        assert_eq!(Offer::unpack(&offer.pack()), Some(offer));
        assert_eq!(Offer::unpack(&[0xff; 8]), None);
    }
}
