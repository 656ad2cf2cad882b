// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images: what the client remembers of them, and commands on their regions,
//! which the specification has checked against that before they are enqueued.

use std::ffi::c_void;
use std::sync::atomic::AtomicU32;
use std::sync::Arc;

use wormhole_opencl_protocol::api::{ClCreateImage, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::image::{element_size, extents, in_memory};
use wormhole_opencl_protocol::pitched::Pitched;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::memory::{self, check_flags, DEVICE_ACCESS, HOST_ACCESS, HOST_POINTER};
use crate::object::{Object, Shadow};
use crate::registry::{self, New};
use crate::transfer::Wanted;
use crate::volume::{Triple, Volume, Whole};
use crate::{connection, input, query};

/// What the client must know of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    image_type: cl_mem_object_type,
    format: cl_image_format,
    /// Bytes of an element.
    element: usize,
    /// Elements, rows and slices.
    extents: Triple,
    /// The whole image in the program's memory, with `CL_MEM_USE_HOST_PTR`.
    host: Option<Pitched>,
}

impl Image {
    /// A region as it lies in memory with these pitches.
    fn in_memory(
        &self,
        region: Triple,
        row_pitch: usize,
        slice_pitch: usize,
    ) -> Result<Pitched, cl_int> {
        let pitched = in_memory(
            self.image_type,
            region,
            self.element,
            row_pitch,
            slice_pitch,
        );
        pitched.ok_or(CL_INVALID_VALUE)
    }

    /// Checks that a region is one of this image.
    fn check(&self, origin: Triple, region: Triple) -> Result<(), cl_int> {
        let within = |i: usize| {
            let end = origin[i].checked_add(region[i]);
            region[i] > 0 && end.is_some_and(|end| end <= self.extents[i])
        };
        match (0..3).all(within) {
            true => Ok(()),
            false => Err(CL_INVALID_VALUE),
        }
    }

    /// The slice pitch that a mapping reports: 0 for images that have no slices.
    pub(crate) fn reported_slice_pitch(&self, memory: &Pitched) -> usize {
        match self.image_type {
            CL_MEM_OBJECT_IMAGE1D_ARRAY => memory.row_pitch(),
            CL_MEM_OBJECT_IMAGE2D_ARRAY | CL_MEM_OBJECT_IMAGE3D => memory.slice_pitch(),
            _ => 0,
        }
    }

    /// Whether a mapping has to report it.
    pub(crate) fn has_slices(&self) -> bool {
        matches!(
            self.image_type,
            CL_MEM_OBJECT_IMAGE1D_ARRAY | CL_MEM_OBJECT_IMAGE2D_ARRAY | CL_MEM_OBJECT_IMAGE3D
        )
    }

    /// Where a region is to be mapped in the program's memory, from the image's
    /// start there, and what it is like; for other images at 0, packed.
    pub(crate) fn mapped(
        &self,
        origin: Triple,
        region: Triple,
    ) -> Result<(usize, Pitched), cl_int> {
        let Some(host) = self.host else {
            return Ok((0, self.in_memory(region, 0, 0)?));
        };
        let [x, y, z] = origin;
        let start = x * self.element + y * host.row_pitch() + z * host.slice_pitch();
        let [elements, rows, slices] = region;
        let row = elements * self.element;
        let part = Pitched::new(row, rows, slices, host.row_pitch(), host.slice_pitch());
        Ok((start, part.ok_or(CL_INVALID_VALUE)?))
    }
}

/// An image that a command is about.
struct Target {
    object: Arc<Object>,
    image: Image,
    flags: cl_mem_flags,
}

impl Target {
    fn get(queue: &Object, image: cl_mem) -> Result<Self, cl_int> {
        let object = registry::get(Kind::Mem, image as usize)?;
        let Some(Shadow::Memory {
            image: Some(image),
            flags,
            ..
        }) = object.shadow()
        else {
            return Err(CL_INVALID_MEM_OBJECT);
        };
        let (image, flags) = (*image, *flags);
        match queue.context() == object.context() {
            true => Ok(Target {
                object,
                image,
                flags,
            }),
            false => Err(CL_INVALID_CONTEXT),
        }
    }
}

/// A region of an image, whose place in the program's memory is yet to be found.
pub(crate) struct Part {
    queue: Arc<Object>,
    target: Target,
    origin: Triple,
    region: Triple,
}

impl Part {
    /// # Safety
    /// `origin` and `region` are each null or valid for reading three numbers.
    pub(crate) unsafe fn new(
        command_queue: cl_command_queue,
        image: cl_mem,
        origin: *const usize,
        region: *const usize,
        forbidden: cl_mem_flags,
    ) -> Result<Self, cl_int> {
        let queue = registry::get(Kind::Queue, command_queue as usize)?;
        let target = Target::get(&queue, image)?;
        if target.flags & forbidden != 0 {
            return Err(CL_INVALID_OPERATION);
        }
        // SAFETY: the caller promises it.
        let (origin, region) = unsafe { (input::triple(origin)?, input::triple(region)?) };
        target.image.check(origin, region)?;
        Ok(Part {
            queue,
            target,
            origin,
            region,
        })
    }

    pub(crate) fn image(&self) -> &Image {
        &self.target.image
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.target.object
    }

    pub(crate) fn queue(&self) -> &Arc<Object> {
        &self.queue
    }

    pub(crate) fn mapped(&self) -> Result<(usize, Pitched), cl_int> {
        self.image().mapped(self.origin, self.region)
    }

    pub(crate) fn at(self, host: Pitched) -> Volume {
        Volume {
            queue: self.queue,
            memory: self.target.object,
            whole: Whole::Image,
            origin: self.origin,
            region: self.region,
            element: self.target.image.element,
            host,
        }
    }
}

/// Bytes of an element, of which the server says that they are so many. How far a region reaches in
/// the program's memory depends on it, so that this is no matter of belief.
fn agreed_element(format: &cl_image_format, said: u64) -> Result<usize, cl_int> {
    match element_size(format) {
        Some(element) if element as u64 == said => Ok(element),
        Some(_) => Err(CL_OUT_OF_RESOURCES),
        // One of the vendor's own.
        None => Err(CL_IMAGE_FORMAT_NOT_SUPPORTED),
    }
}

/// `clGetSupportedImageFormats`. By hand, as images of formats whose elements' size only the vendor
/// knows cannot be made, see [`agreed_element`].
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn formats(
    context: cl_context,
    flags: cl_mem_flags,
    image_type: cl_mem_object_type,
    num_entries: cl_uint,
    image_formats: *mut cl_image_format,
    num_image_formats: *mut cl_uint,
) -> Result<(), cl_int> {
    // SAFETY: the caller promises a context or what is none; there is room as said.
    let ask = |max, list, count| unsafe {
        marshal::clGetSupportedImageFormats(context, flags, image_type, max, list, count)
    };
    query::check_list(
        num_entries,
        image_formats.is_null(),
        num_image_formats.is_null(),
    )?;
    let mut count = 0;
    ask(0, std::ptr::null_mut(), &mut count)?;
    let unknown = cl_image_format {
        image_channel_order: 0,
        image_channel_data_type: 0,
    };
    // No more than a message holds.
    let mut list = vec![unknown; count as usize];
    if count > 0 {
        ask(count, list.as_mut_ptr(), std::ptr::null_mut())?;
    }
    list.retain(|format| element_size(format).is_some());
    // SAFETY: the caller promises it.
    unsafe { query::give_list(&list, num_entries, image_formats, num_image_formats) }
}

/// `clCreateImage`. By hand, since a description of an image is part numbers, part
/// a handle, and what the image begins with travels packed. As to
/// `CL_MEM_USE_HOST_PTR` see [`memory::create_buffer`].
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create(
    context: cl_context,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_desc: *const cl_image_desc,
    host_ptr: *mut c_void,
) -> Result<cl_mem, cl_int> {
    let none = std::ptr::null();
    // SAFETY: the caller promises it.
    unsafe { create_with_properties(context, none, flags, image_format, image_desc, host_ptr) }
}

/// `clCreateImageWithProperties`: as [`create`].
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_with_properties(
    context: cl_context,
    properties: *const cl_mem_properties,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_desc: *const cl_image_desc,
    host_ptr: *mut c_void,
) -> Result<cl_mem, cl_int> {
    let context = registry::get(Kind::Context, context as usize)?;
    // SAFETY: the caller promises it.
    let properties = unsafe { input::properties(properties) };
    memory::check_properties(properties)?;
    if image_format.is_null() {
        return Err(CL_INVALID_IMAGE_FORMAT_DESCRIPTOR);
    }
    if image_desc.is_null() {
        return Err(CL_INVALID_IMAGE_DESCRIPTOR);
    }
    check_flags(flags, DEVICE_ACCESS | HOST_ACCESS | HOST_POINTER)?;
    // SAFETY: the caller promises a format and a description.
    let (format, desc) = unsafe { (image_format.read(), image_desc.read()) };
    let buffer = registry::get_optional(Kind::Mem, desc.mem_object as usize)?;
    if let Some(buffer) = &buffer {
        if buffer.context() != context.handle() {
            return Err(CL_INVALID_CONTEXT);
        }
        if flags & HOST_POINTER != 0 {
            return Err(CL_INVALID_VALUE);
        }
        // Such as have the memory of a buffer or of another image are reported absent (OpenCL 3.0,
        // 4.2: `CL_DEVICE_IMAGE_PITCH_ALIGNMENT` is 0, and appendix H).
        if desc.image_type == CL_MEM_OBJECT_IMAGE2D {
            return Err(CL_INVALID_OPERATION);
        }
    }
    let wants_pointer = flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR) != 0;
    if wants_pointer == host_ptr.is_null() {
        return Err(CL_INVALID_HOST_PTR);
    }
    let sizes = [
        desc.image_width,
        desc.image_height,
        desc.image_depth,
        desc.image_array_size,
    ];
    let extents = extents(desc.image_type, sizes);
    // Of what is no image the server says what is wrong with it.
    let good = extents
        .filter(|extents| wants_pointer && !extents.contains(&0))
        .zip(element_size(&format));
    let host = match good {
        None => None,
        Some((extents, element)) => {
            let (row, slice) = (desc.image_row_pitch, desc.image_slice_pitch);
            let host = in_memory(desc.image_type, extents, element, row, slice);
            Some(host.ok_or(CL_INVALID_IMAGE_DESCRIPTOR)?)
        }
    };
    // SAFETY: the caller promises the image at `host_ptr`.
    let data = host.map(|host| unsafe { host.get(host_ptr.cast()) });
    let mut parents = vec![context.clone()];
    parents.extend(buffer.clone());
    let new = New::named(Kind::Mem, parents)?;
    let request = ClCreateImage {
        context: context.handle(),
        flags: memory::remote(flags),
        channel_order: format.image_channel_order,
        channel_data_type: format.image_channel_data_type,
        image_type: desc.image_type,
        sizes: sizes.map(|size| size as u64),
        row_pitch: desc.image_row_pitch as u64,
        slice_pitch: desc.image_slice_pitch as u64,
        num_mip_levels: desc.num_mip_levels,
        num_samples: desc.num_samples,
        mem: buffer
            .as_ref()
            .map_or(Handle::NULL, |buffer| buffer.handle()),
        data: data.as_deref(),
        new: new.handle(),
    };
    let (said, size) = connection::call(&request, |reply| (reply.element_size, reply.size))?;
    let element = agreed_element(&format, said)
        .inspect_err(|_| connection::post_release(Kind::Mem, new.handle()))?;
    let image = Image {
        image_type: desc.image_type,
        format,
        element,
        extents: extents.ok_or(CL_INVALID_IMAGE_DESCRIPTOR)?,
        host: host.filter(|_| flags & CL_MEM_USE_HOST_PTR != 0),
    };
    let (flags, host_ptr) = match buffer.as_ref().map(|buffer| buffer.shadow()) {
        // An image in a buffer is in the buffer's memory.
        Some(Some(Shadow::Memory {
            flags: above,
            host_ptr,
            ..
        })) => (memory::inherited(flags, *above), *host_ptr),
        _ if flags & CL_MEM_USE_HOST_PTR != 0 => (flags, host_ptr as usize),
        _ => (flags, 0),
    };
    let image = match host_ptr {
        0 => image,
        _ => Image {
            host: image.host.or(in_memory(
                image.image_type,
                image.extents,
                image.element,
                desc.image_row_pitch,
                0,
            )),
            ..image
        },
    };
    new.object().set_shadow(Shadow::Memory {
        properties: properties.to_vec(),
        flags,
        size: size as usize,
        host_ptr,
        offset: 0,
        maps: AtomicU32::new(0),
        shared: None,
        image: Some(image),
    });
    Ok(new.publish() as cl_mem)
}

fn described(
    image_type: cl_mem_object_type,
    sizes: Triple,
    pitches: (usize, usize),
) -> cl_image_desc {
    let [image_width, image_height, image_depth] = sizes;
    cl_image_desc {
        image_type,
        image_width,
        image_height,
        image_depth,
        image_array_size: 1,
        image_row_pitch: pitches.0,
        image_slice_pitch: pitches.1,
        num_mip_levels: 0,
        num_samples: 0,
        mem_object: std::ptr::null_mut(),
    }
}

/// `clCreateImage2D`: what version 1.2 calls `clCreateImage`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_2d(
    context: cl_context,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_width: usize,
    image_height: usize,
    image_row_pitch: usize,
    host_ptr: *mut c_void,
) -> Result<cl_mem, cl_int> {
    let sizes = [image_width, image_height, 1];
    let desc = described(CL_MEM_OBJECT_IMAGE2D, sizes, (image_row_pitch, 0));
    // SAFETY: the caller promises the rest.
    unsafe { create(context, flags, image_format, &desc, host_ptr) }
}

/// `clCreateImage3D`: as [`create_2d`].
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn create_3d(
    context: cl_context,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_width: usize,
    image_height: usize,
    image_depth: usize,
    image_row_pitch: usize,
    image_slice_pitch: usize,
    host_ptr: *mut c_void,
) -> Result<cl_mem, cl_int> {
    let sizes = [image_width, image_height, image_depth];
    let pitches = (image_row_pitch, image_slice_pitch);
    let desc = described(CL_MEM_OBJECT_IMAGE3D, sizes, pitches);
    // SAFETY: the caller promises the rest.
    unsafe { create(context, flags, image_format, &desc, host_ptr) }
}

/// Queries that the client answers itself: none, but only of images.
pub(crate) fn answer(image: &Object, _name: cl_image_info) -> Option<Result<Vec<u8>, cl_int>> {
    match image.shadow() {
        Some(Shadow::Memory { image: Some(_), .. }) => None,
        _ => Some(Err(CL_INVALID_MEM_OBJECT)),
    }
}

/// `clEnqueueReadImage`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn read(
    command_queue: cl_command_queue,
    image: cl_mem,
    blocking_read: cl_bool,
    origin: *const usize,
    region: *const usize,
    row_pitch: usize,
    slice_pitch: usize,
    ptr: *mut c_void,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    let forbidden = CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS;
    // SAFETY: the caller promises it.
    unsafe {
        let part = Part::new(command_queue, image, origin, region, forbidden)?;
        let host = part
            .image()
            .in_memory(part.region, row_pitch, slice_pitch)?;
        if ptr.is_null() {
            return Err(CL_INVALID_VALUE);
        }
        let waits = input::wait_list(num_events_in_wait_list, event_wait_list)?;
        let event = Wanted::new(event, part.queue())?;
        let blocking = blocking_read != CL_FALSE;
        part.at(host).read(ptr.cast(), blocking, &waits, event)
    }
}

/// `clEnqueueWriteImage`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn write(
    command_queue: cl_command_queue,
    image: cl_mem,
    blocking_write: cl_bool,
    origin: *const usize,
    region: *const usize,
    input_row_pitch: usize,
    input_slice_pitch: usize,
    ptr: *const c_void,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    let forbidden = CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS;
    // SAFETY: the caller promises it.
    unsafe {
        let part = Part::new(command_queue, image, origin, region, forbidden)?;
        let (row, slice) = (input_row_pitch, input_slice_pitch);
        let host = part.image().in_memory(part.region, row, slice)?;
        if ptr.is_null() {
            return Err(CL_INVALID_VALUE);
        }
        let waits = input::wait_list(num_events_in_wait_list, event_wait_list)?;
        let event = Wanted::new(event, part.queue())?;
        let blocking = blocking_write != CL_FALSE;
        part.at(host).write(ptr.cast(), blocking, &waits, event)
    }
}

/// `clEnqueueCopyImage`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn copy(
    command_queue: cl_command_queue,
    src_image: cl_mem,
    dst_image: cl_mem,
    src_origin: *const usize,
    dst_origin: *const usize,
    region: *const usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    // SAFETY: the caller promises it.
    let (from, to) = unsafe {
        (
            Part::new(command_queue, src_image, src_origin, region, 0)?,
            Part::new(command_queue, dst_image, dst_origin, region, 0)?,
        )
    };
    if from.image().format != to.image().format {
        return Err(CL_IMAGE_FORMAT_MISMATCH);
    }
    let meet = |i: usize| {
        from.origin[i] < to.origin[i] + to.region[i]
            && to.origin[i] < from.origin[i] + from.region[i]
    };
    if Arc::ptr_eq(from.object(), to.object()) && (0..3).all(meet) {
        return Err(CL_MEM_COPY_OVERLAP);
    }
    // SAFETY: the caller promises it.
    unsafe {
        marshal::clEnqueueCopyImage(
            command_queue,
            src_image,
            dst_image,
            src_origin,
            dst_origin,
            region,
            num_events_in_wait_list,
            event_wait_list,
            event,
        )
    }
}

/// Checks a buffer for a copy of a region to or from it.
fn check_buffer(part: &Part, buffer: cl_mem, offset: usize) -> Result<(), cl_int> {
    let (_, _, size) = memory::buffer(part.queue(), buffer)?;
    let region = part.image().in_memory(part.region, 0, 0)?;
    let end = offset.checked_add(region.len());
    match end.is_some_and(|end| end <= size) {
        true => Ok(()),
        false => Err(CL_INVALID_VALUE),
    }
}

/// `clEnqueueCopyImageToBuffer`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn copy_to_buffer(
    command_queue: cl_command_queue,
    src_image: cl_mem,
    dst_buffer: cl_mem,
    src_origin: *const usize,
    region: *const usize,
    dst_offset: usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    // SAFETY: the caller promises it.
    unsafe {
        let part = Part::new(command_queue, src_image, src_origin, region, 0)?;
        check_buffer(&part, dst_buffer, dst_offset)?;
        marshal::clEnqueueCopyImageToBuffer(
            command_queue,
            src_image,
            dst_buffer,
            src_origin,
            region,
            dst_offset,
            num_events_in_wait_list,
            event_wait_list,
            event,
        )
    }
}

/// `clEnqueueCopyBufferToImage`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn copy_from_buffer(
    command_queue: cl_command_queue,
    src_buffer: cl_mem,
    dst_image: cl_mem,
    src_offset: usize,
    dst_origin: *const usize,
    region: *const usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    // SAFETY: the caller promises it.
    unsafe {
        let part = Part::new(command_queue, dst_image, dst_origin, region, 0)?;
        check_buffer(&part, src_buffer, src_offset)?;
        marshal::clEnqueueCopyBufferToImage(
            command_queue,
            src_buffer,
            dst_image,
            src_offset,
            dst_origin,
            region,
            num_events_in_wait_list,
            event_wait_list,
            event,
        )
    }
}

/// `clEnqueueFillImage`: of an image that has depth alone, the color is one number.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn fill(
    command_queue: cl_command_queue,
    image: cl_mem,
    fill_color: *const c_void,
    origin: *const usize,
    region: *const usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    // SAFETY: the caller promises it.
    unsafe {
        let part = Part::new(command_queue, image, origin, region, 0)?;
        let size = match part.image().format.image_channel_order {
            CL_DEPTH => size_of::<f32>(),
            _ => size_of::<[f32; 4]>(),
        };
        let given = input::bytes(fill_color.cast(), size, CL_INVALID_VALUE)?;
        let mut color = [0u8; size_of::<[f32; 4]>()];
        color[..size].copy_from_slice(given);
        marshal::clEnqueueFillImage(
            command_queue,
            image,
            color.as_ptr().cast(),
            origin,
            region,
            num_events_in_wait_list,
            event_wait_list,
            event,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_cannot_make_elements_larger() {
        let format = |image_channel_order| cl_image_format {
            image_channel_order,
            image_channel_data_type: CL_UNORM_INT8,
        };
        assert_eq!(agreed_element(&format(CL_RGBA), 4), Ok(4));
        for said in [0, 3, 5, 1 << 20, u64::MAX] {
            let agreed = agreed_element(&format(CL_RGBA), said);
            assert_eq!(agreed, Err(CL_OUT_OF_RESOURCES));
        }
        let unknown = agreed_element(&format(0), 4);
        assert_eq!(unknown, Err(CL_IMAGE_FORMAT_NOT_SUPPORTED));
    }
}
