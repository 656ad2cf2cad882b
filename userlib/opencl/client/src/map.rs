// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mapping: memory of the client that is read from the buffer at map and, if
//! mapped for writing, written to it at unmap.

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use wormhole_opencl_protocol::api::{ClEnqueueMarkerWithWaitList, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::*;

use crate::object::{Object, Shadow};
use crate::transfer::{self, Range, Wanted};
use crate::{connection, input, registry};

/// Alignment of mapped memory: that of the largest type, `long16`.
const ALIGN: usize = 128;

/// Memory of the client behind a mapping.
///
/// # Invariants
/// `pointer` was allocated with `layout` and is freed by nobody else.
struct Backing {
    pointer: usize,
    layout: Layout,
}

impl Backing {
    fn new(size: usize) -> Result<Self, cl_int> {
        let layout = Layout::from_size_align(size, ALIGN).map_err(|_| CL_OUT_OF_HOST_MEMORY)?;
        // SAFETY: the caller gives a size that is not 0.
        let pointer = unsafe { alloc_zeroed(layout) };
        match pointer.is_null() {
            true => Err(CL_OUT_OF_HOST_MEMORY),
            false => Ok(Backing {
                pointer: pointer as usize,
                layout,
            }),
        }
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        connection::cancel(self.pointer);
        // SAFETY: by the invariants.
        unsafe { dealloc(self.pointer as *mut u8, self.layout) };
    }
}

struct Mapping {
    offset: usize,
    size: usize,
    writes: bool,
    /// `None` if it is the program's own memory.
    backing: Option<Backing>,
}

/// By buffer and address. The program's own memory may be mapped repeatedly.
type Mappings = HashMap<(Handle, usize), Vec<Mapping>>;

static MAPPINGS: LazyLock<Mutex<Mappings>> = LazyLock::new(Mutex::default);

/// An event for a command that moves nothing: the server's marker.
fn marker(queue: &Arc<Object>, waits: Vec<Handle>, event: Wanted) -> Result<(), cl_int> {
    if !waits.is_empty() || !event.handle().is_null() {
        connection::post(&ClEnqueueMarkerWithWaitList {
            command_queue: queue.handle(),
            num_events_in_wait_list: waits.len() as u32,
            event_wait_list: Some(waits).filter(|waits| !waits.is_empty()),
            event: event.handle(),
        })?;
    }
    event.give();
    Ok(())
}

/// `clEnqueueMapBuffer`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn map_buffer(
    command_queue: cl_command_queue,
    buffer: cl_mem,
    blocking_map: cl_bool,
    map_flags: cl_map_flags,
    offset: usize,
    size: usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<*mut c_void, cl_int> {
    let access = CL_MAP_READ | CL_MAP_WRITE;
    let invalidate = map_flags & CL_MAP_WRITE_INVALIDATE_REGION != 0;
    let mut forbidden = CL_MEM_HOST_NO_ACCESS;
    if map_flags & CL_MAP_READ != 0 {
        forbidden |= CL_MEM_HOST_WRITE_ONLY;
    }
    if map_flags & CL_MAP_WRITE != 0 || invalidate {
        forbidden |= CL_MEM_HOST_READ_ONLY;
    }
    let range = Range::new(command_queue, buffer, offset, size, forbidden)?;
    let unknown = map_flags & !(access | CL_MAP_WRITE_INVALIDATE_REGION) != 0;
    if unknown || invalidate && map_flags & access != 0 {
        return Err(CL_INVALID_VALUE);
    }
    let Some(Shadow::Memory { host_ptr, maps, .. }) = range.buffer.shadow() else {
        return Err(CL_INVALID_MEM_OBJECT);
    };
    // SAFETY: the caller promises it.
    let (waits, event) = unsafe {
        (
            input::wait_list(num_events_in_wait_list, event_wait_list)?,
            Wanted::new(event, &range.queue)?,
        )
    };
    event.call_it(CL_COMMAND_MAP_BUFFER);
    let (pointer, backing) = match host_ptr {
        0 => {
            let backing = Backing::new(size)?;
            (backing.pointer, Some(backing))
        }
        base => (base + offset, None),
    };
    if invalidate {
        marker(&range.queue, waits, event)?;
    } else {
        let blocking = blocking_map != CL_FALSE;
        // SAFETY: the memory lives until it is unmapped, which cancels the read.
        unsafe { transfer::read(&range, pointer as *mut u8, blocking, waits, event) }?;
    }
    maps.fetch_add(1, Ordering::Relaxed);
    let mapping = Mapping {
        offset,
        size,
        writes: map_flags & CL_MAP_WRITE != 0 || invalidate,
        backing,
    };
    MAPPINGS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry((range.buffer.handle(), pointer))
        .or_default()
        .push(mapping);
    Ok(pointer as *mut c_void)
}

/// `clEnqueueUnmapMemObject`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn unmap(
    command_queue: cl_command_queue,
    memobj: cl_mem,
    mapped_ptr: *mut c_void,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    let queue = registry::get(Kind::Queue, command_queue as usize)?;
    let buffer = registry::get(Kind::Mem, memobj as usize)?;
    // SAFETY: the caller promises it.
    let (waits, event) = unsafe {
        (
            input::wait_list(num_events_in_wait_list, event_wait_list)?,
            Wanted::new(event, &queue)?,
        )
    };
    event.call_it(CL_COMMAND_UNMAP_MEM_OBJECT);
    let key = (buffer.handle(), mapped_ptr as usize);
    let mapping = {
        let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
        let list = mappings.get_mut(&key).ok_or(CL_INVALID_VALUE)?;
        let mapping = list.pop().ok_or(CL_INVALID_VALUE)?;
        if list.is_empty() {
            mappings.remove(&key);
        }
        mapping
    };
    if let Some(Shadow::Memory { maps, .. }) = buffer.shadow() {
        maps.fetch_sub(1, Ordering::Relaxed);
    }
    if !mapping.writes {
        return marker(&queue, waits, event);
    }
    let range = Range {
        queue,
        buffer,
        offset: mapping.offset,
        size: mapping.size,
    };
    // SAFETY: mapped memory is valid until here: ours is freed below, and the
    // program promised its own.
    let data = unsafe { input::bytes(mapped_ptr.cast(), mapping.size, CL_INVALID_VALUE) }?;
    transfer::write(&range, data, false, waits, event)?;
    drop(mapping.backing);
    Ok(())
}
