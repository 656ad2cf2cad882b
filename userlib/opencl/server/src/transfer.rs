// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving a buffer's contents to and from the client.

use wormhole_opencl_protocol::api::{
    ClEnqueueReadBuffer, ClEnqueueReadBufferReply, ClEnqueueWriteBuffer, ClEnqueueWriteBufferReply,
    Kind,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_command_queue, cl_event, cl_mem};

use crate::check::{check, encode, native_size, Refusal};
use crate::session::Session;

/// Gives the client the event of a transfer that is kept as pending.
///
/// # Errors
/// If the vendor cannot add a reference.
fn share(s: &mut Session, handle: Handle, event: cl_event) -> Result<(), Refusal> {
    if handle.is_null() {
        return Ok(());
    }
    let retain = s.vendor.clRetainEvent.ok_or(CL_INVALID_OPERATION)?;
    // SAFETY: a live event.
    check(unsafe { retain(event) })?;
    s.adopt(Kind::Event, handle, event as usize);
    Ok(())
}

fn list(events: &[usize]) -> (u32, *const cl_event) {
    match events {
        [] => (0, std::ptr::null()),
        // The message that they came in is shorter than 2^32.
        events => (events.len() as u32, events.as_ptr().cast()),
    }
}

/// `clEnqueueReadBuffer`: with the number 0 it blocks and the data is in the
/// reply; else the data goes with a later reply, under that number.
pub(crate) fn read_buffer(s: &mut Session, m: ClEnqueueReadBuffer) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueReadBuffer.ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant(m.event)?;
    let queue = s.objects.get(Kind::Queue, m.command_queue)? as cl_command_queue;
    let buffer = s.objects.get(Kind::Mem, m.buffer)? as cl_mem;
    let waits = s
        .objects
        .get_all(Kind::Event, &m.event_wait_list, CL_INVALID_EVENT_WAIT_LIST)?;
    let (waits_len, waits) = list(&waits);
    let (offset, size) = (native_size(m.offset)?, native_size(m.size)?);
    s.pending.reserve(&s.vendor, size, s.limits.max_pending)?;
    let mut data = vec![0u8; size];
    let blocking = m.read == 0;
    let mut event: cl_event = std::ptr::null_mut();
    let wants_event = !blocking || !m.event.is_null();
    // SAFETY: `data` has room for the read, and is kept until it has completed.
    check(unsafe {
        call(
            queue,
            buffer,
            blocking.into(),
            offset,
            size,
            data.as_mut_ptr().cast(),
            waits_len,
            waits,
            if wants_event {
                &mut event
            } else {
                std::ptr::null_mut()
            },
        )
    })?;
    if blocking {
        s.adopt(Kind::Event, m.event, event as usize);
        return Ok(encode(&ClEnqueueReadBufferReply { data: &data }));
    }
    // SAFETY: the event of this read, whose reference is given up.
    unsafe { s.pending.keep(event, Some(m.read), data) };
    share(s, m.event, event)?;
    Ok(encode(&ClEnqueueReadBufferReply { data: &[] }))
}

/// `clEnqueueWriteBuffer`.
pub(crate) fn write_buffer(
    s: &mut Session,
    m: ClEnqueueWriteBuffer<'_>,
) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueWriteBuffer.ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant(m.event)?;
    let queue = s.objects.get(Kind::Queue, m.command_queue)? as cl_command_queue;
    let buffer = s.objects.get(Kind::Mem, m.buffer)? as cl_mem;
    let waits = s
        .objects
        .get_all(Kind::Event, &m.event_wait_list, CL_INVALID_EVENT_WAIT_LIST)?;
    let (waits_len, waits) = list(&waits);
    let offset = native_size(m.offset)?;
    let blocking = m.blocking != 0;
    // A write that does not block outlives the message that brought the data.
    let kept = match blocking {
        true => Vec::new(),
        false => {
            s.pending
                .reserve(&s.vendor, m.data.len(), s.limits.max_pending)?;
            m.data.to_vec()
        }
    };
    let data = if blocking { m.data } else { &kept };
    let mut event: cl_event = std::ptr::null_mut();
    let wants_event = !blocking || !m.event.is_null();
    // SAFETY: the data is there until the write has completed.
    check(unsafe {
        call(
            queue,
            buffer,
            blocking.into(),
            offset,
            data.len(),
            data.as_ptr().cast(),
            waits_len,
            waits,
            if wants_event {
                &mut event
            } else {
                std::ptr::null_mut()
            },
        )
    })?;
    if blocking {
        s.adopt(Kind::Event, m.event, event as usize);
    } else {
        // SAFETY: the event of this write, whose reference is given up.
        unsafe { s.pending.keep(event, None, kept) };
        share(s, m.event, event)?;
    }
    Ok(encode(&ClEnqueueWriteBufferReply {}))
}
