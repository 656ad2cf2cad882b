// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving a buffer's contents to and from the program's memory.
//!
//! A write is posted with its data. A read that does not block is posted too;
//! its data comes with the reply of the first call that is answered after it
//! has completed, so with `clFinish`, `clWaitForEvents` or a query of its event
//! at the latest. A transfer of more than [`CHUNK`] bytes goes in pieces, of
//! which all but the last block.

use std::ffi::c_void;
use std::sync::Arc;

use wormhole_opencl_protocol::api::{ClEnqueueReadBuffer, ClEnqueueWriteBuffer, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::*;

use crate::connection::{self, Landing};
use crate::input;
use crate::object::{Object, Shadow};
use crate::registry::{self, New};

/// Bytes that travel in one message at most.
pub(crate) const CHUNK: usize = 16 << 20;

/// The part of a buffer that a command is about.
pub(crate) struct Range {
    pub(crate) queue: Arc<Object>,
    pub(crate) buffer: Arc<Object>,
    /// In bytes.
    pub(crate) offset: usize,
    /// In bytes, not 0.
    pub(crate) size: usize,
}

impl Range {
    /// Checks the arguments that every transfer has.
    ///
    /// # Errors
    /// As the specification says; `CL_INVALID_OPERATION` if the buffer was made
    /// with one of the flags `forbidden`.
    pub(crate) fn new(
        command_queue: cl_command_queue,
        buffer: cl_mem,
        offset: usize,
        size: usize,
        forbidden: cl_mem_flags,
    ) -> Result<Self, cl_int> {
        let queue = registry::get(Kind::Queue, command_queue as usize)?;
        let buffer = registry::get(Kind::Mem, buffer as usize)?;
        let Some(Shadow::Memory {
            flags,
            size: whole,
            image: None,
            ..
        }) = buffer.shadow()
        else {
            return Err(CL_INVALID_MEM_OBJECT);
        };
        let end = offset.checked_add(size).ok_or(CL_INVALID_VALUE)?;
        if size == 0 || end > *whole {
            return Err(CL_INVALID_VALUE);
        }
        if flags & forbidden != 0 {
            return Err(CL_INVALID_OPERATION);
        }
        Ok(Range {
            queue,
            buffer,
            offset,
            size,
        })
    }
}

/// An event for a command, if the program wants one.
pub(crate) struct Wanted {
    pointer: *mut cl_event,
    new: Option<New>,
}

impl Wanted {
    /// # Safety
    /// `pointer` is null or valid for writing until [`give`](Wanted::give).
    pub(crate) unsafe fn new(pointer: *mut cl_event, queue: &Arc<Object>) -> Result<Self, cl_int> {
        let new = match pointer.is_null() {
            true => None,
            false => Some(New::named(Kind::Event, vec![queue.clone()])?),
        };
        Ok(Wanted { pointer, new })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.new.as_ref().map_or(Handle::NULL, New::handle)
    }

    /// Makes it the event of another command than the server carries out.
    pub(crate) fn call_it(&self, command: cl_command_type) {
        if let Some(new) = &self.new {
            new.object().set_shadow(Shadow::Event { command });
        }
    }

    pub(crate) fn give(self) {
        if let Some(new) = self.new {
            // SAFETY: whoever made it promises that the pointer is valid.
            unsafe { self.pointer.write(new.publish() as cl_event) };
        }
    }
}

/// Reads a range to `pointer`.
///
/// # Safety
/// `range.size` bytes at `pointer` are valid for writing until the read has
/// completed.
pub(crate) unsafe fn read(
    range: &Range,
    pointer: *mut u8,
    blocking: bool,
    event_wait_list: Vec<Handle>,
    event: Wanted,
) -> Result<(), cl_int> {
    let mut done = 0;
    while done < range.size {
        let len = CHUNK.min(range.size - done);
        let last = done + len == range.size;
        // SAFETY: within the range.
        let target = unsafe { pointer.add(done) };
        let request = |read| ClEnqueueReadBuffer {
            command_queue: range.queue.handle(),
            buffer: range.buffer.handle(),
            read,
            offset: (range.offset + done) as u64,
            size: len as u64,
            event_wait_list: event_wait_list.clone(),
            event: if last { event.handle() } else { Handle::NULL },
        };
        if blocking || !last || !connection::may_post_read(len)? {
            connection::call(&request(0), |reply| match reply.data.len() == len {
                true => {
                    // SAFETY: the caller promises it.
                    unsafe { std::ptr::copy_nonoverlapping(reply.data.as_ptr(), target, len) };
                    Ok(())
                }
                false => Err(CL_OUT_OF_RESOURCES),
            })??;
        } else {
            // SAFETY: the caller promises it.
            let landing = unsafe { Landing::new(target, len, range.queue.handle()) };
            connection::post_read(landing, request)?;
        }
        done += len;
    }
    event.give();
    Ok(())
}

/// Writes `data` to a range of the same size.
pub(crate) fn write(
    range: &Range,
    data: &[u8],
    blocking: bool,
    event_wait_list: Vec<Handle>,
    event: Wanted,
) -> Result<(), cl_int> {
    let mut offset = range.offset;
    let mut chunks = data.chunks(CHUNK).peekable();
    while let Some(data) = chunks.next() {
        let last = chunks.peek().is_none();
        let blocking = blocking || !last;
        let request = ClEnqueueWriteBuffer {
            command_queue: range.queue.handle(),
            buffer: range.buffer.handle(),
            blocking: blocking.into(),
            offset: offset as u64,
            data,
            event_wait_list: event_wait_list.clone(),
            event: if last { event.handle() } else { Handle::NULL },
        };
        match blocking {
            true => connection::call(&request, |_| ())?,
            false => connection::post(&request)?,
        }
        offset += data.len();
    }
    event.give();
    Ok(())
}

/// `clEnqueueReadBuffer`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn read_buffer(
    command_queue: cl_command_queue,
    buffer: cl_mem,
    blocking_read: cl_bool,
    offset: usize,
    size: usize,
    ptr: *mut c_void,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    let forbidden = CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS;
    let range = Range::new(command_queue, buffer, offset, size, forbidden)?;
    if ptr.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises it.
    unsafe {
        let waits = input::wait_list(num_events_in_wait_list, event_wait_list)?;
        let event = Wanted::new(event, &range.queue)?;
        read(&range, ptr.cast(), blocking_read != CL_FALSE, waits, event)
    }
}

/// `clEnqueueWriteBuffer`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn write_buffer(
    command_queue: cl_command_queue,
    buffer: cl_mem,
    blocking_write: cl_bool,
    offset: usize,
    size: usize,
    ptr: *const c_void,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    let forbidden = CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS;
    let range = Range::new(command_queue, buffer, offset, size, forbidden)?;
    // SAFETY: the caller promises it.
    unsafe {
        let data = input::bytes(ptr.cast(), size, CL_INVALID_VALUE)?;
        let waits = input::wait_list(num_events_in_wait_list, event_wait_list)?;
        let event = Wanted::new(event, &range.queue)?;
        write(&range, data, blocking_write != CL_FALSE, waits, event)
    }
}
