// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers that nobody can know before.

use rustix::rand::{getrandom, GetRandomFlags};

use crate::Error;

/// A random number that is not 0.
pub fn random() -> Result<u64, Error> {
    loop {
        let mut bytes = [0; 8];
        // A request this short is filled or fails.
        let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
        let number = u64::from_ne_bytes(bytes);
        if filled == bytes.len() && number != 0 {
            return Ok(number);
        }
    }
}
