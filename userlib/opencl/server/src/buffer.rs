// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Buffers whose contents are in memory that the client has, too: making them, and
//! mapping them, which moves nothing. By hand, as such memory is no pointer of a message.

use std::ffi::c_void;

use wormhole_opencl_protocol::api::{
    ClCreateBuffer, ClCreateBufferReply, ClEnqueueMapBuffer, ClEnqueueMapBufferReply,
    ClEnqueueUnmapMemObject, ClEnqueueUnmapMemObjectReply, Kind,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::data::Data;
use wormhole_opencl_protocol::types::*;

use crate::check::{check, check_len, check_made, encode, native_size, Refusal};
use crate::pending::Given;
use crate::session::{Locked, State};
use crate::transfer::{list, Transfer};

/// Called when the vendor has destroyed a buffer, by whatever thread.
unsafe extern "C" fn destroyed(_: cl_mem, given: *mut c_void) {
    // SAFETY: `tell_when_destroyed` gave it away, for one call.
    let given = unsafe { Box::from_raw(given.cast::<Given>()) };
    given.give_back();
}

/// Has the client told when the vendor uses a buffer's memory no longer.
fn tell_when_destroyed(s: &mut State, buffer: cl_mem, number: u64) -> Result<(), Refusal> {
    let set = s.vendor.clSetMemObjectDestructorCallback;
    let set = set.ok_or(CL_INVALID_OPERATION)?;
    let given = Box::into_raw(Box::new(s.pending.given(number)));
    // SAFETY: a live buffer, and what `destroyed` expects.
    let status = unsafe { set(buffer, Some(destroyed), given.cast()) };
    if status != CL_SUCCESS {
        // SAFETY: the vendor did not take it.
        drop(unsafe { Box::from_raw(given) });
    }
    check(status)
}

/// `clCreateBuffer`: memory of the client's is the buffer's own if it is to be used, and then
/// the client is told under a number when that is over. It is used, and copied, where it is
/// shared; what comes in the message does not last, and is only copied.
pub(crate) fn create(s: &mut State, m: ClCreateBuffer<'_>) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clCreateBuffer.ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant_made(m.new)?;
    let context = s.objects.get(Kind::Context, m.context)? as cl_context;
    let size = native_size(m.size)?;
    let uses = m.flags & CL_MEM_USE_HOST_PTR != 0;
    let pointer: *const c_void = match m.data {
        None => std::ptr::null(),
        Some(Data::Here(bytes)) => {
            check_len(bytes.len(), size)?;
            bytes.as_ptr().cast()
        }
        Some(Data::Shared { offset, len }) => {
            check_len(size, len)?;
            s.shared(offset, len)?.as_mut_ptr()
        }
    };
    if uses && !matches!(m.data, Some(Data::Shared { .. })) {
        return Err(CL_INVALID_HOST_PTR.into());
    }
    let mut status = CL_SUCCESS;
    // SAFETY: there are `size` bytes at the pointer, or it is null. What is used stays as long as
    // the process.
    let made = unsafe { call(context, m.flags, size, pointer.cast_mut(), &mut status) };
    check_made(status, made.is_null())?;
    if uses {
        if let Err(refusal) = tell_when_destroyed(s, made, m.number) {
            // SAFETY: a live buffer, of which the reference is given up.
            unsafe { s.vendor.release(Kind::Mem, made as usize) };
            return Err(refusal);
        }
    }
    s.adopt(Kind::Mem, m.new, made as usize);
    Ok(encode(&ClCreateBufferReply {}))
}

/// `clEnqueueMapBuffer`, for a buffer whose memory the client has: it knows the address.
pub(crate) fn map(s: &mut Locked<'_>, m: ClEnqueueMapBuffer) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueMapBuffer.ok_or(CL_INVALID_OPERATION)?;
    let undo = s.vendor.clEnqueueUnmapMemObject;
    let undo = undo.ok_or(CL_INVALID_OPERATION)?;
    let (offset, size) = (native_size(m.offset)?, native_size(m.size)?);
    let expected = s.shared(m.place, m.size)?.as_mut_ptr();
    let handles = (m.command_queue, m.buffer);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let blocking = m.blocking != 0;
    let vendor = s.vendor.clone();
    let begin = |event: *mut cl_event| {
        let (queue, buffer) = (transfer.queue, transfer.memory);
        let mut status = CL_SUCCESS;
        // SAFETY: live objects, a list of that length, and room for an event.
        let mapped = unsafe {
            call(
                queue,
                buffer,
                blocking.into(),
                m.map_flags,
                offset,
                size,
                waits_len,
                waits,
                event,
                &mut status,
            )
        };
        if status == CL_SUCCESS && mapped != expected {
            // SAFETY: it was mapped just now, and if there is room for an event, there is one.
            unsafe {
                undo(
                    queue,
                    buffer,
                    mapped,
                    0,
                    std::ptr::null(),
                    std::ptr::null_mut(),
                );
                if !event.is_null() {
                    vendor.release(Kind::Event, event.read() as usize);
                }
            }
            return Err(CL_MAP_FAILURE);
        }
        match status {
            CL_SUCCESS => Ok(()),
            status => Err(status),
        }
    };
    transfer.run(s, m.event, blocking, begin)?;
    Ok(encode(&ClEnqueueMapBufferReply {}))
}

/// `clEnqueueUnmapMemObject`, of what [`map`] has mapped. The vendor knows what is.
pub(crate) fn unmap(s: &mut Locked<'_>, m: ClEnqueueUnmapMemObject) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clEnqueueUnmapMemObject;
    let call = call.ok_or(CL_INVALID_OPERATION)?;
    let mapped = s.shared(m.place, 1)?.as_mut_ptr();
    let handles = (m.command_queue, m.memobj);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    transfer.run(s, m.event, false, |event| {
        let (queue, buffer) = (transfer.queue, transfer.memory);
        // SAFETY: live objects, a list of that length, and room for an event.
        check_status(unsafe { call(queue, buffer, mapped, waits_len, waits, event) })
    })?;
    Ok(encode(&ClEnqueueUnmapMemObjectReply {}))
}

fn check_status(status: cl_int) -> Result<(), cl_int> {
    match status {
        CL_SUCCESS => Ok(()),
        status => Err(status),
    }
}
