// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving a buffer's contents to and from the program's memory.
//!
//! Where there is memory that the server has, too, data is copied once, between the
//! program's memory and a part of that, which the vendor's library reads or writes. A
//! transfer that blocks goes in pieces of at most [`PIECE`] bytes. One that does not has a
//! part for all of it, until the server says that it has completed.
//!
//! What is too short for that, or finds no room, travels in messages. A write is posted
//! with its data. A read that does not block is posted, too; its data comes with the reply
//! of the first call that is answered after it has completed, so with `clFinish`,
//! `clWaitForEvents` or a query of its event at the latest. More than [`CHUNK`] bytes go in
//! pieces, of which all but the last block.

use std::ffi::c_void;
use std::sync::Arc;

use wormhole_opencl_protocol::api::{ClEnqueueReadBuffer, ClEnqueueWriteBuffer, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::data::Data;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::*;

use crate::area::{Part, Use};
use crate::connection::{self, Landing};
use crate::input;
use crate::object::{Object, Shadow};
use crate::registry::{self, New};
use crate::stats;

/// Fewest bytes that are worth a part of the shared memory.
const SHARED: usize = 2048;

/// Most bytes of a transfer that blocks that are there at once: few enough to be in a cache
/// still when the other side copies them out.
const PIECE: usize = 256 << 10;

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
    /// What the server carries out is another command.
    command: Option<cl_command_type>,
    /// The event of the first piece, if there are several.
    first: Option<New>,
}

impl Wanted {
    /// # Safety
    /// `pointer` is null or valid for writing until [`give`](Wanted::give).
    pub(crate) unsafe fn new(pointer: *mut cl_event, queue: &Arc<Object>) -> Result<Self, cl_int> {
        let new = match pointer.is_null() {
            true => None,
            false => Some(event_of(queue)?),
        };
        Ok(Wanted {
            pointer,
            new,
            command: None,
            first: None,
        })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.new.as_ref().map_or(Handle::NULL, New::handle)
    }

    /// For a piece of the command, whose event is that of its last one.
    fn handle_of(&mut self, piece: &Piece, queue: &Arc<Object>) -> Result<Handle, cl_int> {
        if piece.last || self.new.is_none() {
            return Ok(self.handle());
        }
        if !piece.first {
            return Ok(Handle::NULL);
        }
        let first = self.first.insert(event_of(queue)?);
        Ok(first.handle())
    }

    /// Makes it the event of another command than the server carries out.
    pub(crate) fn call_it(&mut self, command: cl_command_type) {
        self.command = Some(command);
    }

    pub(crate) fn give(self) {
        if let Some(new) = self.new {
            let first = self.first.map(|first| first.object().clone());
            if self.command.is_some() || first.is_some() {
                let command = self.command;
                new.object().set_shadow(Shadow::Event { command, first });
            }
            // SAFETY: whoever made it promises that the pointer is valid.
            unsafe { self.pointer.write(new.publish() as cl_event) };
        }
    }
}

/// An event that the server may have made whatever it says of the command: an answer can be
/// the failure of an earlier one.
fn event_of(queue: &Arc<Object>) -> Result<New, cl_int> {
    let new = New::named(Kind::Event, vec![queue.clone()])?;
    new.object().set_exists();
    Ok(new)
}

/// A part of a transfer that the server carries out as a command.
struct Piece {
    len: usize,
    first: bool,
    last: bool,
    blocks: bool,
    /// Where both sides have it; else its data is in a message.
    part: Option<Arc<Part>>,
}

impl Piece {
    /// What is next when `done` bytes of `size` are.
    fn next(done: usize, size: usize, blocking: bool) -> Self {
        let rest = size - done;
        let take = |len| connection::take(len, Use::Brief);
        let piece = |len, blocks, part: Option<Part>| {
            stats::count_data(part.is_some(), len);
            Piece {
                len,
                first: done == 0,
                last: done + len == size,
                blocks,
                part: part.map(Arc::new),
            }
        };
        if !blocking {
            if let Some(part) = Some(rest).filter(|len| *len >= SHARED).and_then(take) {
                return piece(rest, false, Some(part));
            }
            if rest <= CHUNK {
                return piece(rest, false, None);
            }
        }
        // The last one need not block, if there is room for it in a message.
        let now = if blocking { rest } else { rest - CHUNK };
        let sizes = std::iter::successors(Some(now.min(PIECE)), |len| Some(len / 2));
        let part = sizes.take_while(|len| *len >= SHARED).find_map(take);
        let len = part.as_ref().map_or(now.min(CHUNK), Part::len);
        piece(len, true, part)
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
    mut event: Wanted,
) -> Result<(), cl_int> {
    let mut done = 0;
    while done < range.size {
        let piece = Piece::next(done, range.size, blocking);
        let len = piece.len;
        // SAFETY: within the range.
        let target = unsafe { pointer.add(done) };
        let event = event.handle_of(&piece, &range.queue)?;
        let place = piece.part.as_ref().map(|part| part.offset());
        let request = |read| ClEnqueueReadBuffer {
            command_queue: range.queue.handle(),
            buffer: range.buffer.handle(),
            read,
            offset: (range.offset + done) as u64,
            size: len as u64,
            place,
            event_wait_list: event_wait_list.clone(),
            event,
        };
        let no_room = || piece.part.is_none() && !connection::may_post_read(len);
        if piece.blocks || no_room() {
            connection::call(&request(0), |reply| match (&piece.part, reply.data.len()) {
                (Some(part), 0) => {
                    // SAFETY: the caller promises it, and the part is of that length.
                    unsafe { part.copy_to(target) };
                    Ok(())
                }
                (None, there) if there == len => {
                    // SAFETY: the caller promises it.
                    unsafe { std::ptr::copy_nonoverlapping(reply.data.as_ptr(), target, len) };
                    Ok(())
                }
                _ => Err(CL_OUT_OF_RESOURCES),
            })??;
        } else {
            // SAFETY: the caller promises it, and a part is of that length.
            let landing = unsafe { Landing::read(target, len, piece.part, range.queue.handle()) };
            connection::post_transfer(landing, request)?;
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
    mut event: Wanted,
) -> Result<(), cl_int> {
    let mut done = 0;
    while done < data.len() {
        let piece = Piece::next(done, data.len(), blocking);
        let bytes = &data[done..done + piece.len];
        let event = event.handle_of(&piece, &range.queue)?;
        let data = match &piece.part {
            Some(part) => {
                part.fill(bytes);
                let (offset, len) = (part.offset(), part.len() as u64);
                Data::Shared { offset, len }
            }
            None => Data::Here(bytes),
        };
        let request = |number| ClEnqueueWriteBuffer {
            command_queue: range.queue.handle(),
            buffer: range.buffer.handle(),
            blocking: piece.blocks.into(),
            number,
            offset: (range.offset + done) as u64,
            data,
            event_wait_list: event_wait_list.clone(),
            event,
        };
        match piece.part {
            _ if piece.blocks => connection::call(&request(0), |_| ())?,
            Some(part) => {
                let landing = Landing::part(part, range.queue.handle());
                connection::post_transfer(landing, request)?;
            }
            None => connection::post(&request(0))?,
        }
        done += bytes.len();
    }
    event.give();
    Ok(())
}

/// Reads a range to a part of the shared memory, where it stays.
pub(crate) fn read_to(
    range: &Range,
    part: &Arc<Part>,
    blocking: bool,
    event_wait_list: Vec<Handle>,
    event: Wanted,
) -> Result<(), cl_int> {
    let request = |read| ClEnqueueReadBuffer {
        command_queue: range.queue.handle(),
        buffer: range.buffer.handle(),
        read,
        offset: range.offset as u64,
        size: range.size as u64,
        place: Some(part.offset()),
        event_wait_list,
        event: event.handle(),
    };
    stats::count_data(true, range.size);
    match blocking {
        true => connection::call(&request(0), |_| ())?,
        false => {
            let landing = Landing::part(part.clone(), range.queue.handle());
            connection::post_transfer(landing, request)?;
        }
    }
    event.give();
    Ok(())
}

/// Writes a range of what is in a part of the shared memory, which is needed until then.
pub(crate) fn write_from(
    range: &Range,
    part: Arc<Part>,
    event_wait_list: Vec<Handle>,
    event: Wanted,
) -> Result<(), cl_int> {
    let (offset, len) = (part.offset(), part.len() as u64);
    let request = |number| ClEnqueueWriteBuffer {
        command_queue: range.queue.handle(),
        buffer: range.buffer.handle(),
        blocking: 0,
        number,
        offset: range.offset as u64,
        data: Data::Shared { offset, len },
        event_wait_list,
        event: event.handle(),
    };
    stats::count_data(true, range.size);
    connection::post_transfer(Landing::part(part, range.queue.handle()), request)?;
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
