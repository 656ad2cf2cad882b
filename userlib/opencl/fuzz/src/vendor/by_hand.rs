// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Functions of which the description does not say enough.
#![allow(non_snake_case)]

use std::ffi::{c_char, c_uchar, c_void};
use std::ptr::null_mut;

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::image;
use wormhole_opencl_protocol::types::*;
use wormhole_opencl_server::api::Vendor;

use super::{generated, Played};

/// The table with these in it.
pub fn replace(table: Vendor) -> Vendor {
    Vendor {
        clCreateContext: Some(clCreateContext),
        clCreateProgramWithSource: Some(clCreateProgramWithSource),
        clCreateProgramWithBinary: Some(clCreateProgramWithBinary),
        clGetProgramInfo: Some(clGetProgramInfo),
        clCreateKernel: Some(clCreateKernel),
        clGetKernelInfo: Some(clGetKernelInfo),
        clGetKernelArgInfo: Some(clGetKernelArgInfo),
        clSetKernelArg: Some(clSetKernelArg),
        clEnqueueReadBuffer: Some(clEnqueueReadBuffer),
        clEnqueueWriteBuffer: Some(clEnqueueWriteBuffer),
        clEnqueueReadBufferRect: Some(clEnqueueReadBufferRect),
        clEnqueueWriteBufferRect: Some(clEnqueueWriteBufferRect),
        clEnqueueReadImage: Some(clEnqueueReadImage),
        clEnqueueWriteImage: Some(clEnqueueWriteImage),
        clCreateImage: Some(clCreateImage),
        clGetImageInfo: Some(clGetImageInfo),
        clGetMemObjectInfo: Some(clGetMemObjectInfo),
        clGetEventInfo: Some(clGetEventInfo),
        clWaitForEvents: Some(clWaitForEvents),
        clFinish: Some(clFinish),
        clSetEventCallback: Some(clSetEventCallback),
        clSetMemObjectDestructorCallback: Some(clSetMemObjectDestructorCallback),
        ..table
    }
}

/// Gives the status and, if that is success, a new object.
///
/// # Safety
/// `errcode_ret` is null or valid for writing.
unsafe fn made<T>(played: &mut Played, kind: Kind, errcode_ret: *mut cl_int) -> *mut T {
    let status = played.status();
    if !errcode_ret.is_null() {
        // SAFETY: the caller promises it.
        unsafe { errcode_ret.write(status) };
    }
    match status {
        CL_SUCCESS => played.make(kind) as *mut T,
        _ => null_mut(),
    }
}

type Notify = Option<unsafe extern "C" fn(*const c_char, *const c_void, usize, *mut c_void)>;

unsafe extern "C" fn clCreateContext(
    properties: *const cl_context_properties,
    num_devices: cl_uint,
    devices: *const cl_device_id,
    _: Notify,
    _: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_context {
    // SAFETY: as the specification says; that is to be found out.
    Played::during("clCreateContext", |played| unsafe {
        if !properties.is_null() {
            let pair = played.list(properties, 3, false);
            played.live(Kind::Platform, pair[1] as usize);
        }
        for device in played.list(devices, num_devices as usize, false) {
            played.live(Kind::Device, device as usize);
        }
        made::<_cl_context>(played, Kind::Context, errcode_ret)
    })
}

unsafe extern "C" fn clCreateProgramWithSource(
    context: cl_context,
    count: cl_uint,
    strings: *mut *const c_char,
    lengths: *const usize,
    errcode_ret: *mut cl_int,
) -> cl_program {
    // SAFETY: as above.
    Played::during("clCreateProgramWithSource", |played| unsafe {
        played.live(Kind::Context, context as usize);
        let strings = played.list(strings.cast_const(), count as usize, false);
        let lengths = played.list(lengths, count as usize, false);
        for (string, length) in strings.into_iter().zip(lengths) {
            played.list(string, length, false);
        }
        made::<_cl_program>(played, Kind::Program, errcode_ret)
    })
}

unsafe extern "C" fn clCreateProgramWithBinary(
    context: cl_context,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    lengths: *const usize,
    binaries: *mut *const c_uchar,
    binary_status: *mut cl_int,
    errcode_ret: *mut cl_int,
) -> cl_program {
    // SAFETY: as above.
    Played::during("clCreateProgramWithBinary", |played| unsafe {
        played.live(Kind::Context, context as usize);
        let count = num_devices as usize;
        for device in played.list(device_list, count, false) {
            played.live(Kind::Device, device as usize);
        }
        let binaries = played.list(binaries.cast_const(), count, false);
        let lengths = played.list(lengths, count, false);
        for (binary, length) in binaries.into_iter().zip(lengths) {
            played.list(binary, length, false);
        }
        played.fill(binary_status, count);
        made::<_cl_program>(played, Kind::Program, errcode_ret)
    })
}

/// Sizes of a program's binaries, of which there are as many as devices.
const BINARIES: [usize; 2] = [100, 0];

unsafe extern "C" fn clGetProgramInfo(
    program: cl_program,
    param_name: cl_program_info,
    size: usize,
    value: *mut c_void,
    filled: *mut usize,
) -> cl_int {
    let words = match param_name {
        CL_PROGRAM_BINARY_SIZES => Some(BINARIES),
        CL_PROGRAM_BINARIES => None,
        // SAFETY: the same function.
        _ => unsafe {
            return generated::clGetProgramInfo(program, param_name, size, value, filled);
        },
    };
    // SAFETY: as above.
    Played::during("clGetProgramInfo", |played| unsafe {
        played.live(Kind::Program, program as usize);
        match words {
            Some(words) => {
                if !value.is_null() {
                    value.cast::<usize>().copy_from(words.as_ptr(), words.len());
                }
                if !filled.is_null() {
                    filled.write(size_of_val(&words));
                }
            }
            None => {
                let binaries = value.cast::<*mut u8>().cast_const();
                let binaries = played.list(binaries, size / size_of::<usize>(), false);
                for (binary, size) in binaries.into_iter().zip(BINARIES) {
                    if !binary.is_null() {
                        played.fill(binary, size);
                    }
                }
            }
        }
        CL_SUCCESS
    })
}

unsafe extern "C" fn clCreateKernel(
    program: cl_program,
    kernel_name: *const c_char,
    errcode_ret: *mut cl_int,
) -> cl_kernel {
    // SAFETY: as above.
    Played::during("clCreateKernel", |played| unsafe {
        played.live(Kind::Program, program as usize);
        played.text(kernel_name, false);
        made::<_cl_kernel>(played, Kind::Kernel, errcode_ret)
    })
}

/// Arguments of every kernel: space and type.
const ARGUMENTS: [(cl_uint, &[u8]); 5] = [
    (CL_KERNEL_ARG_ADDRESS_GLOBAL, b"int*\0"),
    (CL_KERNEL_ARG_ADDRESS_PRIVATE, b"float4\0"),
    (CL_KERNEL_ARG_ADDRESS_PRIVATE, b"sampler_t\0"),
    (CL_KERNEL_ARG_ADDRESS_LOCAL, b"int*\0"),
    (CL_KERNEL_ARG_ADDRESS_PRIVATE, b"struct s\0"),
];

/// Gives the value of a query.
///
/// # Safety
/// As for [`Played::info`].
unsafe fn give(bytes: &[u8], size: usize, value: *mut c_void, filled: *mut usize) -> cl_int {
    // SAFETY: the caller promises it.
    unsafe {
        if !value.is_null() {
            if size < bytes.len() {
                return CL_INVALID_VALUE;
            }
            value.cast::<u8>().copy_from(bytes.as_ptr(), bytes.len());
        }
        if !filled.is_null() {
            filled.write(bytes.len());
        }
    }
    CL_SUCCESS
}

unsafe extern "C" fn clGetKernelInfo(
    kernel: cl_kernel,
    param_name: cl_kernel_info,
    size: usize,
    value: *mut c_void,
    filled: *mut usize,
) -> cl_int {
    // SAFETY: as above, and the same function.
    unsafe {
        if param_name != CL_KERNEL_NUM_ARGS {
            return generated::clGetKernelInfo(kernel, param_name, size, value, filled);
        }
        Played::during("clGetKernelInfo", |played| {
            played.live(Kind::Kernel, kernel as usize);
        });
        let count = ARGUMENTS.len() as cl_uint;
        give(&count.to_ne_bytes(), size, value, filled)
    }
}

unsafe extern "C" fn clGetKernelArgInfo(
    kernel: cl_kernel,
    index: cl_uint,
    param_name: cl_kernel_arg_info,
    size: usize,
    value: *mut c_void,
    filled: *mut usize,
) -> cl_int {
    let knows = Played::during("clGetKernelArgInfo", |played| {
        played.live(Kind::Kernel, kernel as usize);
        // Few do without being told to.
        played.choose(8) != 0
    });
    let Some((space, ty)) = ARGUMENTS.get(index as usize) else {
        return CL_INVALID_ARG_INDEX;
    };
    // SAFETY: as above.
    unsafe {
        match param_name {
            _ if !knows => -19,
            CL_KERNEL_ARG_ADDRESS_QUALIFIER => give(&space.to_ne_bytes(), size, value, filled),
            CL_KERNEL_ARG_TYPE_NAME => give(ty, size, value, filled),
            _ => CL_INVALID_VALUE,
        }
    }
}

unsafe extern "C" fn clSetKernelArg(
    kernel: cl_kernel,
    arg_index: cl_uint,
    arg_size: usize,
    arg_value: *const c_void,
) -> cl_int {
    // SAFETY: as above.
    Played::during("clSetKernelArg", |played| unsafe {
        played.live(Kind::Kernel, kernel as usize);
        let value = played.list(arg_value.cast::<u8>(), arg_size, true);
        let word = value.try_into().map(usize::from_ne_bytes);
        // What is an object for this argument has to be one.
        match (arg_index, word) {
            (0, Ok(object)) if object != 0 => played.live(Kind::Mem, object),
            (2, Ok(object)) => played.live(Kind::Sampler, object),
            _ => {}
        }
        played.status()
    })
}

/// Carries out a transfer.
///
/// # Safety
/// As the specification says of the functions that have these parameters.
#[allow(clippy::too_many_arguments)]
unsafe fn transfer(
    name: &'static str,
    writes: bool,
    (queue, buffer): (cl_command_queue, cl_mem),
    blocking: cl_bool,
    size: usize,
    memory: *const u8,
    (count, events): (cl_uint, *const cl_event),
    event: *mut cl_event,
) -> cl_int {
    // SAFETY: the caller promises it.
    Played::during(name, |played| unsafe {
        played.live(Kind::Queue, queue as usize);
        played.live(Kind::Mem, buffer as usize);
        for event in played.list(events, count as usize, true) {
            played.live(Kind::Event, event as usize);
        }
        let status = played.status();
        if status == CL_SUCCESS {
            let made = played.transfer(memory.cast_mut(), size, writes, blocking != 0);
            match event.is_null() {
                true => played.release(Kind::Event, made),
                false => event.write(made as cl_event),
            }
        }
        status
    })
}

unsafe extern "C" fn clEnqueueReadBuffer(
    queue: cl_command_queue,
    buffer: cl_mem,
    blocking: cl_bool,
    _: usize,
    size: usize,
    memory: *mut c_void,
    count: cl_uint,
    events: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    let name = "clEnqueueReadBuffer";
    // SAFETY: the caller's promises are the same.
    unsafe {
        transfer(
            name,
            true,
            (queue, buffer),
            blocking,
            size,
            memory.cast(),
            (count, events),
            event,
        )
    }
}

unsafe extern "C" fn clEnqueueWriteBuffer(
    queue: cl_command_queue,
    buffer: cl_mem,
    blocking: cl_bool,
    _: usize,
    size: usize,
    memory: *const c_void,
    count: cl_uint,
    events: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    let name = "clEnqueueWriteBuffer";
    // SAFETY: the caller's promises are the same; it is only read.
    unsafe {
        transfer(
            name,
            false,
            (queue, buffer),
            blocking,
            size,
            memory.cast(),
            (count, events),
            event,
        )
    }
}

/// Bytes of an image's element, whatever its format.
const ELEMENT: usize = 4;

/// Bytes of a packed box, whose corners are looked at.
///
/// # Safety
/// Each array has three elements.
unsafe fn size_of_box(arrays: [*const usize; 2], element: usize) -> usize {
    let [_, region] = arrays.map(|array| {
        // SAFETY: the caller promises it.
        Played::during("a box", |played| unsafe { played.list(array, 3, false) })
    });
    region.iter().product::<usize>() * element
}

macro_rules! box_of_buffer {
    ($name:ident, $writes:expr, $pointer:ty) => {
        unsafe extern "C" fn $name(
            queue: cl_command_queue,
            buffer: cl_mem,
            blocking: cl_bool,
            origin: *const usize,
            host_origin: *const usize,
            region: *const usize,
            _: usize,
            _: usize,
            _: usize,
            _: usize,
            memory: $pointer,
            count: cl_uint,
            events: *const cl_event,
            event: *mut cl_event,
        ) -> cl_int {
            // SAFETY: as above; it is only read if it is not written.
            unsafe {
                size_of_box([origin, host_origin], 1);
                transfer(
                    stringify!($name),
                    $writes,
                    (queue, buffer),
                    blocking,
                    size_of_box([origin, region], 1),
                    memory.cast::<u8>(),
                    (count, events),
                    event,
                )
            }
        }
    };
}
box_of_buffer!(clEnqueueReadBufferRect, true, *mut c_void);
box_of_buffer!(clEnqueueWriteBufferRect, false, *const c_void);

macro_rules! box_of_image {
    ($name:ident, $writes:expr, $pointer:ty) => {
        unsafe extern "C" fn $name(
            queue: cl_command_queue,
            image: cl_mem,
            blocking: cl_bool,
            origin: *const usize,
            region: *const usize,
            _: usize,
            _: usize,
            memory: $pointer,
            count: cl_uint,
            events: *const cl_event,
            event: *mut cl_event,
        ) -> cl_int {
            // SAFETY: as above; it is only read if it is not written.
            unsafe {
                transfer(
                    stringify!($name),
                    $writes,
                    (queue, image),
                    blocking,
                    size_of_box([origin, region], ELEMENT),
                    memory.cast::<u8>(),
                    (count, events),
                    event,
                )
            }
        }
    };
}
box_of_image!(clEnqueueReadImage, true, *mut c_void);
box_of_image!(clEnqueueWriteImage, false, *const c_void);

/// The last byte that a description says there is of an image's contents, and one more.
fn contents(format: &cl_image_format, desc: &cl_image_desc) -> usize {
    let element = image::element_size(format).unwrap_or(ELEMENT);
    let at_least_one = |number: usize| number.max(1);
    let (rows, slices) = match desc.image_type {
        CL_MEM_OBJECT_IMAGE1D | CL_MEM_OBJECT_IMAGE1D_BUFFER => (1, 1),
        CL_MEM_OBJECT_IMAGE1D_ARRAY => (1, desc.image_array_size),
        CL_MEM_OBJECT_IMAGE2D => (desc.image_height, 1),
        CL_MEM_OBJECT_IMAGE2D_ARRAY => (desc.image_height, desc.image_array_size),
        _ => (desc.image_height, desc.image_depth),
    };
    let row = desc.image_width * element;
    let row_pitch = row.max(desc.image_row_pitch);
    let slice_pitch = (row_pitch * at_least_one(rows)).max(desc.image_slice_pitch);
    let slices_before = at_least_one(slices) - 1;
    slices_before * slice_pitch + (at_least_one(rows) - 1) * row_pitch + row
}

unsafe extern "C" fn clCreateImage(
    context: cl_context,
    _: cl_mem_flags,
    image_format: *const cl_image_format,
    image_desc: *const cl_image_desc,
    host_ptr: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_mem {
    // SAFETY: as above.
    Played::during("clCreateImage", |played| unsafe {
        played.live(Kind::Context, context as usize);
        let format = played.list(image_format, 1, false)[0];
        let desc = played.list(image_desc, 1, false)[0];
        if !desc.mem_object.is_null() {
            played.live(Kind::Mem, desc.mem_object as usize);
        }
        if !host_ptr.is_null() {
            let len = contents(&format, &desc);
            played.list(host_ptr.cast::<u8>().cast_const(), len, false);
        }
        made::<_cl_mem>(played, Kind::Mem, errcode_ret)
    })
}

unsafe extern "C" fn clGetImageInfo(
    image: cl_mem,
    param_name: cl_image_info,
    size: usize,
    value: *mut c_void,
    filled: *mut usize,
) -> cl_int {
    // SAFETY: as above, and the same function.
    unsafe {
        if param_name != CL_IMAGE_ELEMENT_SIZE {
            return generated::clGetImageInfo(image, param_name, size, value, filled);
        }
        Played::during("clGetImageInfo", |played| {
            played.live(Kind::Mem, image as usize);
        });
        give(&ELEMENT.to_ne_bytes(), size, value, filled)
    }
}

unsafe extern "C" fn clGetMemObjectInfo(
    memory: cl_mem,
    param_name: cl_mem_info,
    size: usize,
    value: *mut c_void,
    filled: *mut usize,
) -> cl_int {
    // SAFETY: as above, and the same function.
    unsafe {
        match param_name {
            CL_MEM_SIZE => give(&4096usize.to_ne_bytes(), size, value, filled),
            _ => generated::clGetMemObjectInfo(memory, param_name, size, value, filled),
        }
    }
}

unsafe extern "C" fn clGetEventInfo(
    event: cl_event,
    param_name: cl_event_info,
    size: usize,
    value: *mut c_void,
    filled: *mut usize,
) -> cl_int {
    // SAFETY: as above, and the same function.
    unsafe {
        if param_name != CL_EVENT_COMMAND_EXECUTION_STATUS {
            return generated::clGetEventInfo(event, param_name, size, value, filled);
        }
        let status = Played::during("clGetEventInfo", |played| {
            played.live(Kind::Event, event as usize);
            played.execution_status(event as usize)
        });
        give(&status.to_ne_bytes(), size, value, filled)
    }
}

unsafe extern "C" fn clWaitForEvents(num_events: cl_uint, events: *const cl_event) -> cl_int {
    // SAFETY: as above.
    Played::during("clWaitForEvents", |played| unsafe {
        for event in played.list(events, num_events as usize, false) {
            played.live(Kind::Event, event as usize);
            played.complete(event as usize);
        }
        played.status()
    })
}

unsafe extern "C" fn clFinish(queue: cl_command_queue) -> cl_int {
    Played::during("clFinish", |played| {
        played.live(Kind::Queue, queue as usize);
        // Some return too early.
        if played.choose(4) != 0 {
            played.complete_all();
        }
        played.status()
    })
}

/// Calls back at once: who waits for it must not wait for ever.
unsafe extern "C" fn clSetEventCallback(
    event: cl_event,
    of: cl_int,
    function: Option<unsafe extern "C" fn(cl_event, cl_int, *mut c_void)>,
    cookie: *mut c_void,
) -> cl_int {
    // SAFETY: the same function, and what the other one was given for.
    unsafe {
        let status = generated::clSetEventCallback(event, of, function, cookie);
        if let (CL_SUCCESS, Some(function)) = (status, function) {
            function(event, of, cookie);
        }
        status
    }
}

/// As that of events.
unsafe extern "C" fn clSetMemObjectDestructorCallback(
    memory: cl_mem,
    function: Option<unsafe extern "C" fn(cl_mem, *mut c_void)>,
    cookie: *mut c_void,
) -> cl_int {
    // SAFETY: as above.
    unsafe {
        let status = generated::clSetMemObjectDestructorCallback(memory, function, cookie);
        if let (CL_SUCCESS, Some(function)) = (status, function) {
            function(memory, cookie);
        }
        status
    }
}
