// SPDX-License-Identifier: Apache-2.0 OR MIT
//! OpenCL, as Wormhole forwards it: one description from which the client's
//! functions, the server's dispatcher, the ICD's dispatch table, the messages
//! and the coverage table are generated.
//!
//! It is data in Rust syntax, read by `wormhole-idl`; no compiler sees it. The
//! functions stand in the order of the dispatch table (CL/cl_icd.h), and a
//! function's place is its number on the wire, so none is ever moved.

// What holds for every parameter of this name and type that has no attributes of its own.
rule!(errcode_ret: *mut cl_int => #[status]);
rule!(event_wait_list: *const cl_event =>
    #[input(len = num_events_in_wait_list, invalid = CL_INVALID_EVENT_WAIT_LIST,
        mismatch = CL_INVALID_EVENT_WAIT_LIST)]
    #[nullable]);
rule!(event: *mut cl_event => #[output(new)]);
rule!(param_value: *mut c_void =>
    #[output(info, size = param_value_size, filled = param_value_size_ret)]);
rule!(user_data: *mut c_void => #[callback]);
rule!(pfn_notify: Option<unsafe extern "C" fn(program: cl_program, user_data: *mut c_void)> => #[callback]);

unsafe extern "C" {
    #[handle(variant = Platform, invalid = CL_INVALID_PLATFORM)]
    type cl_platform_id;
    #[handle(variant = Device, invalid = CL_INVALID_DEVICE, release = clReleaseDevice)]
    type cl_device_id;
    #[handle(variant = Context, invalid = CL_INVALID_CONTEXT, release = clReleaseContext)]
    type cl_context;
    #[handle(variant = Queue, invalid = CL_INVALID_COMMAND_QUEUE, release = clReleaseCommandQueue)]
    type cl_command_queue;
    #[handle(variant = Mem, invalid = CL_INVALID_MEM_OBJECT, release = clReleaseMemObject)]
    type cl_mem;
    #[handle(variant = Program, invalid = CL_INVALID_PROGRAM, release = clReleaseProgram)]
    type cl_program;
    #[handle(variant = Kernel, invalid = CL_INVALID_KERNEL, release = clReleaseKernel)]
    type cl_kernel;
    #[handle(variant = Event, invalid = CL_INVALID_EVENT, release = clReleaseEvent)]
    type cl_event;
    #[handle(variant = Sampler, invalid = CL_INVALID_SAMPLER, release = clReleaseSampler)]
    type cl_sampler;

    #[since(1.0)]
    #[call(sync)]
    #[lost(CL_PLATFORM_NOT_FOUND_KHR)]
    pub fn clGetPlatformIDs(
        num_entries: cl_uint,
        #[output(list, max = num_entries, count = num_platforms)]
        platforms: *mut cl_platform_id,
        num_platforms: *mut cl_uint,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(before = crate::platform::answer, after = crate::platform::edit, cache)]
    pub fn clGetPlatformInfo(
        platform: cl_platform_id, param_name: cl_platform_info, param_value_size: usize,
        param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[check(device_type == CL_DEVICE_TYPE_ALL || (device_type != 0 && device_type &
        !(CL_DEVICE_TYPE_DEFAULT | CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU |
        CL_DEVICE_TYPE_ACCELERATOR | CL_DEVICE_TYPE_CUSTOM) == 0), CL_INVALID_DEVICE_TYPE)]
    pub fn clGetDeviceIDs(
        platform: cl_platform_id, device_type: cl_device_type, num_entries: cl_uint,
        #[output(list, max = num_entries, count = num_devices)]
        devices: *mut cl_device_id,
        num_devices: *mut cl_uint,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_DEVICE_REFERENCE_COUNT, before = crate::device::answer, after = crate::device::edit, cache)]
    pub fn clGetDeviceInfo(
        device: cl_device_id, param_name: cl_device_info, param_value_size: usize,
        #[typed_by(param_name, CL_DEVICE_PLATFORM => cl_platform_id, CL_DEVICE_PARENT_DEVICE =>
            cl_device_id)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[custom(client = crate::context::create, server = crate::context::create)]
    #[message(request(platform: Handle, devices: Vec<Handle>, new: Handle), reply())]
    pub fn clCreateContext(
        properties: *const cl_context_properties, num_devices: cl_uint,
        devices: *const cl_device_id,
        pfn_notify: Option<unsafe extern "C" fn(errinfo: *const c_char, private_info: *const c_void, cb: usize, user_data: *mut c_void)>,
        user_data: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_context;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::context::create_from_type)]
    pub fn clCreateContextFromType(
        properties: *const cl_context_properties, device_type: cl_device_type,
        pfn_notify: Option<unsafe extern "C" fn(errinfo: *const c_char, private_info: *const c_void, cb: usize, user_data: *mut c_void)>,
        user_data: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_context;

    #[since(1.0)]
    #[call(retain)]
    pub fn clRetainContext(context: cl_context) -> cl_int;

    #[since(1.0)]
    #[call(release)]
    pub fn clReleaseContext(context: cl_context) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_CONTEXT_REFERENCE_COUNT, before = crate::context::answer)]
    pub fn clGetContextInfo(
        context: cl_context, param_name: cl_context_info, param_value_size: usize,
        #[typed_by(param_name, CL_CONTEXT_DEVICES => cl_device_id)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[check(properties & !(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE | CL_QUEUE_PROFILING_ENABLE) == 0,
        CL_INVALID_VALUE)]
    pub fn clCreateCommandQueue(
        context: cl_context, device: cl_device_id, properties: cl_command_queue_properties,
        errcode_ret: *mut cl_int,
    ) -> cl_command_queue;

    #[since(1.0)]
    #[call(retain)]
    pub fn clRetainCommandQueue(command_queue: cl_command_queue) -> cl_int;

    #[since(1.0)]
    #[call(release)]
    pub fn clReleaseCommandQueue(command_queue: cl_command_queue) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_QUEUE_REFERENCE_COUNT, before = crate::queue::answer)]
    pub fn clGetCommandQueueInfo(
        command_queue: cl_command_queue, param_name: cl_command_queue_info, param_value_size: usize,
        #[typed_by(param_name, CL_QUEUE_CONTEXT => cl_context, CL_QUEUE_DEVICE => cl_device_id)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clSetCommandQueueProperty(
        command_queue: cl_command_queue, properties: cl_command_queue_properties, enable: cl_bool,
        old_properties: *mut cl_command_queue_properties,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[custom(client = crate::memory::create_buffer, server = crate::buffer::create)]
    #[check(size != 0, CL_INVALID_BUFFER_SIZE)]
    #[message(request(context: Handle, flags: u64, size: u64, data: Option<Data<'a>>, number: u64, new:
        Handle), reply())]
    pub fn clCreateBuffer(
        context: cl_context, flags: cl_mem_flags, size: usize, host_ptr: *mut c_void,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::image::create_2d)]
    pub fn clCreateImage2D(
        context: cl_context, flags: cl_mem_flags, image_format: *const cl_image_format,
        image_width: usize, image_height: usize, image_row_pitch: usize, host_ptr: *mut c_void,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::image::create_3d)]
    pub fn clCreateImage3D(
        context: cl_context, flags: cl_mem_flags, image_format: *const cl_image_format,
        image_width: usize, image_height: usize, image_depth: usize, image_row_pitch: usize,
        image_slice_pitch: usize, host_ptr: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(1.0)]
    #[call(retain)]
    pub fn clRetainMemObject(memobj: cl_mem) -> cl_int;

    #[since(1.0)]
    #[call(release)]
    pub fn clReleaseMemObject(memobj: cl_mem) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[custom(client = crate::image::formats)]
    pub fn clGetSupportedImageFormats(
        context: cl_context, flags: cl_mem_flags, image_type: cl_mem_object_type,
        num_entries: cl_uint,
        #[output(list, max = num_entries, count = num_image_formats)]
        image_formats: *mut cl_image_format,
        num_image_formats: *mut cl_uint,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_MEM_REFERENCE_COUNT, before = crate::memory::answer)]
    pub fn clGetMemObjectInfo(
        memobj: cl_mem, param_name: cl_mem_info, param_value_size: usize,
        #[typed_by(param_name, CL_MEM_CONTEXT => cl_context, CL_MEM_ASSOCIATED_MEMOBJECT => cl_mem)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(before = crate::image::answer)]
    pub fn clGetImageInfo(
        image: cl_mem, param_name: cl_image_info, param_value_size: usize,
        #[typed_by(param_name, CL_IMAGE_BUFFER => cl_mem)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    pub fn clCreateSampler(
        context: cl_context, normalized_coords: cl_bool, addressing_mode: cl_addressing_mode,
        filter_mode: cl_filter_mode, errcode_ret: *mut cl_int,
    ) -> cl_sampler;

    #[since(1.0)]
    #[call(retain)]
    pub fn clRetainSampler(sampler: cl_sampler) -> cl_int;

    #[since(1.0)]
    #[call(release)]
    pub fn clReleaseSampler(sampler: cl_sampler) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_SAMPLER_REFERENCE_COUNT, before = crate::sampler::answer)]
    pub fn clGetSamplerInfo(
        sampler: cl_sampler, param_name: cl_sampler_info, param_value_size: usize,
        #[typed_by(param_name, CL_SAMPLER_CONTEXT => cl_context)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[custom(client = crate::program::create_with_source, server =
        crate::program::create_with_source)]
    #[message(request(context: Handle, source: &'a [u8], new: Handle), reply())]
    pub fn clCreateProgramWithSource(
        context: cl_context, count: cl_uint, strings: *mut *const c_char, lengths: *const usize,
        errcode_ret: *mut cl_int,
    ) -> cl_program;

    #[since(1.0)]
    #[call(sync)]
    #[custom(client = crate::program::create_with_binary, server =
        crate::program::create_with_binary)]
    #[message(request(context: Handle, devices: Vec<Handle>, binaries: Vec<&'a [u8]>, new: Handle),
        reply(binary_status: Vec<cl_int>))]
    pub fn clCreateProgramWithBinary(
        context: cl_context, num_devices: cl_uint, device_list: *const cl_device_id,
        lengths: *const usize, binaries: *mut *const c_uchar, binary_status: *mut cl_int,
        errcode_ret: *mut cl_int,
    ) -> cl_program;

    #[since(1.0)]
    #[call(retain)]
    pub fn clRetainProgram(program: cl_program) -> cl_int;

    #[since(1.0)]
    #[call(release)]
    pub fn clReleaseProgram(program: cl_program) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[blocking]
    #[custom(client = crate::program::build)]
    pub fn clBuildProgram(
        program: cl_program, num_devices: cl_uint,
        #[input(len = num_devices)] #[nullable]
        device_list: *const cl_device_id,
        #[input(cstr)] #[nullable] #[append(" -cl-kernel-arg-info")]
        options: *const c_char,
        pfn_notify: Option<unsafe extern "C" fn(program: cl_program, user_data: *mut c_void)>,
        user_data: *mut c_void,
    ) -> cl_int;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::program::unload_compiler)]
    pub fn clUnloadCompiler() -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_PROGRAM_REFERENCE_COUNT)]
    #[custom(client = crate::program::info, server = crate::program::info)]
    pub fn clGetProgramInfo(
        program: cl_program, param_name: cl_program_info, param_value_size: usize,
        #[typed_by(param_name, CL_PROGRAM_CONTEXT => cl_context, CL_PROGRAM_DEVICES =>
            cl_device_id)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(after = crate::program::edit_build_info)]
    pub fn clGetProgramBuildInfo(
        program: cl_program, device: cl_device_id, param_name: cl_program_build_info,
        param_value_size: usize, param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[custom(client = crate::kernel::create, server = crate::kernel::create)]
    #[message(request(program: Handle, kernel_name: &'a [u8], new: Handle), reply(args:
        Vec<ArgKind>))]
    pub fn clCreateKernel(
        program: cl_program, kernel_name: *const c_char, errcode_ret: *mut cl_int,
    ) -> cl_kernel;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::kernel::create_all)]
    pub fn clCreateKernelsInProgram(
        program: cl_program, num_kernels: cl_uint, kernels: *mut cl_kernel,
        num_kernels_ret: *mut cl_uint,
    ) -> cl_int;

    #[since(1.0)]
    #[call(retain)]
    pub fn clRetainKernel(kernel: cl_kernel) -> cl_int;

    #[since(1.0)]
    #[call(release)]
    pub fn clReleaseKernel(kernel: cl_kernel) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(kernel)]
    #[custom(client = crate::kernel::set_arg, idle = crate::kernel::is_set, server =
        crate::kernel::set_args)]
    #[message(request(kernel: Handle, args: Vec<KernelArg<'a>>), reply())]
    pub fn clSetKernelArg(
        kernel: cl_kernel, arg_index: cl_uint, arg_size: usize, arg_value: *const c_void,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_KERNEL_REFERENCE_COUNT)]
    pub fn clGetKernelInfo(
        kernel: cl_kernel, param_name: cl_kernel_info, param_value_size: usize,
        #[typed_by(param_name, CL_KERNEL_CONTEXT => cl_context, CL_KERNEL_PROGRAM => cl_program)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(before = crate::kernel::before_query)]
    pub fn clGetKernelWorkGroupInfo(
        kernel: cl_kernel,
        #[optional]
        device: cl_device_id,
        param_name: cl_kernel_work_group_info, param_value_size: usize, param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[blocking]
    #[report(all)]
    pub fn clWaitForEvents(
        num_events: cl_uint,
        #[input(len = num_events)]
        event_list: *const cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[query(refcount = CL_EVENT_REFERENCE_COUNT, before = crate::event::answer)]
    pub fn clGetEventInfo(
        event: cl_event, param_name: cl_event_info, param_value_size: usize,
        #[typed_by(param_name, CL_EVENT_CONTEXT => cl_context, CL_EVENT_COMMAND_QUEUE =>
            cl_command_queue)]
        param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(retain)]
    pub fn clRetainEvent(event: cl_event) -> cl_int;

    #[since(1.0)]
    #[call(release)]
    pub fn clReleaseEvent(event: cl_event) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[custom(client = crate::event::profiling)]
    pub fn clGetEventProfilingInfo(
        event: cl_event, param_name: cl_profiling_info, param_value_size: usize,
        param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::queue::flush)]
    pub fn clFlush(command_queue: cl_command_queue) -> cl_int;

    #[since(1.0)]
    #[call(sync)]
    #[blocking]
    #[report(command_queue)]
    #[custom(client = crate::queue::finish, server = crate::queue::finish)]
    pub fn clFinish(command_queue: cl_command_queue) -> cl_int;

    #[since(1.0)]
    #[call(sync if blocking_read != 0 else posted)]
    #[blocking]
    #[defer(command_queue)]
    #[report(command_queue)]
    #[custom(client = crate::transfer::read_buffer, server = crate::transfer::read_buffer)]
    #[message(request(command_queue: Handle, buffer: Handle, read: u64, offset: u64, size: u64,
        place: Option<u64>, event_wait_list: Vec<Handle>, event: Handle), reply(data: &'a [u8]))]
    pub fn clEnqueueReadBuffer(
        command_queue: cl_command_queue, buffer: cl_mem, blocking_read: cl_bool, offset: usize,
        size: usize, ptr: *mut c_void, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync if blocking_write != 0 else posted)]
    #[blocking]
    #[defer(command_queue)]
    #[report(command_queue)]
    #[custom(client = crate::transfer::write_buffer, server = crate::transfer::write_buffer)]
    #[message(request(command_queue: Handle, buffer: Handle, blocking: u8, number: u64, offset: u64,
        data: Data<'a>, event_wait_list: Vec<Handle>, event: Handle), reply())]
    pub fn clEnqueueWriteBuffer(
        command_queue: cl_command_queue, buffer: cl_mem, blocking_write: cl_bool, offset: usize,
        size: usize, ptr: *const c_void, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[check(size != 0, CL_INVALID_VALUE)]
    pub fn clEnqueueCopyBuffer(
        command_queue: cl_command_queue, src_buffer: cl_mem, dst_buffer: cl_mem, src_offset: usize,
        dst_offset: usize, size: usize, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync if blocking_read != 0 else posted)]
    #[blocking]
    #[defer(command_queue)]
    #[report(command_queue)]
    #[custom(client = crate::image::read, server = crate::volume::read_image)]
    #[message(request(command_queue: Handle, image: Handle, read: u64, origin: [u64; 3], region:
        [u64; 3], event_wait_list: Vec<Handle>, event: Handle), reply(data: &'a [u8]))]
    pub fn clEnqueueReadImage(
        command_queue: cl_command_queue, image: cl_mem, blocking_read: cl_bool,
        origin: *const usize, region: *const usize, row_pitch: usize, slice_pitch: usize,
        ptr: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
        event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync if blocking_write != 0 else posted)]
    #[blocking]
    #[defer(command_queue)]
    #[report(command_queue)]
    #[custom(client = crate::image::write, server = crate::volume::write_image)]
    #[message(request(command_queue: Handle, image: Handle, blocking: u8, origin: [u64; 3], region:
        [u64; 3], data: &'a [u8], event_wait_list: Vec<Handle>, event: Handle), reply())]
    pub fn clEnqueueWriteImage(
        command_queue: cl_command_queue, image: cl_mem, blocking_write: cl_bool,
        origin: *const usize, region: *const usize, input_row_pitch: usize,
        input_slice_pitch: usize, ptr: *const c_void, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::image::copy)]
    pub fn clEnqueueCopyImage(
        command_queue: cl_command_queue, src_image: cl_mem, dst_image: cl_mem,
        #[input(len = 3)]
        src_origin: *const usize,
        #[input(len = 3)]
        dst_origin: *const usize,
        #[input(len = 3)]
        region: *const usize,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::image::copy_to_buffer)]
    pub fn clEnqueueCopyImageToBuffer(
        command_queue: cl_command_queue, src_image: cl_mem, dst_buffer: cl_mem,
        #[input(len = 3)]
        src_origin: *const usize,
        #[input(len = 3)]
        region: *const usize,
        dst_offset: usize,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::image::copy_from_buffer)]
    pub fn clEnqueueCopyBufferToImage(
        command_queue: cl_command_queue, src_buffer: cl_mem, dst_image: cl_mem, src_offset: usize,
        #[input(len = 3)]
        dst_origin: *const usize,
        #[input(len = 3)]
        region: *const usize,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(sync if blocking_map != 0 else posted)]
    #[blocking]
    #[defer(command_queue)]
    #[report(command_queue)]
    #[custom(client = crate::map::map_buffer, server = crate::buffer::map)]
    #[message(request(command_queue: Handle, buffer: Handle, blocking: u8, map_flags: u64, offset: u64,
        size: u64, place: u64, event_wait_list: Vec<Handle>, event: Handle), reply())]
    pub fn clEnqueueMapBuffer(
        command_queue: cl_command_queue, buffer: cl_mem, blocking_map: cl_bool,
        map_flags: cl_map_flags, offset: usize, size: usize, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event, errcode_ret: *mut cl_int,
    ) -> *mut c_void;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::map::map_image)]
    pub fn clEnqueueMapImage(
        command_queue: cl_command_queue, image: cl_mem, blocking_map: cl_bool,
        map_flags: cl_map_flags, origin: *const usize, region: *const usize,
        image_row_pitch: *mut usize, image_slice_pitch: *mut usize,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
        errcode_ret: *mut cl_int,
    ) -> *mut c_void;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::map::unmap, server = crate::buffer::unmap)]
    #[message(request(command_queue: Handle, memobj: Handle, place: u64, event_wait_list: Vec<Handle>,
        event: Handle), reply())]
    pub fn clEnqueueUnmapMemObject(
        command_queue: cl_command_queue, memobj: cl_mem, mapped_ptr: *mut c_void,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::kernel::launch, server = crate::kernel::launch)]
    #[message(request(command_queue: Handle, kernel: Handle, args: Vec<KernelArg<'a>>, range:
        NdRange<'a>, event_wait_list: Vec<Handle>, event: Handle), reply())]
    pub fn clEnqueueNDRangeKernel(
        command_queue: cl_command_queue, kernel: cl_kernel, work_dim: cl_uint,
        #[input(len = work_dim)] #[nullable]
        global_work_offset: *const usize,
        #[input(len = work_dim, mismatch = CL_INVALID_GLOBAL_WORK_SIZE)]
        global_work_size: *const usize,
        #[input(len = work_dim)] #[nullable]
        local_work_size: *const usize,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::kernel::task, server = crate::kernel::task)]
    pub fn clEnqueueTask(
        command_queue: cl_command_queue, kernel: cl_kernel, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[refused(CL_INVALID_OPERATION)]
    #[check(user_func.is_some(), CL_INVALID_VALUE)]
    #[check(args.is_null() == (cb_args == 0), CL_INVALID_VALUE)]
    #[check(!args.is_null() || num_mem_objects == 0, CL_INVALID_VALUE)]
    #[check(args_mem_loc.is_null() == (num_mem_objects == 0), CL_INVALID_VALUE)]
    pub fn clEnqueueNativeKernel(
        command_queue: cl_command_queue, user_func: Option<unsafe extern "C" fn(arg1: *mut c_void)>,
        args: *mut c_void, cb_args: usize, num_mem_objects: cl_uint,
        #[input(len = num_mem_objects)] #[nullable]
        mem_list: *const cl_mem,
        args_mem_loc: *mut *const c_void, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    #[check(!event.is_null(), CL_INVALID_VALUE)]
    pub fn clEnqueueMarker(command_queue: cl_command_queue, event: *mut cl_event) -> cl_int;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::queue::wait_for_events)]
    pub fn clEnqueueWaitForEvents(
        command_queue: cl_command_queue, num_events: cl_uint, event_list: *const cl_event,
    ) -> cl_int;

    #[since(1.0)]
    #[call(posted)]
    #[defer(command_queue)]
    pub fn clEnqueueBarrier(command_queue: cl_command_queue) -> cl_int;

    #[since(1.0)]
    #[call(local)]
    #[custom(client = crate::icd::extension_function)]
    pub fn clGetExtensionFunctionAddress(func_name: *const c_char) -> *mut c_void;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromGLBuffer(
        context: cl_context, flags: cl_mem_flags, bufobj: cl_GLuint, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromGLTexture2D(
        context: cl_context, flags: cl_mem_flags, target: cl_GLenum, miplevel: cl_GLint,
        texture: cl_GLuint, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromGLTexture3D(
        context: cl_context, flags: cl_mem_flags, target: cl_GLenum, miplevel: cl_GLint,
        texture: cl_GLuint, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromGLRenderbuffer(
        context: cl_context, flags: cl_mem_flags, renderbuffer: cl_GLuint, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clGetGLObjectInfo(
        memobj: cl_mem, gl_object_type: *mut cl_gl_object_type, gl_object_name: *mut cl_GLuint,
    ) -> cl_int;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clGetGLTextureInfo(
        memobj: cl_mem, param_name: cl_gl_texture_info, param_value_size: usize,
        param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueAcquireGLObjects(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueReleaseGLObjects(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clGetGLContextInfoKHR(
        properties: *const cl_context_properties, param_name: cl_gl_context_info,
        param_value_size: usize, param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[extension("cl_khr_d3d10_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clGetDeviceIDsFromD3D10KHR(
        platform: cl_platform_id, d3d_device_source: cl_uint, d3d_object: *mut c_void,
        d3d_device_set: cl_uint, num_entries: cl_uint, devices: *mut cl_device_id,
        num_devices: *mut cl_uint,
    ) -> cl_int;

    #[extension("cl_khr_d3d10_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromD3D10BufferKHR(
        context: cl_context, flags: cl_mem_flags, resource: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_d3d10_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromD3D10Texture2DKHR(
        context: cl_context, flags: cl_mem_flags, resource: *mut c_void, subresource: cl_uint,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_d3d10_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromD3D10Texture3DKHR(
        context: cl_context, flags: cl_mem_flags, resource: *mut c_void, subresource: cl_uint,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_d3d10_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueAcquireD3D10ObjectsKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_d3d10_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueReleaseD3D10ObjectsKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.1)]
    #[call(sync)]
    #[custom(client = crate::event::set_callback, server = crate::callback::of_event)]
    #[message(request(event: Handle, command_exec_callback_type: cl_int, callback: u64), reply())]
    pub fn clSetEventCallback(
        event: cl_event, command_exec_callback_type: cl_int,
        pfn_notify: Option<unsafe extern "C" fn(event: cl_event, event_command_status: cl_int, user_data: *mut c_void)>,
        user_data: *mut c_void,
    ) -> cl_int;

    #[since(1.1)]
    #[call(sync)]
    #[custom(client = crate::memory::create_sub_buffer)]
    #[check(buffer_create_type == CL_BUFFER_CREATE_TYPE_REGION, CL_INVALID_VALUE)]
    pub fn clCreateSubBuffer(
        buffer: cl_mem, flags: cl_mem_flags, buffer_create_type: cl_buffer_create_type,
        #[input(bytes = size_of::<cl_buffer_region>())]
        buffer_create_info: *const c_void,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(1.1)]
    #[call(sync)]
    #[custom(client = crate::memory::set_destructor_callback, server = crate::callback::of_memory)]
    #[message(request(memobj: Handle, callback: u64), reply())]
    pub fn clSetMemObjectDestructorCallback(
        memobj: cl_mem,
        pfn_notify: Option<unsafe extern "C" fn(memobj: cl_mem, user_data: *mut c_void)>,
        user_data: *mut c_void,
    ) -> cl_int;

    #[since(1.1)]
    #[call(sync)]
    pub fn clCreateUserEvent(context: cl_context, errcode_ret: *mut cl_int) -> cl_event;

    #[since(1.1)]
    #[call(sync)]
    #[check(execution_status <= CL_COMPLETE, CL_INVALID_VALUE)]
    pub fn clSetUserEventStatus(event: cl_event, execution_status: cl_int) -> cl_int;

    #[since(1.1)]
    #[call(sync if blocking_read != 0 else posted)]
    #[blocking]
    #[defer(command_queue)]
    #[report(command_queue)]
    #[custom(client = crate::rect::read, server = crate::volume::read_rect)]
    #[message(request(command_queue: Handle, buffer: Handle, read: u64, origin: [u64; 3], region:
        [u64; 3], row_pitch: u64, slice_pitch: u64, event_wait_list: Vec<Handle>, event: Handle),
        reply(data: &'a [u8]))]
    pub fn clEnqueueReadBufferRect(
        command_queue: cl_command_queue, buffer: cl_mem, blocking_read: cl_bool,
        buffer_origin: *const usize, host_origin: *const usize, region: *const usize,
        buffer_row_pitch: usize, buffer_slice_pitch: usize, host_row_pitch: usize,
        host_slice_pitch: usize, ptr: *mut c_void, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.1)]
    #[call(sync if blocking_write != 0 else posted)]
    #[blocking]
    #[defer(command_queue)]
    #[report(command_queue)]
    #[custom(client = crate::rect::write, server = crate::volume::write_rect)]
    #[message(request(command_queue: Handle, buffer: Handle, blocking: u8, origin: [u64; 3], region:
        [u64; 3], row_pitch: u64, slice_pitch: u64, data: &'a [u8], event_wait_list: Vec<Handle>,
        event: Handle), reply())]
    pub fn clEnqueueWriteBufferRect(
        command_queue: cl_command_queue, buffer: cl_mem, blocking_write: cl_bool,
        buffer_origin: *const usize, host_origin: *const usize, region: *const usize,
        buffer_row_pitch: usize, buffer_slice_pitch: usize, host_row_pitch: usize,
        host_slice_pitch: usize, ptr: *const c_void, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.1)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::rect::copy)]
    pub fn clEnqueueCopyBufferRect(
        command_queue: cl_command_queue, src_buffer: cl_mem, dst_buffer: cl_mem,
        #[input(len = 3)]
        src_origin: *const usize,
        #[input(len = 3)]
        dst_origin: *const usize,
        #[input(len = 3)]
        region: *const usize,
        src_row_pitch: usize, src_slice_pitch: usize, dst_row_pitch: usize, dst_slice_pitch: usize,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_ext_device_fission")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateSubDevicesEXT(
        in_device: cl_device_id, properties: *const cl_device_partition_property_ext,
        num_entries: cl_uint, out_devices: *mut cl_device_id, num_devices: *mut cl_uint,
    ) -> cl_int;

    #[extension("cl_ext_device_fission")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clRetainDeviceEXT(device: cl_device_id) -> cl_int;

    #[extension("cl_ext_device_fission")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clReleaseDeviceEXT(device: cl_device_id) -> cl_int;

    #[extension("cl_khr_gl_event")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateEventFromGLsyncKHR(
        context: cl_context, sync: cl_GLsync, errcode_ret: *mut cl_int,
    ) -> cl_event;

    #[since(1.2)]
    #[call(sync)]
    #[custom(client = crate::device::create_sub_devices, server =
        crate::device::create_sub_devices)]
    #[message(request(in_device: Handle, properties: Vec<i64>, new: Vec<Handle>), reply(num_devices:
        cl_uint))]
    pub fn clCreateSubDevices(
        in_device: cl_device_id, properties: *const cl_device_partition_property,
        num_devices: cl_uint, out_devices: *mut cl_device_id, num_devices_ret: *mut cl_uint,
    ) -> cl_int;

    #[since(1.2)]
    #[call(retain)]
    pub fn clRetainDevice(device: cl_device_id) -> cl_int;

    #[since(1.2)]
    #[call(release)]
    pub fn clReleaseDevice(device: cl_device_id) -> cl_int;

    #[since(1.2)]
    #[call(sync)]
    #[custom(client = crate::image::create, server = crate::image::create)]
    #[message(request(context: Handle, flags: cl_mem_flags, channel_order: u32, channel_data_type:
        u32, image_type: u32, sizes: [u64; 4], row_pitch: u64, slice_pitch: u64, num_mip_levels:
        u32, num_samples: u32, mem: Handle, data: Option<&'a [u8]>, new: Handle),
        reply(element_size: u64, size: u64))]
    pub fn clCreateImage(
        context: cl_context, flags: cl_mem_flags, image_format: *const cl_image_format,
        image_desc: *const cl_image_desc, host_ptr: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(1.2)]
    #[call(sync)]
    pub fn clCreateProgramWithBuiltInKernels(
        context: cl_context, num_devices: cl_uint,
        #[input(len = num_devices)]
        device_list: *const cl_device_id,
        #[input(cstr)]
        kernel_names: *const c_char,
        errcode_ret: *mut cl_int,
    ) -> cl_program;

    #[since(1.2)]
    #[call(sync)]
    #[blocking]
    #[custom(client = crate::program::compile)]
    pub fn clCompileProgram(
        program: cl_program, num_devices: cl_uint,
        #[input(len = num_devices)] #[nullable]
        device_list: *const cl_device_id,
        #[input(cstr)] #[nullable] #[append(" -cl-kernel-arg-info")]
        options: *const c_char,
        num_input_headers: cl_uint,
        #[input(len = num_input_headers)] #[nullable]
        input_headers: *const cl_program,
        #[input(cstr, len = num_input_headers)]
        header_include_names: *mut *const c_char,
        pfn_notify: Option<unsafe extern "C" fn(program: cl_program, user_data: *mut c_void)>,
        user_data: *mut c_void,
    ) -> cl_int;

    #[since(1.2)]
    #[call(sync)]
    #[blocking]
    #[custom(client = crate::program::link)]
    pub fn clLinkProgram(
        context: cl_context, num_devices: cl_uint,
        #[input(len = num_devices)] #[nullable]
        device_list: *const cl_device_id,
        #[input(cstr)] #[nullable]
        options: *const c_char,
        num_input_programs: cl_uint,
        #[input(len = num_input_programs)]
        input_programs: *const cl_program,
        pfn_notify: Option<unsafe extern "C" fn(program: cl_program, user_data: *mut c_void)>,
        user_data: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_program;

    #[since(1.2)]
    #[call(local)]
    #[custom(client = crate::program::unload_platform_compiler)]
    pub fn clUnloadPlatformCompiler(platform: cl_platform_id) -> cl_int;

    #[since(1.2)]
    #[call(sync)]
    pub fn clGetKernelArgInfo(
        kernel: cl_kernel, arg_index: cl_uint, param_name: cl_kernel_arg_info,
        param_value_size: usize, param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(1.2)]
    #[call(posted)]
    #[defer(command_queue)]
    #[check(matches!(pattern_size, 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128), CL_INVALID_VALUE)]
    #[check(offset % pattern_size == 0 && size % pattern_size == 0, CL_INVALID_VALUE)]
    pub fn clEnqueueFillBuffer(
        command_queue: cl_command_queue, buffer: cl_mem,
        #[input(bytes = pattern_size)]
        pattern: *const c_void,
        pattern_size: usize, offset: usize, size: usize, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.2)]
    #[call(posted)]
    #[defer(command_queue)]
    #[custom(client = crate::image::fill)]
    pub fn clEnqueueFillImage(
        command_queue: cl_command_queue, image: cl_mem,
        #[input(bytes = 16)]
        fill_color: *const c_void,
        #[input(len = 3)]
        origin: *const usize,
        #[input(len = 3)]
        region: *const usize,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.2)]
    #[call(posted)]
    #[defer(command_queue)]
    #[check(flags & !(CL_MIGRATE_MEM_OBJECT_HOST | CL_MIGRATE_MEM_OBJECT_CONTENT_UNDEFINED) == 0,
        CL_INVALID_VALUE)]
    pub fn clEnqueueMigrateMemObjects(
        command_queue: cl_command_queue, num_mem_objects: cl_uint,
        #[input(len = num_mem_objects)]
        mem_objects: *const cl_mem,
        flags: cl_mem_migration_flags, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.2)]
    #[call(posted)]
    #[defer(command_queue)]
    pub fn clEnqueueMarkerWithWaitList(
        command_queue: cl_command_queue, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.2)]
    #[call(posted)]
    #[defer(command_queue)]
    pub fn clEnqueueBarrierWithWaitList(
        command_queue: cl_command_queue, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(1.2)]
    #[call(local)]
    #[custom(client = crate::icd::extension_function_for_platform)]
    pub fn clGetExtensionFunctionAddressForPlatform(
        platform: cl_platform_id, func_name: *const c_char,
    ) -> *mut c_void;

    #[extension("cl_khr_gl_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromGLTexture(
        context: cl_context, flags: cl_mem_flags, target: cl_GLenum, miplevel: cl_GLint,
        texture: cl_GLuint, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_d3d11_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clGetDeviceIDsFromD3D11KHR(
        platform: cl_platform_id, d3d_device_source: cl_uint, d3d_object: *mut c_void,
        d3d_device_set: cl_uint, num_entries: cl_uint, devices: *mut cl_device_id,
        num_devices: *mut cl_uint,
    ) -> cl_int;

    #[extension("cl_khr_d3d11_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromD3D11BufferKHR(
        context: cl_context, flags: cl_mem_flags, resource: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_d3d11_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromD3D11Texture2DKHR(
        context: cl_context, flags: cl_mem_flags, resource: *mut c_void, subresource: cl_uint,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_d3d11_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromD3D11Texture3DKHR(
        context: cl_context, flags: cl_mem_flags, resource: *mut c_void, subresource: cl_uint,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_dx9_media_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromDX9MediaSurfaceKHR(
        context: cl_context, flags: cl_mem_flags, adapter_type: cl_uint, surface_info: *mut c_void,
        plane: cl_uint, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_d3d11_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueAcquireD3D11ObjectsKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_d3d11_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueReleaseD3D11ObjectsKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_dx9_media_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clGetDeviceIDsFromDX9MediaAdapterKHR(
        platform: cl_platform_id, num_media_adapters: cl_uint, media_adapter_type: *mut cl_uint,
        media_adapters: *mut c_void, media_adapter_set: cl_uint, num_entries: cl_uint,
        devices: *mut cl_device_id, num_devices: *mut cl_uint,
    ) -> cl_int;

    #[extension("cl_khr_dx9_media_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueAcquireDX9MediaSurfacesKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_dx9_media_sharing")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueReleaseDX9MediaSurfacesKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_egl_image")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateFromEGLImageKHR(
        context: cl_context, egldisplay: CLeglDisplayKHR, eglimage: CLeglImageKHR,
        flags: cl_mem_flags, properties: *const cl_egl_image_properties_khr,
        errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[extension("cl_khr_egl_image")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueAcquireEGLObjectsKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_egl_image")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clEnqueueReleaseEGLObjectsKHR(
        command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[extension("cl_khr_egl_event")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clCreateEventFromEGLSyncKHR(
        context: cl_context, sync: CLeglSyncKHR, display: CLeglDisplayKHR, errcode_ret: *mut cl_int,
    ) -> cl_event;

    #[since(2.0)]
    #[call(local)]
    #[custom(client = crate::queue::create_with_properties)]
    pub fn clCreateCommandQueueWithProperties(
        context: cl_context, device: cl_device_id, properties: *const cl_queue_properties,
        errcode_ret: *mut cl_int,
    ) -> cl_command_queue;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clCreatePipe(
        context: cl_context, flags: cl_mem_flags, pipe_packet_size: cl_uint,
        pipe_max_packets: cl_uint, properties: *const cl_pipe_properties, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(2.0)]
    #[refused(CL_INVALID_MEM_OBJECT)]
    pub fn clGetPipeInfo(
        pipe: cl_mem, param_name: cl_pipe_info, param_value_size: usize, param_value: *mut c_void,
        param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clSVMAlloc(
        context: cl_context, flags: cl_svm_mem_flags, size: usize, alignment: cl_uint,
    ) -> *mut c_void;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clSVMFree(context: cl_context, svm_pointer: *mut c_void);

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clEnqueueSVMFree(
        command_queue: cl_command_queue, num_svm_pointers: cl_uint, svm_pointers: *mut *mut c_void,
        pfn_free_func: Option<unsafe extern "C" fn(queue: cl_command_queue, num_svm_pointers: cl_uint, svm_pointers: *mut *mut c_void, user_data: *mut c_void)>,
        user_data: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
        event: *mut cl_event,
    ) -> cl_int;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clEnqueueSVMMemcpy(
        command_queue: cl_command_queue, blocking_copy: cl_bool, dst_ptr: *mut c_void,
        src_ptr: *const c_void, size: usize, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clEnqueueSVMMemFill(
        command_queue: cl_command_queue, svm_ptr: *mut c_void, pattern: *const c_void,
        pattern_size: usize, size: usize, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clEnqueueSVMMap(
        command_queue: cl_command_queue, blocking_map: cl_bool, flags: cl_map_flags,
        svm_ptr: *mut c_void, size: usize, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clEnqueueSVMUnmap(
        command_queue: cl_command_queue, svm_ptr: *mut c_void, num_events_in_wait_list: cl_uint,
        event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(2.0)]
    #[call(local)]
    #[custom(client = crate::sampler::create_with_properties)]
    pub fn clCreateSamplerWithProperties(
        context: cl_context, sampler_properties: *const cl_sampler_properties,
        errcode_ret: *mut cl_int,
    ) -> cl_sampler;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clSetKernelArgSVMPointer(
        kernel: cl_kernel, arg_index: cl_uint, arg_value: *const c_void,
    ) -> cl_int;

    #[since(2.0)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clSetKernelExecInfo(
        kernel: cl_kernel, param_name: cl_kernel_exec_info, param_value_size: usize,
        param_value: *const c_void,
    ) -> cl_int;

    #[extension("cl_khr_subgroups")]
    #[stub(CL_INVALID_OPERATION)]
    pub fn clGetKernelSubGroupInfoKHR(
        in_kernel: cl_kernel, in_device: cl_device_id, param_name: cl_kernel_sub_group_info,
        input_value_size: usize, input_value: *const c_void, param_value_size: usize,
        param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(2.1)]
    #[call(sync)]
    #[custom(client = crate::kernel::clone, server = crate::kernel::clone)]
    #[message(request(source_kernel: Handle, new: Handle), reply())]
    pub fn clCloneKernel(source_kernel: cl_kernel, errcode_ret: *mut cl_int) -> cl_kernel;

    #[since(2.1)]
    #[call(sync)]
    #[blocking]
    #[needs(crate::device::is_newest, CL_INVALID_OPERATION)]
    #[custom(server = crate::program::create_with_il)]
    #[check(length != 0, CL_INVALID_VALUE)]
    pub fn clCreateProgramWithIL(
        context: cl_context,
        #[input(bytes = length)]
        il: *const c_void,
        length: usize, errcode_ret: *mut cl_int,
    ) -> cl_program;

    #[since(2.1)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clEnqueueSVMMigrateMem(
        command_queue: cl_command_queue, num_svm_pointers: cl_uint,
        svm_pointers: *mut *const c_void, sizes: *const usize, flags: cl_mem_migration_flags,
        num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event,
    ) -> cl_int;

    #[since(2.1)]
    #[call(sync)]
    #[needs(crate::device::is_newest, CL_INVALID_OPERATION)]
    #[check(!device_timestamp.is_null() && !host_timestamp.is_null(), CL_INVALID_VALUE)]
    pub fn clGetDeviceAndHostTimer(
        device: cl_device_id,
        #[output]
        device_timestamp: *mut cl_ulong,
        #[output]
        host_timestamp: *mut cl_ulong,
    ) -> cl_int;

    #[since(2.1)]
    #[call(sync)]
    #[needs(crate::device::is_newest, CL_INVALID_OPERATION)]
    #[check(!host_timestamp.is_null(), CL_INVALID_VALUE)]
    pub fn clGetHostTimer(
        device: cl_device_id,
        #[output]
        host_timestamp: *mut cl_ulong,
    ) -> cl_int;

    #[since(2.1)]
    #[call(sync)]
    #[custom(client = crate::kernel::sub_group_info, server = crate::kernel::sub_group_info)]
    #[message(request(kernel: Handle, device: Handle, param_name: cl_uint, input_value: Option<&'a
        [u8]>, room: Option<u64>), reply(param_value: &'a [u8], param_value_size: u64))]
    pub fn clGetKernelSubGroupInfo(
        kernel: cl_kernel,
        #[optional]
        device: cl_device_id,
        param_name: cl_kernel_sub_group_info, input_value_size: usize,
        #[input(bytes = input_value_size)] #[nullable]
        input_value: *const c_void,
        param_value_size: usize,
        param_value: *mut c_void, param_value_size_ret: *mut usize,
    ) -> cl_int;

    #[since(2.1)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clSetDefaultDeviceCommandQueue(
        context: cl_context, device: cl_device_id, command_queue: cl_command_queue,
    ) -> cl_int;

    #[since(2.2)]
    #[refused(CL_INVALID_OPERATION)]
    pub fn clSetProgramReleaseCallback(
        program: cl_program,
        pfn_notify: Option<unsafe extern "C" fn(program: cl_program, user_data: *mut c_void)>,
        user_data: *mut c_void,
    ) -> cl_int;

    #[since(2.2)]
    #[call(sync)]
    #[needs(crate::device::is_newest, CL_INVALID_OPERATION)]
    pub fn clSetProgramSpecializationConstant(
        program: cl_program, spec_id: cl_uint, spec_size: usize,
        #[input(bytes = spec_size)]
        spec_value: *const c_void,
    ) -> cl_int;

    #[since(3.0)]
    #[call(local)]
    #[custom(client = crate::memory::create_buffer_with_properties)]
    pub fn clCreateBufferWithProperties(
        context: cl_context, properties: *const cl_mem_properties, flags: cl_mem_flags, size: usize,
        host_ptr: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(3.0)]
    #[call(local)]
    #[custom(client = crate::image::create_with_properties)]
    pub fn clCreateImageWithProperties(
        context: cl_context, properties: *const cl_mem_properties, flags: cl_mem_flags,
        image_format: *const cl_image_format, image_desc: *const cl_image_desc,
        host_ptr: *mut c_void, errcode_ret: *mut cl_int,
    ) -> cl_mem;

    #[since(3.0)]
    #[call(local)]
    #[custom(client = crate::context::set_destructor_callback)]
    pub fn clSetContextDestructorCallback(
        context: cl_context,
        pfn_notify: Option<unsafe extern "C" fn(context: cl_context, user_data: *mut c_void)>,
        user_data: *mut c_void,
    ) -> cl_int;

    // Waits until the vendor has called some of the callbacks that are registered here: their
    // numbers, each with its status.
    #[wire]
    #[call(sync)]
    #[blocking]
    #[custom(server = crate::callback::await_called)]
    #[message(request(), reply(callbacks: Vec<u64>, statuses: Vec<cl_int>))]
    pub fn awaitCallbacks() -> cl_int;
}
