// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Buffers: what the client remembers of them.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use wormhole_opencl_protocol::api::{ClCreateBuffer, ClSetMemObjectDestructorCallback, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::data::Data;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::area::Use;
use crate::callback::{self, Callback, Cookie, OfMemory};
use crate::object::{Object, Shadow, Shared};
use crate::registry::{self, New};
use crate::transfer::{self, Range, Wanted};
use crate::{connection, input, query};

pub(crate) const HOST_ACCESS: cl_mem_flags =
    CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS;
pub(crate) const DEVICE_ACCESS: cl_mem_flags =
    CL_MEM_READ_WRITE | CL_MEM_WRITE_ONLY | CL_MEM_READ_ONLY;
pub(crate) const HOST_POINTER: cl_mem_flags =
    CL_MEM_USE_HOST_PTR | CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR;

pub(crate) fn check_flags(flags: cl_mem_flags, allowed: cl_mem_flags) -> Result<(), cl_int> {
    let one_at_most = |group: cl_mem_flags| (flags & group).count_ones() <= 1;
    let contradiction = flags & CL_MEM_USE_HOST_PTR != 0
        && flags & (CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR) != 0;
    let good = flags & !allowed == 0
        && one_at_most(DEVICE_ACCESS)
        && one_at_most(HOST_ACCESS)
        && !contradiction;
    match good {
        true => Ok(()),
        false => Err(CL_INVALID_VALUE),
    }
}

/// Flags of the server's object: the program's memory is copied there.
pub(crate) fn remote(flags: cl_mem_flags) -> cl_mem_flags {
    match flags & CL_MEM_USE_HOST_PTR {
        0 => flags,
        _ => flags & !CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR,
    }
}

/// Flags of an object in a buffer that has the flags `above`.
pub(crate) fn inherited(flags: cl_mem_flags, above: cl_mem_flags) -> cl_mem_flags {
    let inherit = |group: cl_mem_flags| match flags & group {
        0 => above & group,
        own => own,
    };
    inherit(DEVICE_ACCESS) | inherit(HOST_ACCESS) | above & HOST_POINTER
}

/// A buffer for a command of a queue, its flags and size.
///
/// # Errors
/// If it is none, or of another context.
pub(crate) fn buffer(
    queue: &Object,
    buffer: cl_mem,
) -> Result<(Arc<Object>, cl_mem_flags, usize), cl_int> {
    let object = registry::get(Kind::Mem, buffer as usize)?;
    let Some(Shadow::Memory {
        flags,
        size,
        image: None,
        ..
    }) = object.shadow()
    else {
        return Err(CL_INVALID_MEM_OBJECT);
    };
    let (flags, size) = (*flags, *size);
    match queue.context() == object.context() {
        true => Ok((object, flags, size)),
        false => Err(CL_INVALID_CONTEXT),
    }
}

/// Checks the properties of a memory object, of which there are none.
pub(crate) fn check_properties(list: &[cl_mem_properties]) -> Result<(), cl_int> {
    match input::pairs(list).next() {
        None => Ok(()),
        Some(_) => Err(CL_INVALID_PROPERTY),
    }
}

/// Fills a buffer with more of the program's data than goes with a message: it is written
/// piece by piece, by a queue that lives so long.
fn fill(context: cl_context, buffer: &New, data: &[u8]) -> Result<(), cl_int> {
    let none = std::ptr::null_mut();
    let mut len = 0;
    // SAFETY: a length, and no list.
    unsafe { marshal::clGetContextInfo(context, CL_CONTEXT_DEVICES, 0, none, &mut len) }?;
    let mut devices: Vec<cl_device_id> = vec![std::ptr::null_mut(); len / size_of::<usize>()];
    let list = devices.as_mut_ptr().cast();
    let unknown = std::ptr::null_mut();
    // SAFETY: room for as many devices as there are.
    unsafe { marshal::clGetContextInfo(context, CL_CONTEXT_DEVICES, len, list, unknown) }?;
    let device = *devices.first().ok_or(CL_OUT_OF_RESOURCES)?;
    // SAFETY: the context and its device.
    let queue = unsafe { marshal::clCreateCommandQueue(context, device, 0) }?;
    let write = || {
        let range = Range {
            queue: registry::get(Kind::Queue, queue as usize)?,
            buffer: buffer.object().clone(),
            offset: 0,
            size: data.len(),
        };
        // SAFETY: no event is wanted.
        let event = unsafe { Wanted::new(std::ptr::null_mut(), &range.queue)? };
        transfer::write(&range, data, true, Vec::new(), event)
    };
    let written = write();
    registry::release(Kind::Queue, queue as usize)?;
    written
}

/// What the server is told to make.
fn request<'a>(
    context: &Object,
    flags: cl_mem_flags,
    size: usize,
    data: Option<Data<'a>>,
    (number, new): (u64, &New),
) -> ClCreateBuffer<'a> {
    ClCreateBuffer {
        context: context.handle(),
        flags,
        size: size as u64,
        data,
        number,
        new: new.handle(),
    }
}

/// If the program would like to have memory of the host behind a buffer, has the server make it in
/// memory that both sides have, as far as there is some.
fn made_there(
    context: &Arc<Object>,
    flags: cl_mem_flags,
    size: usize,
    bytes: Option<&[u8]>,
) -> Result<Option<(New, Shared)>, cl_int> {
    if flags & CL_MEM_ALLOC_HOST_PTR == 0 {
        return Ok(None);
    }
    let Some(part) = connection::take(size, Use::Lasting) else {
        return Ok(None);
    };
    if let Some(bytes) = bytes {
        part.fill(bytes);
    }
    let (shared, offset, len) = (part.shared(), part.offset(), size as u64);
    let flags = flags & !HOST_POINTER | CL_MEM_USE_HOST_PTR;
    let data = Some(Data::Shared { offset, len });
    let new = New::named(Kind::Mem, vec![context.clone()])?;
    let made = connection::call_giving(part, |number| {
        request(context, flags, size, data, (number, &new))
    });
    // The device may be unable to use such memory.
    Ok(made.is_ok().then_some((new, shared)))
}

/// Has the server make a buffer.
fn made(
    context: cl_context,
    its_object: &Arc<Object>,
    flags: cl_mem_flags,
    size: usize,
    bytes: Option<&[u8]>,
) -> Result<New, cl_int> {
    let new = New::named(Kind::Mem, vec![its_object.clone()])?;
    let call = |flags, data| {
        let request = request(its_object, flags, size, data, (0, &new));
        connection::call(&request, |_| ())
    };
    match bytes.filter(|bytes| bytes.len() > transfer::CHUNK) {
        None => call(remote(flags), bytes.map(Data::Here))?,
        Some(bytes) => {
            // What the program may not write later is written now all the same.
            call(remote(flags) & !(CL_MEM_COPY_HOST_PTR | HOST_ACCESS), None)?;
            // Even if it cannot be filled.
            new.object().set_exists();
            fill(context, &new, bytes)?;
        }
    }
    Ok(new)
}

/// `clCreateBuffer`. With `CL_MEM_USE_HOST_PTR` the server gets a copy, and the
/// program's memory is brought up to date when the buffer is mapped, which is
/// all that the specification promises.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_buffer(
    context: cl_context,
    flags: cl_mem_flags,
    size: usize,
    host_ptr: *mut c_void,
) -> Result<cl_mem, cl_int> {
    // SAFETY: the caller promises it.
    unsafe { create_buffer_with_properties(context, std::ptr::null(), flags, size, host_ptr) }
}

/// `clCreateBufferWithProperties`: as [`create_buffer`].
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_buffer_with_properties(
    context: cl_context,
    properties: *const cl_mem_properties,
    flags: cl_mem_flags,
    size: usize,
    host_ptr: *mut c_void,
) -> Result<cl_mem, cl_int> {
    let its_context = registry::get(Kind::Context, context as usize)?;
    // SAFETY: the caller promises it.
    let properties = unsafe { input::properties(properties) };
    check_properties(properties)?;
    check_flags(flags, DEVICE_ACCESS | HOST_ACCESS | HOST_POINTER)?;
    let wants_pointer = flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR) != 0;
    if wants_pointer == host_ptr.is_null() {
        return Err(CL_INVALID_HOST_PTR);
    }
    let bytes = match wants_pointer {
        // SAFETY: the caller promises it.
        true => Some(unsafe { input::bytes(host_ptr.cast(), size, CL_INVALID_HOST_PTR) }?),
        false => None,
    };
    let host_ptr = match flags & CL_MEM_USE_HOST_PTR {
        0 => 0,
        _ => host_ptr as usize,
    };
    let (new, shared) = match made_there(&its_context, flags, size, bytes)? {
        Some((new, shared)) => (new, Some(shared)),
        None => (made(context, &its_context, flags, size, bytes)?, None),
    };
    new.object().set_shadow(Shadow::Memory {
        properties: properties.to_vec(),
        flags,
        size,
        host_ptr,
        offset: 0,
        maps: AtomicU32::new(0),
        shared,
        image: None,
    });
    Ok(new.publish() as cl_mem)
}

/// `clCreateSubBuffer`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_sub_buffer(
    buffer: cl_mem,
    flags: cl_mem_flags,
    buffer_create_type: cl_buffer_create_type,
    buffer_create_info: *const c_void,
) -> Result<cl_mem, cl_int> {
    let parent = registry::get(Kind::Mem, buffer as usize)?;
    let Some(Shadow::Memory {
        flags: parent_flags,
        size: parent_size,
        host_ptr,
        shared,
        image: None,
        ..
    }) = parent.shadow()
    else {
        return Err(CL_INVALID_MEM_OBJECT);
    };
    if parent
        .parent()
        .is_some_and(|above| above.kind() == Kind::Mem)
    {
        return Err(CL_INVALID_MEM_OBJECT);
    }
    check_flags(flags, DEVICE_ACCESS | HOST_ACCESS)?;
    if buffer_create_type != CL_BUFFER_CREATE_TYPE_REGION || buffer_create_info.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises a region for this type.
    let region = unsafe { buffer_create_info.cast::<cl_buffer_region>().read() };
    if region.size == 0 {
        return Err(CL_INVALID_BUFFER_SIZE);
    }
    let end = region.origin.checked_add(region.size);
    if end.is_none_or(|end| end > *parent_size) {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises it.
    let made = unsafe {
        marshal::clCreateSubBuffer(buffer, flags, buffer_create_type, buffer_create_info)
    }?;
    registry::remember(
        Kind::Mem,
        made as usize,
        Shadow::Memory {
            properties: Vec::new(),
            flags: inherited(flags, *parent_flags),
            size: region.size,
            host_ptr: match host_ptr {
                0 => 0,
                base => base + region.origin,
            },
            offset: region.origin,
            maps: AtomicU32::new(0),
            shared: shared.map(|shared| shared.at(region.origin)),
            image: None,
        },
    )?;
    Ok(made)
}

/// Queries that the client answers itself.
pub(crate) fn answer(buffer: &Object, name: cl_mem_info) -> Option<Result<Vec<u8>, cl_int>> {
    let Some(Shadow::Memory {
        flags,
        size,
        host_ptr,
        offset,
        maps,
        ..
    }) = buffer.shadow()
    else {
        return None;
    };
    let value = match name {
        CL_MEM_FLAGS => flags.to_ne_bytes().to_vec(),
        CL_MEM_SIZE => size.to_ne_bytes().to_vec(),
        CL_MEM_HOST_PTR => host_ptr.to_ne_bytes().to_vec(),
        CL_MEM_OFFSET => offset.to_ne_bytes().to_vec(),
        CL_MEM_MAP_COUNT => maps.load(Ordering::Relaxed).to_ne_bytes().to_vec(),
        CL_MEM_PROPERTIES => query::properties(buffer.properties()),
        CL_MEM_USES_SVM_POINTER => CL_FALSE.to_ne_bytes().to_vec(),
        CL_MEM_TYPE | CL_MEM_CONTEXT | CL_MEM_ASSOCIATED_MEMOBJECT => return None,
        _ => return Some(Err(CL_INVALID_VALUE)),
    };
    Some(Ok(value))
}

/// `clSetMemObjectDestructorCallback`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn set_destructor_callback(
    memobj: cl_mem,
    pfn_notify: Option<OfMemory>,
    user_data: *mut c_void,
) -> Result<(), cl_int> {
    let object = registry::get(Kind::Mem, memobj as usize)?;
    let function = pfn_notify.ok_or(CL_INVALID_VALUE)?;
    let (weak, address) = (Arc::downgrade(&object), memobj as usize);
    let callback = Callback::Memory(weak, address, function, Cookie(user_data));
    callback::register(callback, |callback| {
        let request = ClSetMemObjectDestructorCallback {
            memobj: object.handle(),
            callback,
        };
        connection::call(&request, |_| ())
    })
}
