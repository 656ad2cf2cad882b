// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What follows from an image's type and format (OpenCL 3.0, 5.3.1).

#![allow(non_upper_case_globals)]

use crate::constants::*;
use crate::pitched::Pitched;
use crate::types::{cl_image_format, cl_mem_object_type};

/// Bytes of an element of the format; `None` if the specification has none such.
pub fn element_size(format: &cl_image_format) -> Option<usize> {
    let order = format.image_channel_order;
    let channels = match order {
        CL_R | CL_A | CL_Rx | CL_INTENSITY | CL_LUMINANCE | CL_DEPTH => 1,
        CL_RG | CL_RA | CL_RGx => 2,
        CL_RGB | CL_RGBx => 3,
        CL_RGBA | CL_BGRA | CL_ARGB | CL_ABGR | CL_sRGBA | CL_sBGRA => 4,
        _ => return None,
    };
    match (format.image_channel_data_type, channels) {
        (data_type, _) if matches!(order, CL_sRGBA | CL_sBGRA) => {
            (data_type == CL_UNORM_INT8).then_some(channels)
        }
        (CL_UNORM_SHORT_565 | CL_UNORM_SHORT_555, 3) => Some(2),
        (CL_UNORM_INT_101010, 3) => Some(4),
        (CL_UNORM_INT_101010_2, 4) => Some(4),
        (_, 3) => None,
        (CL_SNORM_INT8 | CL_UNORM_INT8 | CL_SIGNED_INT8 | CL_UNSIGNED_INT8, _) => Some(channels),
        (
            CL_SNORM_INT16 | CL_UNORM_INT16 | CL_SIGNED_INT16 | CL_UNSIGNED_INT16 | CL_HALF_FLOAT,
            _,
        ) => Some(2 * channels),
        (CL_SIGNED_INT32 | CL_UNSIGNED_INT32 | CL_FLOAT, _) => Some(4 * channels),
        _ => None,
    }
}

/// Elements, rows and slices of an image, as its regions count them: 1 in a
/// direction that the type does not have. `None` if there is no such type.
pub fn extents(
    image_type: cl_mem_object_type,
    [width, height, depth, array_size]: [usize; 4],
) -> Option<[usize; 3]> {
    Some(match image_type {
        CL_MEM_OBJECT_IMAGE1D | CL_MEM_OBJECT_IMAGE1D_BUFFER => [width, 1, 1],
        CL_MEM_OBJECT_IMAGE1D_ARRAY => [width, array_size, 1],
        CL_MEM_OBJECT_IMAGE2D => [width, height, 1],
        CL_MEM_OBJECT_IMAGE2D_ARRAY => [width, height, array_size],
        CL_MEM_OBJECT_IMAGE3D => [width, height, depth],
        _ => return None,
    })
}

/// A region of an image in the program's memory. `None` if the pitches hold no
/// row or slice of it. In an array of rows, a slice is a row.
pub fn in_memory(
    image_type: cl_mem_object_type,
    [elements, rows, slices]: [usize; 3],
    element_size: usize,
    row_pitch: usize,
    slice_pitch: usize,
) -> Option<Pitched> {
    let row = elements.checked_mul(element_size)?;
    match image_type {
        CL_MEM_OBJECT_IMAGE1D_ARRAY if slice_pitch != 0 => {
            (slice_pitch >= row_pitch).then_some(())?;
            Pitched::new(row, rows, slices, slice_pitch, 0)
        }
        CL_MEM_OBJECT_IMAGE3D | CL_MEM_OBJECT_IMAGE2D_ARRAY => {
            Pitched::new(row, rows, slices, row_pitch, slice_pitch)
        }
        _ => Pitched::new(row, rows, slices, row_pitch, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(image_channel_order: u32, image_channel_data_type: u32) -> Option<usize> {
        element_size(&cl_image_format {
            image_channel_order,
            image_channel_data_type,
        })
    }

    #[test]
    fn sizes_of_elements() {
        assert_eq!(size(CL_R, CL_UNORM_INT8), Some(1));
        assert_eq!(size(CL_RG, CL_HALF_FLOAT), Some(4));
        assert_eq!(size(CL_RGBA, CL_FLOAT), Some(16));
        assert_eq!(size(CL_BGRA, CL_UNORM_INT8), Some(4));
        assert_eq!(size(CL_RGB, CL_UNORM_SHORT_565), Some(2));
        assert_eq!(size(CL_RGBx, CL_UNORM_INT_101010), Some(4));
        assert_eq!(size(CL_RGBA, CL_UNORM_INT_101010_2), Some(4));
        assert_eq!(size(CL_RGB, CL_UNORM_INT_101010_2), None);
        assert_eq!(size(CL_RGB, CL_FLOAT), None);
        assert_eq!(size(CL_sRGBA, CL_UNORM_INT8), Some(4));
        assert_eq!(size(CL_sBGRA, CL_FLOAT), None);
        assert_eq!(size(CL_RGBA, CL_UNORM_SHORT_565), None);
        assert_eq!(size(0, CL_FLOAT), None);
        assert_eq!(size(CL_R, 0), None);
    }

    #[test]
    fn a_row_of_an_array_is_a_slice() {
        let array = |row, slice| {
            let memory = in_memory(CL_MEM_OBJECT_IMAGE1D_ARRAY, [4, 3, 1], 2, row, slice);
            memory.map(|memory| memory.span())
        };
        assert_eq!(array(0, 0), Some(24));
        assert_eq!(array(10, 0), Some(28));
        assert_eq!(array(0, 16), Some(40));
        assert_eq!(array(10, 16), Some(40));
        assert_eq!(array(16, 10), None);
        assert_eq!(array(0, 6), None);
        // An image without slices has no use for their pitch.
        let image = in_memory(CL_MEM_OBJECT_IMAGE2D, [4, 3, 1], 2, 0, 1);
        assert_eq!(image.map(|memory| memory.span()), Some(24));
    }
}
