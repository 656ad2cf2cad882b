// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory of this process that commands of the vendor's read and write.

use std::ffi::c_void;
use std::ptr::NonNull;

use wormhole_opencl_protocol::wire::Malformed;
use wormhole_transport::DataArea;

/// What a command copies to or from.
pub(crate) enum Memory {
    /// This side's alone.
    Own(Vec<u8>),
    /// The client's, too, which can change it while the vendor copies it. The vendor gets the
    /// address and the length from here, and takes the bytes as they come: a program of
    /// its own could change them just as well.
    Shared(NonNull<u8>, usize),
}

// SAFETY: the shared memory stays as long as the process, and belongs to no thread.
unsafe impl Send for Memory {}

impl Memory {
    /// The part of the area that a client names.
    ///
    /// # Errors
    /// If there is no such part. One that the client uses otherwise is its own loss.
    pub(crate) fn shared(
        area: Option<&DataArea>,
        offset: u64,
        len: u64,
    ) -> Result<Self, Malformed> {
        let address = area.and_then(|area| area.address(offset, len));
        match (address, usize::try_from(len)) {
            (Some(address), Ok(len)) => Ok(Memory::Shared(address, len)),
            _ => Err(Malformed::Contradiction("data outside the shared memory")),
        }
    }

    /// How much of it is this side's alone.
    pub(crate) fn own(&self) -> usize {
        match self {
            Memory::Own(bytes) => bytes.len(),
            Memory::Shared(..) => 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Memory::Own(bytes) => bytes.len(),
            Memory::Shared(_, len) => *len,
        }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut c_void {
        match self {
            Memory::Own(bytes) => bytes.as_mut_ptr().cast(),
            Memory::Shared(start, _) => start.as_ptr().cast(),
        }
    }
}
