// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving a buffer's contents to and from the client.

use wormhole_opencl_protocol::api::{
    ClEnqueueReadBuffer, ClEnqueueReadBufferReply, ClEnqueueWriteBuffer, ClEnqueueWriteBufferReply,
    Kind,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::data::Data;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_command_queue, cl_event, cl_int, cl_mem};

use crate::check::{check, encode, native_size, Refusal};
use crate::memory::Memory;
use crate::pending::{wait_for, Way};
use crate::session::{Locked, State};
use crate::used::Used;

/// Gives the client the event of a transfer that is kept as pending.
///
/// # Errors
/// If the vendor cannot add a reference.
pub(crate) fn share(s: &mut State, handle: Handle, event: cl_event) -> Result<(), Refusal> {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: a live event.
    check(unsafe { s.vendor.retain(Kind::Event, event as usize) })?;
    s.adopt(Kind::Event, handle, event as usize);
    Ok(())
}

/// A wait list as the vendor takes it.
pub(crate) fn list(events: &[usize]) -> (u32, *const cl_event) {
    match events {
        [] => (0, std::ptr::null()),
        // The message that they came in is shorter than 2^32.
        events => (events.len() as u32, events.as_ptr().cast()),
    }
}

/// What every transfer names, in the vendor's terms.
pub(crate) struct Transfer {
    pub(crate) queue: cl_command_queue,
    pub(crate) memory: cl_mem,
    pub(crate) waits: Vec<usize>,
}

impl Transfer {
    /// # Errors
    /// If a handle is not live, or the event has no name that it can get.
    pub(crate) fn new(
        s: &State,
        (queue, memory): (Handle, Handle),
        waits: &[Handle],
        event: Handle,
    ) -> Result<Self, Refusal> {
        s.objects.vacant(event)?;
        Ok(Transfer {
            queue: s.objects.get(Kind::Queue, queue)? as cl_command_queue,
            memory: s.objects.get(Kind::Mem, memory)? as cl_mem,
            waits: s
                .objects
                .get_all(Kind::Event, waits, CL_INVALID_EVENT_WAIT_LIST)?,
        })
    }

    /// Has `call` made, which blocks, and so while other threads work for the
    /// session. Its event gets the name `event`, unless that is null.
    pub(crate) fn block(
        &self,
        s: &mut Locked<'_>,
        event: Handle,
        call: impl FnOnce(*mut cl_event) -> cl_int,
    ) -> Result<(), Refusal> {
        let vendor = s.vendor.clone();
        let mut used = Used::default();
        used.add(Kind::Queue, self.queue as usize);
        used.add(Kind::Mem, self.memory as usize);
        used.add_all(Kind::Event, &self.waits);
        let mut made: cl_event = std::ptr::null_mut();
        let called = used.unlocked(s, || {
            let status = call(&raw mut made);
            if status == CL_SUCCESS {
                // As in `queue::finish`.
                wait_for(&vendor, made);
            }
            status
        });
        check(called)?;
        if event.is_null() {
            // SAFETY: a live event, of which the reference is given up.
            unsafe { vendor.release(Kind::Event, made as usize) };
            return Ok(());
        }
        // A client that gives a name twice at once is no longer served.
        s.objects.vacant(event)?;
        s.adopt(Kind::Event, event, made as usize);
        Ok(())
    }
}

impl Transfer {
    /// Has a command begun that needs nothing to be kept, as [`block`](Self::block) does if it
    /// blocks. `call` leaves an event if it succeeds.
    pub(crate) fn run(
        &self,
        s: &mut Locked<'_>,
        event: Handle,
        blocking: bool,
        call: impl FnOnce(*mut cl_event) -> Result<(), cl_int>,
    ) -> Result<(), Refusal> {
        if blocking {
            let status = |event| call(event).err().unwrap_or(CL_SUCCESS);
            return self.block(s, event, status);
        }
        let mut made: cl_event = std::ptr::null_mut();
        call(match event.is_null() {
            true => std::ptr::null_mut(),
            false => &raw mut made,
        })?;
        s.adopt(Kind::Event, event, made as usize);
        Ok(())
    }
}

/// Has a client told of a transfer that was to be answered under a number, and was not begun.
/// One that has not let itself be told of very many is told no more.
pub(crate) fn tell<T>(s: &mut State, number: u64, begun: Result<T, Refusal>) -> Result<T, Refusal> {
    if begun.is_err() && number != 0 && s.reserve(0).is_ok() {
        s.pending.refuse(number);
    }
    begun
}

/// `clEnqueueReadBuffer`: with the number 0 it blocks and the data is in the
/// reply; else the data goes with a later reply, under that number. If the client
/// names a place for it, it is there, and in no reply.
pub(crate) fn read_buffer(s: &mut Locked<'_>, m: ClEnqueueReadBuffer) -> Result<Vec<u8>, Refusal> {
    let number = m.read;
    let read = read(s, m);
    tell(s, number, read)
}

fn read(s: &mut Locked<'_>, m: ClEnqueueReadBuffer) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueReadBuffer.ok_or(CL_INVALID_OPERATION)?;
    let (offset, size) = (native_size(m.offset)?, native_size(m.size)?);
    let mut memory = match m.place {
        Some(place) => {
            s.reserve(0)?;
            s.shared(place, m.size)?
        }
        None => {
            s.reserve(size)?;
            Memory::Own(vec![0u8; size])
        }
    };
    let handles = (m.command_queue, m.buffer);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let pointer = memory.as_mut_ptr();
    let blocking = m.read == 0;
    let begin = |event| {
        let (queue, buffer, block) = (transfer.queue, transfer.memory, blocking.into());
        // SAFETY: the memory has room for the read, and is kept until it has completed.
        unsafe {
            call(
                queue, buffer, block, offset, size, pointer, waits_len, waits, event,
            )
        }
    };
    if blocking {
        transfer.block(s, m.event, begin)?;
        let data = match &memory {
            Memory::Own(data) => data,
            Memory::Shared(..) => &[][..],
        };
        return Ok(encode(&ClEnqueueReadBufferReply { data }));
    }
    let mut event: cl_event = std::ptr::null_mut();
    check(begin(&raw mut event))?;
    // SAFETY: the event of this read, whose reference is given up.
    unsafe {
        s.pending
            .keep(event, m.command_queue, (Way::Read, m.read), memory)
    };
    share(s, m.event, event)?;
    Ok(encode(&ClEnqueueReadBufferReply { data: &[] }))
}

/// `clEnqueueWriteBuffer`.
pub(crate) fn write_buffer(
    s: &mut Locked<'_>,
    m: ClEnqueueWriteBuffer<'_>,
) -> Result<Vec<u8>, Refusal> {
    let number = m.number;
    let written = write(s, m);
    tell(s, number, written)
}

fn write(s: &mut Locked<'_>, m: ClEnqueueWriteBuffer<'_>) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueWriteBuffer.ok_or(CL_INVALID_OPERATION)?;
    let offset = native_size(m.offset)?;
    let blocking = m.blocking != 0;
    let (pointer, size, kept) = match m.data {
        Data::Here(data) if blocking => {
            let none = Memory::Own(Vec::new());
            (data.as_ptr().cast(), data.len(), none)
        }
        // A write that does not block outlives the message that brought the data.
        Data::Here(data) => {
            s.reserve(data.len())?;
            let mut kept = Memory::Own(data.to_vec());
            (kept.as_mut_ptr().cast_const(), data.len(), kept)
        }
        Data::Shared { offset, len } => {
            s.reserve(0)?;
            let mut kept = s.shared(offset, len)?;
            (kept.as_mut_ptr().cast_const(), kept.len(), kept)
        }
    };
    let handles = (m.command_queue, m.buffer);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let begin = |event| {
        let (queue, buffer, block) = (transfer.queue, transfer.memory, blocking.into());
        // SAFETY: the data is there until the write has completed.
        unsafe {
            call(
                queue, buffer, block, offset, size, pointer, waits_len, waits, event,
            )
        }
    };
    if blocking {
        transfer.block(s, m.event, begin)?;
    } else {
        let mut event: cl_event = std::ptr::null_mut();
        check(begin(&raw mut event))?;
        // SAFETY: the event of this write, whose reference is given up.
        unsafe {
            s.pending
                .keep(event, m.command_queue, (Way::Write, m.number), kept)
        };
        share(s, m.event, event)?;
    }
    Ok(encode(&ClEnqueueWriteBufferReply {}))
}
