// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Making images. By hand, since a description of one holds a handle, and since
//! what an image begins with comes packed and the vendor is to see the
//! program's pitches, which it reports.

use std::ffi::c_void;

use wormhole_opencl_protocol::api::{ClCreateImage, ClCreateImageReply, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::image;
use wormhole_opencl_protocol::types::{cl_context, cl_image_desc, cl_image_format, cl_mem};

use crate::api::Vendor;
use crate::check::{check_len, check_made, encode, native_size, Aligned, Refusal};
use crate::query;
use crate::session::State;

fn number(value: &[u8]) -> Result<usize, Refusal> {
    let bytes = value.try_into().map_err(|_| CL_OUT_OF_RESOURCES)?;
    Ok(usize::from_ne_bytes(bytes))
}

/// Bytes of an image's element.
pub(crate) fn element_size(vendor: &Vendor, image: cl_mem) -> Result<usize, Refusal> {
    let call = vendor.clGetImageInfo.ok_or(CL_INVALID_OPERATION)?;
    // SAFETY: a live memory object, and room as said.
    number(&query::info(|size, value, filled| unsafe {
        call(image, CL_IMAGE_ELEMENT_SIZE, size, value, filled)
    })?)
}

fn size(vendor: &Vendor, memory: cl_mem) -> Result<usize, Refusal> {
    let call = vendor.clGetMemObjectInfo.ok_or(CL_INVALID_OPERATION)?;
    // SAFETY: a live memory object, and room as said.
    number(&query::info(|size, value, filled| unsafe {
        call(memory, CL_MEM_SIZE, size, value, filled)
    })?)
}

/// What an image begins with, as it lies in the program's memory.
fn laid_out(
    s: &mut State,
    format: &cl_image_format,
    desc: &cl_image_desc,
    packed: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let sizes = [
        desc.image_width,
        desc.image_height,
        desc.image_depth,
        desc.image_array_size,
    ];
    let memory = image::extents(desc.image_type, sizes).and_then(|extents| {
        let element = image::element_size(format)?;
        let (row, slice) = (desc.image_row_pitch, desc.image_slice_pitch);
        image::in_memory(desc.image_type, extents, element, row, slice)
    });
    let memory = memory.ok_or(CL_INVALID_IMAGE_DESCRIPTOR)?;
    check_len(packed.len(), memory.len())?;
    s.reserve(memory.extent())?;
    let mut data = vec![0; memory.extent()];
    // SAFETY: room for every row.
    unsafe { memory.put(packed, data.as_mut_ptr()) };
    Ok(data)
}

/// `clCreateImage`.
pub(crate) fn create(s: &mut State, m: ClCreateImage<'_>) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clCreateImage.ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant_made(m.new)?;
    let context = s.objects.get(Kind::Context, m.context)? as cl_context;
    let [width, height, depth, array_size] = m.sizes;
    let format = cl_image_format {
        image_channel_order: m.channel_order,
        image_channel_data_type: m.channel_data_type,
    };
    let desc = cl_image_desc {
        image_type: m.image_type,
        image_width: native_size(width)?,
        image_height: native_size(height)?,
        image_depth: native_size(depth)?,
        image_array_size: native_size(array_size)?,
        image_row_pitch: native_size(m.row_pitch)?,
        image_slice_pitch: native_size(m.slice_pitch)?,
        num_mip_levels: m.num_mip_levels,
        num_samples: m.num_samples,
        mem_object: s.objects.get_optional(Kind::Mem, m.mem)? as cl_mem,
    };
    // A pointer of the client's means nothing here.
    if m.flags & CL_MEM_USE_HOST_PTR != 0 {
        return Err(CL_INVALID_VALUE.into());
    }
    let data = match m.data {
        Some(packed) => Some(laid_out(s, &format, &desc, packed)?),
        None => None,
    };
    let data = data.as_deref().map(Aligned::new);
    let host_ptr: *const c_void = match &data {
        Some(data) => data.as_ptr().cast(),
        None => std::ptr::null(),
    };
    let mut status = CL_SUCCESS;
    // SAFETY: the context and the memory object are live, and the image's
    // contents lie as the description says, or there are none.
    let made = unsafe {
        call(
            context,
            m.flags,
            &format,
            &desc,
            host_ptr.cast_mut(),
            &mut status,
        )
    };
    check_made(status, made.is_null())?;
    s.adopt(Kind::Mem, m.new, made as usize);
    let known =
        element_size(&s.vendor, made).and_then(|element| Ok((element, size(&s.vendor, made)?)));
    match known {
        Ok((element_size, size)) => Ok(encode(&ClCreateImageReply {
            element_size: element_size as u64,
            size: size as u64,
        })),
        Err(refusal) => {
            s.release(Kind::Mem, m.new);
            Err(refusal)
        }
    }
}
