// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The C types of OpenCL, as Debian's opencl-c-headers define them.
//!
//! A test compares every signature that uses them with what bindgen makes of
//! CL/cl_icd.h.
#![allow(non_camel_case_types, missing_docs)]

use std::ffi::c_void;

pub type cl_int = i32;
pub type cl_uint = u32;
pub type cl_ulong = u64;
pub type cl_bool = cl_uint;
pub type cl_bitfield = cl_ulong;
pub type cl_properties = cl_ulong;

macro_rules! opaque {
    ($($tag:ident $name:ident),* $(,)?) => {$(
        #[repr(C)]
        pub struct $tag {
            _unused: [u8; 0],
        }
        pub type $name = *mut $tag;
    )*};
}

opaque! {
    _cl_platform_id cl_platform_id,
    _cl_device_id cl_device_id,
    _cl_context cl_context,
    _cl_command_queue cl_command_queue,
    _cl_mem cl_mem,
    _cl_program cl_program,
    _cl_kernel cl_kernel,
    _cl_event cl_event,
    _cl_sampler cl_sampler,
    __GLsync cl_GLsync,
}

pub type cl_device_type = cl_bitfield;
pub type cl_platform_info = cl_uint;
pub type cl_device_info = cl_uint;
pub type cl_command_queue_properties = cl_bitfield;
pub type cl_device_partition_property = isize;
pub type cl_device_partition_property_ext = cl_ulong;
pub type cl_context_properties = isize;
pub type cl_context_info = cl_uint;
pub type cl_queue_properties = cl_properties;
pub type cl_command_queue_info = cl_uint;
pub type cl_channel_order = cl_uint;
pub type cl_channel_type = cl_uint;
pub type cl_mem_flags = cl_bitfield;
pub type cl_svm_mem_flags = cl_bitfield;
pub type cl_mem_object_type = cl_uint;
pub type cl_mem_info = cl_uint;
pub type cl_mem_migration_flags = cl_bitfield;
pub type cl_mem_properties = cl_properties;
pub type cl_image_info = cl_uint;
pub type cl_buffer_create_type = cl_uint;
pub type cl_addressing_mode = cl_uint;
pub type cl_filter_mode = cl_uint;
pub type cl_sampler_info = cl_uint;
pub type cl_sampler_properties = cl_properties;
pub type cl_map_flags = cl_bitfield;
pub type cl_pipe_properties = isize;
pub type cl_pipe_info = cl_uint;
pub type cl_program_info = cl_uint;
pub type cl_program_build_info = cl_uint;
pub type cl_kernel_info = cl_uint;
pub type cl_kernel_arg_info = cl_uint;
pub type cl_kernel_work_group_info = cl_uint;
pub type cl_kernel_sub_group_info = cl_uint;
pub type cl_kernel_exec_info = cl_uint;
pub type cl_event_info = cl_uint;
pub type cl_profiling_info = cl_uint;
pub type cl_command_type = cl_uint;

pub type cl_GLint = i32;
pub type cl_GLuint = u32;
pub type cl_GLenum = u32;
pub type cl_gl_object_type = cl_uint;
pub type cl_gl_texture_info = cl_uint;
pub type cl_gl_context_info = cl_uint;
pub type CLeglDisplayKHR = *mut c_void;
pub type CLeglImageKHR = *mut c_void;
pub type CLeglSyncKHR = *mut c_void;
pub type cl_egl_image_properties_khr = isize;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct cl_image_format {
    pub image_channel_order: cl_channel_order,
    pub image_channel_data_type: cl_channel_type,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cl_image_desc {
    pub image_type: cl_mem_object_type,
    pub image_width: usize,
    pub image_height: usize,
    pub image_depth: usize,
    pub image_array_size: usize,
    pub image_row_pitch: usize,
    pub image_slice_pitch: usize,
    pub num_mip_levels: cl_uint,
    pub num_samples: cl_uint,
    pub mem_object: cl_mem,
}

/// Region of a sub-buffer; `origin` and `size` in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct cl_buffer_region {
    pub origin: usize,
    pub size: usize,
}
