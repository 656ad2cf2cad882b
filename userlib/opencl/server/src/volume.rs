// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving boxes of a buffer or an image to and from the client. By hand as
//! [`crate::transfer`] is, for the same reason: data must stay until the vendor
//! has done with it, and goes with a later reply. Boxes are packed here.

use std::ffi::c_void;

use wormhole_opencl_protocol::api::{
    ClEnqueueReadBufferRect, ClEnqueueReadBufferRectReply, ClEnqueueReadImage,
    ClEnqueueReadImageReply, ClEnqueueWriteBufferRect, ClEnqueueWriteBufferRectReply,
    ClEnqueueWriteImage, ClEnqueueWriteImageReply,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_bool, cl_event, cl_int};

use crate::check::{check, check_len, encode, native_size, Refusal};
use crate::image;
use crate::memory::Memory;
use crate::pending::Way;
use crate::session::Locked;
use crate::transfer::{list, share, tell, Transfer};

type Triple = [usize; 3];

/// What the vendor is told in place of the program's own origin.
const PACKED: Triple = [0; 3];

fn native(triple: [u64; 3]) -> Result<Triple, Refusal> {
    let [x, y, z] = triple;
    Ok([native_size(x)?, native_size(y)?, native_size(z)?])
}

/// Bytes of a box of such elements.
fn bytes(region: Triple, element: usize) -> Result<usize, Refusal> {
    let product = region
        .iter()
        .try_fold(element, |bytes, number| bytes.checked_mul(*number));
    product
        .filter(|bytes| *bytes > 0)
        .ok_or(CL_INVALID_VALUE.into())
}

/// Begins a read of `size` bytes, and returns those that go with the reply: with the
/// number 0 it blocks and they are all there.
fn read(
    s: &mut Locked<'_>,
    transfer: &Transfer,
    (queue, read, event): (Handle, u64, Handle),
    size: usize,
    call: impl Fn(*mut c_void, cl_bool, *mut cl_event) -> cl_int,
) -> Result<Vec<u8>, Refusal> {
    s.reserve(size)?;
    let mut data = vec![0u8; size];
    let pointer = data.as_mut_ptr().cast();
    if read == 0 {
        transfer.block(s, event, |made| call(pointer, 1, made))?;
        return Ok(data);
    }
    let mut made: cl_event = std::ptr::null_mut();
    check(call(pointer, 0, &raw mut made))?;
    // SAFETY: the event of this read, whose reference is given up.
    unsafe {
        s.pending
            .keep(made, queue, (Way::Read, read), Memory::Own(data))
    };
    share(s, event, made)?;
    Ok(Vec::new())
}

/// Begins a write of a request's data.
fn write(
    s: &mut Locked<'_>,
    transfer: &Transfer,
    (queue, blocking, event): (Handle, u8, Handle),
    data: &[u8],
    call: impl Fn(*const c_void, cl_bool, *mut cl_event) -> cl_int,
) -> Result<(), Refusal> {
    if blocking != 0 {
        return transfer.block(s, event, |made| call(data.as_ptr().cast(), 1, made));
    }
    // It outlives the message that brought the data.
    s.reserve(data.len())?;
    let kept = data.to_vec();
    let mut made: cl_event = std::ptr::null_mut();
    check(call(kept.as_ptr().cast(), 0, &raw mut made))?;
    // SAFETY: the event of this write, whose reference is given up.
    unsafe {
        s.pending
            .keep(made, queue, (Way::Write, 0), Memory::Own(kept))
    };
    share(s, event, made)
}

/// `clEnqueueReadBufferRect`.
pub(crate) fn read_rect(
    s: &mut Locked<'_>,
    m: ClEnqueueReadBufferRect,
) -> Result<Vec<u8>, Refusal> {
    let number = m.read;
    let begun = begin_read_rect(s, m);
    tell(s, number, begun)
}

fn begin_read_rect(s: &mut Locked<'_>, m: ClEnqueueReadBufferRect) -> Result<Vec<u8>, Refusal> {
    let vendors = s.vendor.clEnqueueReadBufferRect;
    let vendors = vendors.ok_or(CL_INVALID_OPERATION)?;
    let handles = (m.command_queue, m.buffer);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let (origin, region) = (native(m.origin)?, native(m.region)?);
    let (row_pitch, slice_pitch) = (native_size(m.row_pitch)?, native_size(m.slice_pitch)?);
    let size = bytes(region, 1)?;
    let names = (m.command_queue, m.read, m.event);
    let data = read(s, &transfer, names, size, |pointer, blocking, event| {
        // SAFETY: `pointer` has room for the packed box until the read has completed.
        unsafe {
            vendors(
                transfer.queue,
                transfer.memory,
                blocking,
                origin.as_ptr(),
                PACKED.as_ptr(),
                region.as_ptr(),
                row_pitch,
                slice_pitch,
                0,
                0,
                pointer,
                waits_len,
                waits,
                event,
            )
        }
    })?;
    Ok(encode(&ClEnqueueReadBufferRectReply { data: &data }))
}

/// `clEnqueueWriteBufferRect`.
pub(crate) fn write_rect(
    s: &mut Locked<'_>,
    m: ClEnqueueWriteBufferRect<'_>,
) -> Result<Vec<u8>, Refusal> {
    let vendors = s.vendor.clEnqueueWriteBufferRect;
    let vendors = vendors.ok_or(CL_INVALID_OPERATION)?;
    let handles = (m.command_queue, m.buffer);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let (origin, region) = (native(m.origin)?, native(m.region)?);
    let (row_pitch, slice_pitch) = (native_size(m.row_pitch)?, native_size(m.slice_pitch)?);
    check_len(m.data.len(), bytes(region, 1)?)?;
    let names = (m.command_queue, m.blocking, m.event);
    write(s, &transfer, names, m.data, |pointer, blocking, event| {
        // SAFETY: the packed box is at `pointer` until the write has completed.
        unsafe {
            vendors(
                transfer.queue,
                transfer.memory,
                blocking,
                origin.as_ptr(),
                PACKED.as_ptr(),
                region.as_ptr(),
                row_pitch,
                slice_pitch,
                0,
                0,
                pointer,
                waits_len,
                waits,
                event,
            )
        }
    })?;
    Ok(encode(&ClEnqueueWriteBufferRectReply {}))
}

/// `clEnqueueReadImage`.
pub(crate) fn read_image(s: &mut Locked<'_>, m: ClEnqueueReadImage) -> Result<Vec<u8>, Refusal> {
    let number = m.read;
    let begun = begin_read_image(s, m);
    tell(s, number, begun)
}

fn begin_read_image(s: &mut Locked<'_>, m: ClEnqueueReadImage) -> Result<Vec<u8>, Refusal> {
    let vendors = s.vendor.clEnqueueReadImage.ok_or(CL_INVALID_OPERATION)?;
    let handles = (m.command_queue, m.image);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let (origin, region) = (native(m.origin)?, native(m.region)?);
    let size = bytes(region, image::element_size(&s.vendor, transfer.memory)?)?;
    let names = (m.command_queue, m.read, m.event);
    let data = read(s, &transfer, names, size, |pointer, blocking, event| {
        let (queue, image) = (transfer.queue, transfer.memory);
        let (origin, region) = (origin.as_ptr(), region.as_ptr());
        // SAFETY: `pointer` has room for the packed box until the read has completed.
        unsafe {
            vendors(
                queue, image, blocking, origin, region, 0, 0, pointer, waits_len, waits, event,
            )
        }
    })?;
    Ok(encode(&ClEnqueueReadImageReply { data: &data }))
}

/// `clEnqueueWriteImage`.
pub(crate) fn write_image(
    s: &mut Locked<'_>,
    m: ClEnqueueWriteImage<'_>,
) -> Result<Vec<u8>, Refusal> {
    let vendors = s.vendor.clEnqueueWriteImage.ok_or(CL_INVALID_OPERATION)?;
    let handles = (m.command_queue, m.image);
    let transfer = Transfer::new(s, handles, &m.event_wait_list, m.event)?;
    let (waits_len, waits) = list(&transfer.waits);
    let (origin, region) = (native(m.origin)?, native(m.region)?);
    let element = image::element_size(&s.vendor, transfer.memory)?;
    check_len(m.data.len(), bytes(region, element)?)?;
    let names = (m.command_queue, m.blocking, m.event);
    write(s, &transfer, names, m.data, |pointer, blocking, event| {
        let (queue, image) = (transfer.queue, transfer.memory);
        let (origin, region) = (origin.as_ptr(), region.as_ptr());
        // SAFETY: the packed box is at `pointer` until the write has completed.
        unsafe {
            vendors(
                queue, image, blocking, origin, region, 0, 0, pointer, waits_len, waits, event,
            )
        }
    })?;
    Ok(encode(&ClEnqueueWriteImageReply {}))
}
