// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The count of references to the vendor's objects, with a vendor that is played. One test, since
//! the count is the process's.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::*;
use wormhole_opencl_server::api::Vendor;
use wormhole_opencl_server::references::{counted, held};

/// What the vendor says of a context.
static CONTEXT: AtomicU32 = AtomicU32::new(1);

unsafe extern "C" fn create_context(
    _: *const cl_context_properties,
    devices: cl_uint,
    _: *const cl_device_id,
    _: Option<unsafe extern "C" fn(*const c_char, *const c_void, usize, *mut c_void)>,
    _: *mut c_void,
    _: *mut cl_int,
) -> cl_context {
    match devices {
        0 => null_mut(),
        _ => std::ptr::without_provenance_mut(8),
    }
}

unsafe extern "C" fn context(_: cl_context) -> cl_int {
    CL_SUCCESS
}

unsafe extern "C" fn context_info(
    _: cl_context,
    name: cl_context_info,
    size: usize,
    value: *mut c_void,
    _: *mut usize,
) -> cl_int {
    assert_eq!((name, size), (CL_CONTEXT_REFERENCE_COUNT, 4));
    // SAFETY: room for a number, as was just seen.
    unsafe {
        value
            .cast::<cl_uint>()
            .write(CONTEXT.load(Ordering::Relaxed))
    };
    CL_SUCCESS
}

unsafe extern "C" fn marker(queue: cl_command_queue, _: *mut cl_event) -> cl_int {
    match queue.is_null() {
        true => CL_INVALID_COMMAND_QUEUE,
        false => CL_SUCCESS,
    }
}

unsafe extern "C" fn event(_: cl_event) -> cl_int {
    CL_SUCCESS
}

unsafe extern "C" fn kernel(_: cl_kernel) -> cl_int {
    CL_SUCCESS
}

unsafe extern "C" fn kernels(
    _: cl_program,
    _: cl_uint,
    _: *mut cl_kernel,
    _: *mut cl_uint,
) -> cl_int {
    CL_SUCCESS
}

#[test]
fn references_are_counted_where_they_are_taken() {
    let left = |expected: &str| assert_eq!(held().to_string(), expected);
    let vendor = counted(Vendor {
        clCreateContext: Some(create_context),
        clRetainContext: Some(context),
        clReleaseContext: Some(context),
        clGetContextInfo: Some(context_info),
        clEnqueueMarker: Some(marker),
        clReleaseEvent: Some(event),
        clCreateKernelsInProgram: Some(kernels),
        clReleaseKernel: Some(kernel),
        ..Vendor::default()
    });
    left("none");
    let create = vendor.clCreateContext.unwrap();
    // SAFETY: the played functions look at nothing but what is right.
    let make = |devices| unsafe { create(null(), devices, null(), None, null_mut(), null_mut()) };
    assert!(make(0).is_null());
    left("none");
    let made = make(1);
    left("1 cl_context");
    // SAFETY: as above.
    unsafe {
        vendor.clRetainContext.unwrap()(made);
        left("2 cl_context");
        let mut event = null_mut();
        let marker = vendor.clEnqueueMarker.unwrap();
        marker(null_mut(), &mut event);
        marker(std::ptr::without_provenance_mut(8), null_mut());
        left("2 cl_context");
        marker(std::ptr::without_provenance_mut(8), &mut event);
        left("2 cl_context, 1 cl_event");
        let (mut list, mut count) = ([null_mut(); 4], 3);
        let create = vendor.clCreateKernelsInProgram.unwrap();
        create(null_mut(), 0, null_mut(), &mut count);
        create(null_mut(), 4, list.as_mut_ptr(), &mut count);
        left("2 cl_context, 3 cl_kernel, 1 cl_event");
        for _ in 0..3 {
            vendor.clReleaseKernel.unwrap()(null_mut());
        }
        vendor.clReleaseContext.unwrap()(made);
        vendor.clReleaseEvent.unwrap()(event);
        left("1 cl_context");
        CONTEXT.store(3, Ordering::Relaxed);
        vendor.clReleaseContext.unwrap()(made);
        left("none; the vendor keeps 2 to the last object");
        vendor.clReleaseContext.unwrap()(made);
        left("-1 cl_context; the vendor keeps 2 to the last object");
    }
}
