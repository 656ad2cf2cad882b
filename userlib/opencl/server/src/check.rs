// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks of what a client sent and of what the vendor returned.

use std::ffi::CString;

use wormhole_opencl_protocol::constants::{CL_INVALID_VALUE, CL_OUT_OF_RESOURCES, CL_SUCCESS};
use wormhole_opencl_protocol::types::cl_int;
use wormhole_opencl_protocol::wire::{Malformed, Wire, Writer};

/// Why a request is not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The client is told this status.
    Status(cl_int),
    /// The client does not speak the protocol; it is not served any longer.
    Malformed(Malformed),
}

impl From<cl_int> for Refusal {
    fn from(status: cl_int) -> Self {
        Refusal::Status(status)
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Refusal::Malformed(malformed)
    }
}

/// Tells a status from a broken protocol.
pub(crate) fn refusal<T>(result: Result<T, Refusal>) -> Result<Result<T, cl_int>, Malformed> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Refusal::Status(status)) => Ok(Err(status)),
        Err(Refusal::Malformed(malformed)) => Err(malformed),
    }
}

/// A status of the vendor's as a result.
pub(crate) fn check(status: cl_int) -> Result<(), Refusal> {
    match status {
        CL_SUCCESS => Ok(()),
        status => Err(status.into()),
    }
}

/// The status of a function that makes an object, which must then be there.
pub(crate) fn check_made(status: cl_int, null: bool) -> Result<(), Refusal> {
    check(status)?;
    match null {
        true => Err(CL_OUT_OF_RESOURCES.into()),
        false => Ok(()),
    }
}

/// Checks a length that is given twice.
pub(crate) fn check_len(len: usize, given: impl TryInto<usize>) -> Result<(), Refusal> {
    match given.try_into().ok() == Some(len) {
        true => Ok(()),
        false => Err(Malformed::Contradiction("an array of another length").into()),
    }
}

/// A size of this machine.
pub(crate) fn native_size(size: u64) -> Result<usize, Refusal> {
    usize::try_from(size).map_err(|_| CL_INVALID_VALUE.into())
}

/// A C string of a client's text and a suffix of ours.
pub(crate) fn c_string(text: &[u8], suffix: &str) -> Result<CString, Refusal> {
    let mut bytes = Vec::with_capacity(text.len() + suffix.len() + 1);
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(suffix.as_bytes());
    CString::new(bytes).map_err(|_| Malformed::Contradiction("a string with a null in it").into())
}

/// The bytes of a reply's fields. Most replies have none.
pub(crate) fn encode<'a, T: Wire<'a>>(reply: &T) -> Vec<u8> {
    if const { size_of::<T>() == 0 } {
        return Vec::new();
    }
    let mut w = Writer::new();
    reply.put(&mut w);
    w.to_vec()
}

/// Bytes of a request at an address that any C type may have.
pub(crate) enum Aligned<'a> {
    Borrowed(&'a [u8]),
    Half(u32),
    Word(u64),
    Few([u128; FEW]),
    Owned(Vec<u128>),
}

/// Words of what kernel arguments mostly are, and of a structure or two.
const FEW: usize = 4;

/// From this length on bytes are a buffer's contents, and no structure.
const STRUCTURE: usize = 4096;

impl<'a> Aligned<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        if bytes.len() >= STRUCTURE || bytes.as_ptr().cast::<u128>().is_aligned() {
            return Aligned::Borrowed(bytes);
        }
        // What is no longer than this needs no more than its own alignment.
        if let Ok(word) = <[u8; 8]>::try_from(bytes) {
            return Aligned::Word(u64::from_ne_bytes(word));
        }
        if let Ok(word) = <[u8; 4]>::try_from(bytes) {
            return Aligned::Half(u32::from_ne_bytes(word));
        }
        let words = bytes.chunks(size_of::<u128>()).map(|chunk| {
            let mut word = [0; size_of::<u128>()];
            word[..chunk.len()].copy_from_slice(chunk);
            u128::from_ne_bytes(word)
        });
        if bytes.len() > size_of::<[u128; FEW]>() {
            return Aligned::Owned(words.collect());
        }
        let mut few = [0; FEW];
        few.iter_mut()
            .zip(words)
            .for_each(|(place, word)| *place = word);
        Aligned::Few(few)
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        match self {
            Aligned::Borrowed(bytes) => bytes.as_ptr(),
            Aligned::Half(word) => std::ptr::from_ref(word).cast(),
            Aligned::Word(word) => std::ptr::from_ref(word).cast(),
            Aligned::Few(words) => words.as_ptr().cast(),
            Aligned::Owned(words) => words.as_ptr().cast(),
        }
    }
}
