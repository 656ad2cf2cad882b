// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host of `--no-pair`.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use wormhole_window::Name;

use crate::host::{Host, PairError};

/// A host that pairs nothing.
pub struct Unpaired;

impl Host for Unpaired {
    fn pair(
        &self,
        _: BorrowedFd<'_>,
        _: BorrowedFd<'_>,
        _: &Name,
        _: u32,
        _: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, PairError> {
        Err(PairError::Device(Errno::EOPNOTSUPP))
    }
}
