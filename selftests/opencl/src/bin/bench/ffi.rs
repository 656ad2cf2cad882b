// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What this program uses of CL/cl.h.
#![allow(non_camel_case_types, non_snake_case)]

use std::ffi::{c_char, c_int, c_uint, c_void};

pub type cl_int = c_int;
pub type cl_uint = c_uint;
pub type cl_bool = cl_uint;
pub type cl_bitfield = u64;

macro_rules! opaque {
    ($($name:ident = $tag:ident),* $(,)?) => {$(
        #[repr(C)]
        pub struct $tag {
            _unused: [u8; 0],
        }
        pub type $name = *mut $tag;
    )*};
}

opaque! {
    cl_platform_id = Platform,
    cl_device_id = DeviceId,
    cl_context = Context,
    cl_command_queue = CommandQueue,
    cl_mem = Mem,
    cl_program = Program,
    cl_kernel = KernelObject,
    cl_event = Event,
}

pub const CL_SUCCESS: cl_int = 0;
pub const CL_COMPLETE: cl_int = 0;
pub const CL_FALSE: cl_bool = 0;
pub const CL_TRUE: cl_bool = 1;
pub const CL_DEVICE_TYPE_ALL: cl_bitfield = 0xffff_ffff;
pub const CL_QUEUE_PROFILING_ENABLE: cl_bitfield = 1 << 1;
pub const CL_PROFILING_COMMAND_START: cl_uint = 0x1282;
pub const CL_PROFILING_COMMAND_END: cl_uint = 0x1283;
pub const CL_MEM_READ_WRITE: cl_bitfield = 1 << 0;
pub const CL_MEM_ALLOC_HOST_PTR: cl_bitfield = 1 << 4;
pub const CL_MAP_READ: cl_bitfield = 1 << 0;
pub const CL_MAP_WRITE_INVALIDATE_REGION: cl_bitfield = 1 << 2;
pub const CL_PROGRAM_BUILD_LOG: cl_uint = 0x1183;

type Notify = Option<unsafe extern "C" fn()>;

#[link(name = "OpenCL")]
unsafe extern "C" {
    pub fn clGetPlatformIDs(
        num_entries: cl_uint,
        platforms: *mut cl_platform_id,
        num_platforms: *mut cl_uint,
    ) -> cl_int;
    pub fn clGetDeviceIDs(
        platform: cl_platform_id,
        device_type: cl_bitfield,
        num_entries: cl_uint,
        devices: *mut cl_device_id,
        num_devices: *mut cl_uint,
    ) -> cl_int;
    pub fn clCreateContext(
        properties: *const isize,
        num_devices: cl_uint,
        devices: *const cl_device_id,
        pfn_notify: Notify,
        user_data: *mut c_void,
        errcode_ret: *mut cl_int,
    ) -> cl_context;
    pub fn clReleaseContext(context: cl_context) -> cl_int;
    pub fn clCreateCommandQueue(
        context: cl_context,
        device: cl_device_id,
        properties: cl_bitfield,
        errcode_ret: *mut cl_int,
    ) -> cl_command_queue;
    pub fn clReleaseCommandQueue(queue: cl_command_queue) -> cl_int;
    pub fn clFinish(queue: cl_command_queue) -> cl_int;
    pub fn clCreateProgramWithSource(
        context: cl_context,
        count: cl_uint,
        strings: *const *const c_char,
        lengths: *const usize,
        errcode_ret: *mut cl_int,
    ) -> cl_program;
    pub fn clBuildProgram(
        program: cl_program,
        num_devices: cl_uint,
        device_list: *const cl_device_id,
        options: *const c_char,
        pfn_notify: Notify,
        user_data: *mut c_void,
    ) -> cl_int;
    pub fn clGetProgramBuildInfo(
        program: cl_program,
        device: cl_device_id,
        param_name: cl_uint,
        param_value_size: usize,
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;
    pub fn clReleaseProgram(program: cl_program) -> cl_int;
    pub fn clCreateKernel(
        program: cl_program,
        kernel_name: *const c_char,
        errcode_ret: *mut cl_int,
    ) -> cl_kernel;
    pub fn clReleaseKernel(kernel: cl_kernel) -> cl_int;
    pub fn clSetKernelArg(
        kernel: cl_kernel,
        arg_index: cl_uint,
        arg_size: usize,
        arg_value: *const c_void,
    ) -> cl_int;
    pub fn clCreateBuffer(
        context: cl_context,
        flags: cl_bitfield,
        size: usize,
        host_ptr: *mut c_void,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;
    pub fn clGetEventProfilingInfo(
        event: cl_event,
        param_name: cl_uint,
        param_value_size: usize,
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;
    pub fn clCreateUserEvent(context: cl_context, errcode_ret: *mut cl_int) -> cl_event;
    pub fn clSetUserEventStatus(event: cl_event, execution_status: cl_int) -> cl_int;
    pub fn clWaitForEvents(num_events: cl_uint, event_list: *const cl_event) -> cl_int;
    pub fn clReleaseEvent(event: cl_event) -> cl_int;
    pub fn clReleaseMemObject(memobj: cl_mem) -> cl_int;
    pub fn clEnqueueNDRangeKernel(
        queue: cl_command_queue,
        kernel: cl_kernel,
        work_dim: cl_uint,
        global_work_offset: *const usize,
        global_work_size: *const usize,
        local_work_size: *const usize,
        num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event,
        event: *mut cl_event,
    ) -> cl_int;
    pub fn clEnqueueReadBuffer(
        queue: cl_command_queue,
        buffer: cl_mem,
        blocking_read: cl_bool,
        offset: usize,
        size: usize,
        ptr: *mut c_void,
        num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event,
        event: *mut cl_event,
    ) -> cl_int;
    pub fn clEnqueueWriteBuffer(
        queue: cl_command_queue,
        buffer: cl_mem,
        blocking_write: cl_bool,
        offset: usize,
        size: usize,
        ptr: *const c_void,
        num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event,
        event: *mut cl_event,
    ) -> cl_int;
    pub fn clEnqueueMapBuffer(
        queue: cl_command_queue,
        buffer: cl_mem,
        blocking_map: cl_bool,
        map_flags: cl_bitfield,
        offset: usize,
        size: usize,
        num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event,
        event: *mut cl_event,
        errcode_ret: *mut cl_int,
    ) -> *mut c_void;
    pub fn clEnqueueUnmapMemObject(
        queue: cl_command_queue,
        memobj: cl_mem,
        mapped_ptr: *mut c_void,
        num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event,
        event: *mut cl_event,
    ) -> cl_int;
}
