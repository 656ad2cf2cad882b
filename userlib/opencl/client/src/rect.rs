// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands on boxes of buffers (OpenCL 1.2, 5.2.2): what the specification has
//! checked before one is enqueued needs the buffer's size, which is known here.

use std::ffi::c_void;
use std::sync::Arc;

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::pitched::Pitched;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::transfer::Wanted;
use crate::volume::{Triple, Volume, Whole};
use crate::{input, memory, registry};

/// A box of a memory that has these pitches.
#[derive(Debug, Clone, Copy)]
struct Rect {
    origin: Triple,
    pitched: Pitched,
    /// Of its first byte, from the memory's.
    start: usize,
}

impl Rect {
    fn new(
        origin: Triple,
        region: Triple,
        row_pitch: usize,
        slice_pitch: usize,
    ) -> Result<Self, cl_int> {
        let checked = || {
            let [row, rows, slices] = region;
            let pitched = Pitched::new(row, rows, slices, row_pitch, slice_pitch)?;
            let [x, y, z] = origin;
            let row_start = y.checked_mul(pitched.row_pitch())?;
            let slice_start = z.checked_mul(pitched.slice_pitch())?;
            let start = x.checked_add(row_start)?.checked_add(slice_start)?;
            start.checked_add(pitched.span())?;
            (slice_pitch % pitched.row_pitch() == 0).then_some(Rect {
                origin,
                pitched,
                start,
            })
        };
        checked().ok_or(CL_INVALID_VALUE)
    }

    fn end(&self) -> usize {
        self.start + self.pitched.span()
    }

    /// Whether some byte may be in both boxes of one memory, which have the same
    /// region and pitches (OpenCL 1.2, appendix D).
    fn overlaps(&self, other: &Rect, region: Triple) -> bool {
        let meet = |i: usize| {
            self.origin[i] < other.origin[i] + region[i]
                && other.origin[i] < self.origin[i] + region[i]
        };
        let (row, slice) = (self.pitched.row_pitch(), self.pitched.slice_pitch());
        // A row that goes on in the next one, or a slice.
        let wraps = |rect: &Rect| {
            rect.origin[0] + region[0] > row
                || (region[2] > 1 && rect.origin[1] + region[1] > slice / row)
        };
        (0..3).all(meet)
            || (wraps(self) || wraps(other)) && self.start < other.end() && other.start < self.end()
    }
}

/// Checks that a buffer of this size holds the box.
fn check_size(size: usize, rect: &Rect) -> Result<(), cl_int> {
    match rect.end() <= size {
        true => Ok(()),
        false => Err(CL_INVALID_VALUE),
    }
}

/// What reading and writing have in common: the box, and its start in the
/// program's memory.
#[allow(clippy::too_many_arguments)]
unsafe fn between(
    command_queue: cl_command_queue,
    buffer: cl_mem,
    forbidden: cl_mem_flags,
    (buffer_origin, host_origin, region): (*const usize, *const usize, *const usize),
    (buffer_row_pitch, buffer_slice_pitch): (usize, usize),
    (host_row_pitch, host_slice_pitch): (usize, usize),
    no_pointer: bool,
) -> Result<(Volume, usize), cl_int> {
    let queue = registry::get(Kind::Queue, command_queue as usize)?;
    if no_pointer {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises three numbers behind each pointer, or null.
    let (origin, host_origin, region) = unsafe {
        (
            input::triple(buffer_origin)?,
            input::triple(host_origin)?,
            input::triple(region)?,
        )
    };
    let (buffer, flags, size) = memory::buffer(&queue, buffer)?;
    if flags & forbidden != 0 {
        return Err(CL_INVALID_OPERATION);
    }
    let rect = Rect::new(origin, region, buffer_row_pitch, buffer_slice_pitch)?;
    check_size(size, &rect)?;
    let host = Rect::new(host_origin, region, host_row_pitch, host_slice_pitch)?;
    let volume = Volume {
        queue,
        memory: buffer,
        whole: Whole::Buffer {
            row_pitch: rect.pitched.row_pitch(),
            slice_pitch: rect.pitched.slice_pitch(),
        },
        origin,
        region,
        element: 1,
        host: host.pitched,
    };
    Ok((volume, host.start))
}

/// `clEnqueueReadBufferRect`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn read(
    command_queue: cl_command_queue,
    buffer: cl_mem,
    blocking_read: cl_bool,
    buffer_origin: *const usize,
    host_origin: *const usize,
    region: *const usize,
    buffer_row_pitch: usize,
    buffer_slice_pitch: usize,
    host_row_pitch: usize,
    host_slice_pitch: usize,
    ptr: *mut c_void,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    // SAFETY: the caller promises it.
    unsafe {
        let (volume, start) = between(
            command_queue,
            buffer,
            CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS,
            (buffer_origin, host_origin, region),
            (buffer_row_pitch, buffer_slice_pitch),
            (host_row_pitch, host_slice_pitch),
            ptr.is_null(),
        )?;
        let waits = input::wait_list(num_events_in_wait_list, event_wait_list)?;
        let event = Wanted::new(event, &volume.queue)?;
        let target = ptr.cast::<u8>().add(start);
        volume.read(target, blocking_read != CL_FALSE, &waits, event)
    }
}

/// `clEnqueueWriteBufferRect`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn write(
    command_queue: cl_command_queue,
    buffer: cl_mem,
    blocking_write: cl_bool,
    buffer_origin: *const usize,
    host_origin: *const usize,
    region: *const usize,
    buffer_row_pitch: usize,
    buffer_slice_pitch: usize,
    host_row_pitch: usize,
    host_slice_pitch: usize,
    ptr: *const c_void,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    // SAFETY: the caller promises it.
    unsafe {
        let (volume, start) = between(
            command_queue,
            buffer,
            CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS,
            (buffer_origin, host_origin, region),
            (buffer_row_pitch, buffer_slice_pitch),
            (host_row_pitch, host_slice_pitch),
            ptr.is_null(),
        )?;
        let waits = input::wait_list(num_events_in_wait_list, event_wait_list)?;
        let event = Wanted::new(event, &volume.queue)?;
        let source = ptr.cast::<u8>().add(start);
        volume.write(source, blocking_write != CL_FALSE, &waits, event)
    }
}

/// `clEnqueueCopyBufferRect`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn copy(
    command_queue: cl_command_queue,
    src_buffer: cl_mem,
    dst_buffer: cl_mem,
    src_origin: *const usize,
    dst_origin: *const usize,
    region: *const usize,
    src_row_pitch: usize,
    src_slice_pitch: usize,
    dst_row_pitch: usize,
    dst_slice_pitch: usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    let queue = registry::get(Kind::Queue, command_queue as usize)?;
    let (from, _, from_size) = memory::buffer(&queue, src_buffer)?;
    let (to, _, to_size) = memory::buffer(&queue, dst_buffer)?;
    // SAFETY: the caller promises three numbers behind each pointer, or null.
    let (src, dst, size) = unsafe {
        (
            input::triple(src_origin)?,
            input::triple(dst_origin)?,
            input::triple(region)?,
        )
    };
    let src = Rect::new(src, size, src_row_pitch, src_slice_pitch)?;
    let dst = Rect::new(dst, size, dst_row_pitch, dst_slice_pitch)?;
    check_size(from_size, &src)?;
    check_size(to_size, &dst)?;
    if Arc::ptr_eq(&from, &to) {
        if src.pitched != dst.pitched {
            return Err(CL_INVALID_VALUE);
        }
        if src.overlaps(&dst, size) {
            return Err(CL_MEM_COPY_OVERLAP);
        }
    }
    // SAFETY: the caller promises it.
    unsafe {
        marshal::clEnqueueCopyBufferRect(
            command_queue,
            src_buffer,
            dst_buffer,
            src_origin,
            dst_origin,
            region,
            src_row_pitch,
            src_slice_pitch,
            dst_row_pitch,
            dst_slice_pitch,
            num_events_in_wait_list,
            event_wait_list,
            event,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(origin: Triple, region: Triple) -> Rect {
        Rect::new(origin, region, 10, 40).unwrap()
    }

    #[test]
    fn boxes_overlap_where_they_have_a_byte_in_common() {
        let overlaps = |one, other, region| {
            let found = rect(one, region).overlaps(&rect(other, region), region);
            assert_eq!(
                found,
                rect(other, region).overlaps(&rect(one, region), region)
            );
            found
        };
        assert!(overlaps([0, 0, 0], [1, 1, 0], [2, 2, 1]));
        assert!(!overlaps([0, 0, 0], [2, 0, 0], [2, 2, 1]));
        assert!(!overlaps([0, 0, 0], [0, 2, 0], [2, 2, 1]));
        assert!(!overlaps([0, 0, 0], [0, 0, 1], [2, 2, 1]));
        assert!(overlaps([0, 0, 0], [1, 3, 1], [2, 4, 2]));
        // Two rows that go on in the next ones.
        assert!(overlaps([8, 0, 0], [0, 1, 0], [4, 2, 1]));
    }

    #[test]
    fn pitches_that_hold_no_row_or_slice_are_refused() {
        let refused = |row, slice| Rect::new([0; 3], [4, 3, 2], row, slice).is_err();
        assert!(!refused(0, 0) && !refused(4, 12) && !refused(5, 20));
        assert!(refused(3, 0) && refused(0, 11) && refused(5, 16));
        let far = Rect::new([usize::MAX, 0, 0], [1, 1, 1], 0, 0);
        assert!(far.is_err());
    }
}
