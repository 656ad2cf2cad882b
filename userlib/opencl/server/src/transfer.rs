// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving a buffer's contents to and from the client.

use wormhole_opencl_protocol::api::{
    ClEnqueueReadBuffer, ClEnqueueReadBufferReply, ClEnqueueWriteBuffer, ClEnqueueWriteBufferReply,
    Kind,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_command_queue, cl_event, cl_int, cl_mem};

use crate::check::{check, encode, native_size, Refusal};
use crate::pending::wait_for;
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
        let mut used = Used::of(&vendor);
        used.add(Kind::Queue, self.queue as usize)?;
        used.add(Kind::Mem, self.memory as usize)?;
        used.add_all(Kind::Event, &self.waits)?;
        let mut made: cl_event = std::ptr::null_mut();
        let called = Locked::unlocked(s, || {
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

/// `clEnqueueReadBuffer`: with the number 0 it blocks and the data is in the
/// reply; else the data goes with a later reply, under that number.
pub(crate) fn read_buffer(s: &mut Locked<'_>, m: ClEnqueueReadBuffer) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueReadBuffer.ok_or(CL_INVALID_OPERATION)?;
    let handles = (m.command_queue, m.buffer);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let (offset, size) = (native_size(m.offset)?, native_size(m.size)?);
    s.reserve(size)?;
    let mut data = vec![0u8; size];
    let pointer = data.as_mut_ptr().cast();
    let blocking = m.read == 0;
    let begin = |event| {
        let (queue, buffer, block) = (transfer.queue, transfer.memory, blocking.into());
        // SAFETY: `data` has room for the read, and is kept until it has completed.
        unsafe {
            call(
                queue, buffer, block, offset, size, pointer, waits_len, waits, event,
            )
        }
    };
    if blocking {
        transfer.block(s, m.event, begin)?;
        return Ok(encode(&ClEnqueueReadBufferReply { data: &data }));
    }
    let mut event: cl_event = std::ptr::null_mut();
    check(begin(&raw mut event))?;
    // SAFETY: the event of this read, whose reference is given up.
    unsafe { s.pending.keep(event, m.command_queue, Some(m.read), data) };
    share(s, m.event, event)?;
    Ok(encode(&ClEnqueueReadBufferReply { data: &[] }))
}

/// `clEnqueueWriteBuffer`.
pub(crate) fn write_buffer(
    s: &mut Locked<'_>,
    m: ClEnqueueWriteBuffer<'_>,
) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueWriteBuffer.ok_or(CL_INVALID_OPERATION)?;
    let handles = (m.command_queue, m.buffer);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let offset = native_size(m.offset)?;
    let blocking = m.blocking != 0;
    // A write that does not block outlives the message that brought the data.
    let kept = match blocking {
        true => Vec::new(),
        false => {
            s.reserve(m.data.len())?;
            m.data.to_vec()
        }
    };
    let data = if blocking { m.data } else { &kept };
    let (pointer, size) = (data.as_ptr().cast(), data.len());
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
        unsafe { s.pending.keep(event, m.command_queue, None, kept) };
        share(s, m.event, event)?;
    }
    Ok(encode(&ClEnqueueWriteBufferReply {}))
}
