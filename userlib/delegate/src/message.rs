// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the two sides say by the ring: little-endian 64-bit words. Pure.

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Posted: the client is about to connect a channel for memory and exitless calls, and will
    /// write this word there.
    Attach(u64),
    /// Call: answered by how the server can be called.
    Begin,
    /// Call: answered by the result.
    Call([u64; 6]),
}

/// Answer to [`Request::Begin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Exitless,
    /// By messages only, because of this error.
    Ring(i32),
}

const ATTACH: u64 = 1;
const BEGIN: u64 = 2;
const CALL: u64 = 3;

pub(crate) fn pack(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Exactly `N` words.
pub(crate) fn unpack<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    if bytes.len() != N * 8 {
        return None;
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}

impl Request {
    pub(crate) fn pack(self) -> Vec<u8> {
        match self {
            Request::Attach(cookie) => pack(&[ATTACH, cookie]),
            Request::Begin => pack(&[BEGIN]),
            Request::Call([a, b, c, d, e, f]) => pack(&[CALL, a, b, c, d, e, f]),
        }
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        if let Some([CALL, a, b, c, d, e, f]) = unpack(bytes) {
            Some(Request::Call([a, b, c, d, e, f]))
        } else if let Some([ATTACH, cookie]) = unpack(bytes) {
            Some(Request::Attach(cookie))
        } else if let Some([BEGIN]) = unpack(bytes) {
            Some(Request::Begin)
        } else {
            None
        }
    }
}

impl Offer {
    pub(crate) fn pack(self) -> Vec<u8> {
        match self {
            Offer::Exitless => pack(&[0]),
            Offer::Ring(errno) => pack(&[errno.unsigned_abs().into()]),
        }
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        match unpack(bytes)? {
            [0] => Some(Offer::Exitless),
            [errno] => Some(Offer::Ring(i32::try_from(errno).ok()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for request in [
            Request::Attach(7),
            Request::Begin,
            Request::Call([1, 2, 3, 4, 5, u64::MAX]),
        ] {
            let bytes = request.pack();
            assert_eq!(Request::unpack(&bytes), Some(request));
            for length in 0..bytes.len() {
                assert_eq!(Request::unpack(&bytes[..length]), None);
            }
        }
        for offer in [Offer::Exitless, Offer::Ring(95)] {
            assert_eq!(Offer::unpack(&offer.pack()), Some(offer));
        }
        assert_eq!(Offer::unpack(&pack(&[1 << 40])), None);
        assert_eq!(Request::unpack(&pack(&[9])), None);
    }
}
