// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mapping. A buffer whose contents both sides have is mapped by the vendor's library,
//! and nothing moves. For others there is memory, where it can be such that both sides have,
//! which is read from the buffer or image at map and, if mapped for writing, written to it
//! at unmap.

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use wormhole_opencl_protocol::api::{
    ClEnqueueMapBuffer, ClEnqueueMarkerWithWaitList, ClEnqueueUnmapMemObject, Kind,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::*;

use crate::area::{Part, Use};
use crate::image;
use crate::object::{Object, Shadow, Shared};
use crate::transfer::{self, Range, Wanted};
use crate::volume::Volume;
use crate::{connection, input, registry};

/// Alignment of mapped memory: that of the largest type, `long16`.
const ALIGN: usize = 128;

/// Memory behind a mapping.
enum Backing {
    Own(Own),
    /// The server reads and writes it.
    Shared(Arc<Part>),
}

impl Backing {
    fn address(&self) -> usize {
        match self {
            Backing::Own(own) => own.pointer,
            Backing::Shared(part) => part.shared().address,
        }
    }
}

/// Memory of the client's own.
///
/// # Invariants
/// `pointer` was allocated with `layout` and is freed by nobody else.
struct Own {
    pointer: usize,
    layout: Layout,
}

impl Own {
    fn new(size: usize) -> Result<Self, cl_int> {
        let layout = Layout::from_size_align(size, ALIGN).map_err(|_| CL_OUT_OF_HOST_MEMORY)?;
        // SAFETY: the caller gives a size that is not 0.
        let pointer = unsafe { alloc_zeroed(layout) };
        match pointer.is_null() {
            true => Err(CL_OUT_OF_HOST_MEMORY),
            false => Ok(Own {
                pointer: pointer as usize,
                layout,
            }),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        connection::cancel(self.pointer, self.layout.size());
        // SAFETY: by the invariants.
        unsafe { dealloc(self.pointer as *mut u8, self.layout) };
    }
}

/// What is mapped.
enum Mapped {
    Buffer {
        offset: usize,
        size: usize,
    },
    /// The buffer's own memory, which the server has, too.
    Shared(Shared),
    Image(Volume),
}

struct Mapping {
    mapped: Mapped,
    writes: bool,
    /// `None` if it is the program's own memory.
    backing: Option<Backing>,
}

/// By object and address. The program's own memory may be mapped repeatedly.
type Mappings = HashMap<(Handle, usize), Vec<Mapping>>;

static MAPPINGS: LazyLock<Mutex<Mappings>> = LazyLock::new(Mutex::default);

fn keep(key: (Handle, usize), mapping: Mapping) {
    let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    mappings.entry(key).or_default().push(mapping);
}

/// What a mapping is for.
struct Access {
    writes: bool,
    /// What was there is of no interest.
    invalidates: bool,
    /// Flags of objects that may not be mapped so.
    forbidden: cl_mem_flags,
    contradicts: bool,
}

impl Access {
    fn of(flags: cl_map_flags) -> Self {
        let access = CL_MAP_READ | CL_MAP_WRITE;
        let invalidates = flags & CL_MAP_WRITE_INVALIDATE_REGION != 0;
        let writes = flags & CL_MAP_WRITE != 0 || invalidates;
        let mut forbidden = CL_MEM_HOST_NO_ACCESS;
        if flags & CL_MAP_READ != 0 {
            forbidden |= CL_MEM_HOST_WRITE_ONLY;
        }
        if writes {
            forbidden |= CL_MEM_HOST_READ_ONLY;
        }
        let unknown = flags & !(access | CL_MAP_WRITE_INVALIDATE_REGION) != 0;
        Access {
            writes,
            invalidates,
            forbidden,
            contradicts: unknown || invalidates && flags & access != 0,
        }
    }

    fn check(&self) -> Result<(), cl_int> {
        match self.contradicts {
            true => Err(CL_INVALID_VALUE),
            false => Ok(()),
        }
    }
}

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
    let access = Access::of(map_flags);
    let range = Range::new(command_queue, buffer, offset, size, access.forbidden)?;
    access.check()?;
    let Some(Shadow::Memory {
        host_ptr,
        maps,
        shared,
        ..
    }) = range.buffer.shadow()
    else {
        return Err(CL_INVALID_MEM_OBJECT);
    };
    let blocking = blocking_map != CL_FALSE;
    // SAFETY: the caller promises it.
    let (waits, mut event) = unsafe {
        (
            input::wait_list(num_events_in_wait_list, event_wait_list)?,
            Wanted::new(event, &range.queue)?,
        )
    };
    let (pointer, mapped, backing) = if let Some(shared) = shared {
        let shared = shared.at(offset);
        let request = ClEnqueueMapBuffer {
            command_queue: range.queue.handle(),
            buffer: range.buffer.handle(),
            blocking: blocking.into(),
            map_flags,
            offset: offset as u64,
            size: size as u64,
            place: shared.place,
            event_wait_list: waits,
            event: event.handle(),
        };
        connection::send(&request, blocking)?;
        event.give();
        (shared.address, Mapped::Shared(shared), None)
    } else {
        event.call_it(CL_COMMAND_MAP_BUFFER);
        let (pointer, backing) = match host_ptr {
            0 => {
                let backing = match connection::take(size, Use::Lasting) {
                    Some(part) => Backing::Shared(Arc::new(part)),
                    None => Backing::Own(Own::new(size)?),
                };
                (backing.address(), Some(backing))
            }
            base => (base + offset, None),
        };
        match &backing {
            _ if access.invalidates => marker(&range.queue, waits, event)?,
            Some(Backing::Shared(part)) => {
                transfer::read_to(&range, part, blocking, waits, event)?;
            }
            // SAFETY: the memory lives until it is unmapped, which cancels the read.
            _ => unsafe {
                transfer::read(&range, pointer as *mut u8, blocking, waits, event)?;
            },
        }
        (pointer, Mapped::Buffer { offset, size }, backing)
    };
    maps.fetch_add(1, Ordering::Relaxed);
    let mapping = Mapping {
        mapped,
        writes: access.writes,
        backing,
    };
    keep((range.buffer.handle(), pointer), mapping);
    Ok(pointer as *mut c_void)
}

/// `clEnqueueMapImage`: where the program's own memory is not used, the region is
/// mapped packed.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn map_image(
    command_queue: cl_command_queue,
    image: cl_mem,
    blocking_map: cl_bool,
    map_flags: cl_map_flags,
    origin: *const usize,
    region: *const usize,
    image_row_pitch: *mut usize,
    image_slice_pitch: *mut usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<*mut c_void, cl_int> {
    let access = Access::of(map_flags);
    // SAFETY: the caller promises it.
    let part = unsafe { image::Part::new(command_queue, image, origin, region, access.forbidden) }?;
    access.check()?;
    if image_row_pitch.is_null() || image_slice_pitch.is_null() && part.image().has_slices() {
        return Err(CL_INVALID_VALUE);
    }
    let object = part.object().clone();
    let Some(Shadow::Memory { host_ptr, maps, .. }) = object.shadow() else {
        return Err(CL_INVALID_MEM_OBJECT);
    };
    // SAFETY: the caller promises it.
    let (waits, mut event) = unsafe {
        (
            input::wait_list(num_events_in_wait_list, event_wait_list)?,
            Wanted::new(event, part.queue())?,
        )
    };
    event.call_it(CL_COMMAND_MAP_IMAGE);
    let (start, memory) = part.mapped()?;
    let (pointer, backing) = match host_ptr {
        0 => {
            let own = Own::new(memory.len())?;
            (own.pointer, Some(Backing::Own(own)))
        }
        base => (base + start, None),
    };
    let slice_pitch = part.image().reported_slice_pitch(&memory);
    let volume = part.at(memory);
    if access.invalidates {
        marker(&volume.queue, waits, event)?;
    } else {
        let blocking = blocking_map != CL_FALSE;
        // SAFETY: the memory lives until it is unmapped, which cancels the read.
        unsafe { volume.read(pointer as *mut u8, blocking, &waits, event) }?;
    }
    // SAFETY: checked above, and the caller promises the rest.
    unsafe {
        image_row_pitch.write(memory.row_pitch());
        if !image_slice_pitch.is_null() {
            image_slice_pitch.write(slice_pitch);
        }
    }
    maps.fetch_add(1, Ordering::Relaxed);
    let mapping = Mapping {
        mapped: Mapped::Image(volume),
        writes: access.writes,
        backing,
    };
    keep((object.handle(), pointer), mapping);
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
    let (waits, mut event) = unsafe {
        (
            input::wait_list(num_events_in_wait_list, event_wait_list)?,
            Wanted::new(event, &queue)?,
        )
    };
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
    if let Mapped::Shared(shared) = mapping.mapped {
        connection::post(&ClEnqueueUnmapMemObject {
            command_queue: queue.handle(),
            memobj: buffer.handle(),
            place: shared.place,
            event_wait_list: waits,
            event: event.handle(),
        })?;
        event.give();
        return Ok(());
    }
    event.call_it(CL_COMMAND_UNMAP_MEM_OBJECT);
    if !mapping.writes {
        return marker(&queue, waits, event);
    }
    let backing = mapping.backing;
    match mapping.mapped {
        Mapped::Shared(_) => {}
        Mapped::Buffer { offset, size } => {
            let range = Range {
                queue,
                buffer,
                offset,
                size,
            };
            if let Some(Backing::Shared(part)) = backing {
                return transfer::write_from(&range, part, waits, event);
            }
            // SAFETY: mapped memory is valid until here: ours is freed below, and the
            // program promised its own.
            let data = unsafe { input::bytes(mapped_ptr.cast(), size, CL_INVALID_VALUE) }?;
            transfer::write(&range, data, false, waits, event)?;
        }
        Mapped::Image(volume) => {
            let volume = Volume { queue, ..volume };
            // SAFETY: as above.
            unsafe { volume.write(mapped_ptr.cast(), false, &waits, event) }?;
        }
    }
    drop(backing);
    Ok(())
}
