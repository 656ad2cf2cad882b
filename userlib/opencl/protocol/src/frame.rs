// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What stands around a message.
//!
//! A request is the function's number (`u16`), flags (`u16`) and its fields. A reply is
//! the status (`i32`), how many transfers have been handed over so far, also with other threads' replies (`u64`), those that are with this one, and,
//! if the status is `CL_SUCCESS`, the fields of the function's reply. Of most calls there is nothing
//! of all that to tell: then a reply is empty ([`DONE`]).

use std::io::IoSlice;

use crate::api::BLOCKING;
use crate::constants::CL_SUCCESS;
use crate::types::cl_int;
use crate::wire::{Malformed, Reader, Wire, Writer};

/// Flag of a request: the program has no other thread that could have another one, so that
/// none has to wait for this one, however long it takes.
pub const ALONE: u16 = 1;

/// A message from client to server.
pub trait Request<'a>: Wire<'a> {
    /// Number of its function.
    const FUNCTION: u16;
    /// Whether an answer may take long, so that other threads' calls must not wait for it.
    const BLOCKING: bool;
    /// What the server answers, if it is asked to.
    type Reply<'r>: Wire<'r>;

    /// The whole request, without flags.
    #[inline]
    fn frame(&self) -> Writer<'a> {
        let mut w = Writer::new();
        self.put_whole(0, &mut w);
        w
    }

    /// Appends the whole request, with flags. What is returned instead is copied.
    #[inline]
    fn put_whole(&self, flags: u16, w: &mut Writer<'a>) {
        Self::FUNCTION.put(w);
        flags.put(w);
        self.put(w);
    }
}

/// Splits a request into its function's number and its fields.
///
/// # Errors
/// If it is too short or has unknown flags.
pub fn open_request(bytes: &[u8]) -> Result<(u16, Reader<'_>), Malformed> {
    let (function, _, r) = open(bytes)?;
    Ok((function, r))
}

fn open(bytes: &[u8]) -> Result<(u16, u16, Reader<'_>), Malformed> {
    let mut r = Reader::new(bytes);
    let function = u16::get(&mut r)?;
    let flags = u16::get(&mut r)?;
    match flags & !ALONE {
        0 => Ok((function, flags, r)),
        unknown => Err(Malformed::Reserved(unknown)),
    }
}

/// Whether a call may take long, and others may come meanwhile. What is no request does not.
pub fn blocks(bytes: &[u8]) -> bool {
    let Ok((function, flags, _)) = open(bytes) else {
        return false;
    };
    let blocking = BLOCKING.get(usize::from(function));
    flags & ALONE == 0 && blocking == Some(&true)
}

/// Stands for the number of a read with what kernels printed, which goes to the program's
/// standard output. It is none of the reads that are counted.
pub const PRINTED: u64 = 0;

/// Parts of the reply to a call that has succeeded, and whose function's reply has no fields, while
/// no transfers were handed over, nor are now.
pub const DONE: [IoSlice<'static>; 0] = [];

/// The fields of an empty reply.
///
/// # Errors
/// If there are some.
#[inline]
pub fn done<'a, T: Wire<'a>>() -> Result<T, Malformed> {
    T::get(&mut Reader::new(&[]))
}

/// A transfer that did not block and has completed, by the number the client gave it:
/// the data of a read, empty if it is where both ends have it, and nothing if it failed.
pub type Landed<'a> = (u64, Option<&'a [u8]>);

/// A reply, taken apart.
#[derive(Debug)]
pub struct ReplyFrame<'a> {
    /// Status of the call.
    pub status: cl_int,
    /// Transfers that were handed over so far.
    pub handed: u64,
    /// Those that have completed, and were not handed over before.
    pub landed: Vec<Landed<'a>>,
    /// The fields of the function's reply.
    body: Reader<'a>,
}

impl<'a> ReplyFrame<'a> {
    /// Splits a reply.
    #[inline]
    pub fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(bytes);
        if bytes.is_empty() {
            return Ok(ReplyFrame {
                status: CL_SUCCESS,
                handed: 0,
                landed: Vec::new(),
                body,
            });
        }
        Ok(ReplyFrame {
            status: Wire::get(&mut body)?,
            handed: Wire::get(&mut body)?,
            landed: Wire::get(&mut body)?,
            body,
        })
    }

    /// The reply's fields, or the status if it is not `CL_SUCCESS`.
    pub fn fields<T: Wire<'a>>(mut self) -> Result<Result<T, cl_int>, Malformed> {
        if self.status != CL_SUCCESS {
            self.body.finish()?;
            return Ok(Err(self.status));
        }
        let fields = T::get(&mut self.body)?;
        self.body.finish()?;
        Ok(Ok(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ClCreateKernelReply, ClFinishReply};

    #[test]
    fn an_empty_reply_is_that_of_a_call_that_has_succeeded() {
        let frame = ReplyFrame::open(&[]).unwrap();
        assert_eq!((frame.status, frame.handed), (CL_SUCCESS, 0));
        assert!(frame.landed.is_empty());
        assert!(frame.fields::<ClFinishReply>().unwrap().is_ok());
        assert!(done::<ClFinishReply>().is_ok());
        // One that has fields must give them.
        let frame = ReplyFrame::open(&[]).unwrap();
        assert!(frame.fields::<ClCreateKernelReply>().is_err());
        assert!(done::<ClCreateKernelReply>().is_err());
    }
}
