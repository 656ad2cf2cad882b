// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests of several threads at once, with a vendor that is played.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Barrier;

use wormhole_opencl_protocol::api::{
    ClCreateCommandQueue, ClCreateContext, ClFinish, ClGetDeviceIDs, ClGetPlatformIDs,
    ClReleaseCommandQueue,
};
use wormhole_opencl_protocol::constants::CL_SUCCESS;
use wormhole_opencl_protocol::frame::Request;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::*;
use wormhole_opencl_server::api::Vendor;
use wormhole_opencl_server::{Binaries, Limits, Session};

/// Where the thread that finishes a queue and the other one meet: in the vendor's `clFinish`,
/// and before it returns.
static MEET: Barrier = Barrier::new(2);
/// References to the vendor's one queue.
static REFERENCES: AtomicI32 = AtomicI32::new(1);

/// Any pointer but null.
fn object<T>() -> *mut T {
    std::ptr::without_provenance_mut(0x1000)
}

unsafe extern "C" fn platforms(
    n: cl_uint,
    list: *mut cl_platform_id,
    count: *mut cl_uint,
) -> cl_int {
    // SAFETY: as the specification says of both.
    unsafe {
        if !count.is_null() {
            count.write(1);
        }
        if n > 0 {
            list.write(object());
        }
    }
    CL_SUCCESS
}

unsafe extern "C" fn devices(
    _: cl_platform_id,
    _: cl_device_type,
    n: cl_uint,
    list: *mut cl_device_id,
    count: *mut cl_uint,
) -> cl_int {
    // SAFETY: as the specification says, and a list of either kind holds pointers.
    unsafe { platforms(n, list.cast(), count) }
}

unsafe extern "C" fn create_context(
    _: *const cl_context_properties,
    _: cl_uint,
    _: *const cl_device_id,
    _: Option<unsafe extern "C" fn(*const std::ffi::c_char, *const c_void, usize, *mut c_void)>,
    _: *mut c_void,
    _: *mut cl_int,
) -> cl_context {
    object()
}

unsafe extern "C" fn create_queue(
    _: cl_context,
    _: cl_device_id,
    _: cl_command_queue_properties,
    _: *mut cl_int,
) -> cl_command_queue {
    object()
}

unsafe extern "C" fn retain_queue(_: cl_command_queue) -> cl_int {
    REFERENCES.fetch_add(1, Ordering::SeqCst);
    CL_SUCCESS
}

unsafe extern "C" fn release_queue(_: cl_command_queue) -> cl_int {
    REFERENCES.fetch_sub(1, Ordering::SeqCst);
    CL_SUCCESS
}

unsafe extern "C" fn finish(_: cl_command_queue) -> cl_int {
    MEET.wait();
    MEET.wait();
    assert!(REFERENCES.load(Ordering::SeqCst) > 0, "destroyed in use");
    CL_SUCCESS
}

fn request<'a, R: Request<'a>>(session: &Session, answered: bool, request: R) {
    let frame = request.frame();
    let bytes: Vec<u8> = frame
        .parts()
        .iter()
        .flat_map(|part| part.to_vec())
        .collect();
    let status = session.request(&bytes, answered).unwrap();
    assert_eq!(status.is_some(), answered);
    if let Some(status) = status {
        status.unwrap();
    }
}

/// While `clFinish` has not returned others are served, and what it uses is not destroyed.
#[test]
fn others_do_not_wait_for_a_call_that_blocks() {
    let vendor = Vendor {
        clGetPlatformIDs: Some(platforms),
        clGetDeviceIDs: Some(devices),
        clCreateContext: Some(create_context),
        clCreateCommandQueue: Some(create_queue),
        clRetainCommandQueue: Some(retain_queue),
        clReleaseCommandQueue: Some(release_queue),
        clFinish: Some(finish),
        ..Vendor::default()
    };
    let nowhere = std::path::PathBuf::from("/nonexistent");
    let session = Session::new(vendor, Binaries::new(nowhere, 0), Limits::default());
    let (platform, device) = (Handle::found(0), Handle::found(1));
    let (context, command_queue) = (Handle::made(0, 1), Handle::made(1, 1));
    request(&session, true, ClGetPlatformIDs {});
    let device_type = 1;
    request(
        &session,
        true,
        ClGetDeviceIDs {
            platform,
            device_type,
        },
    );
    let devices = vec![device];
    request(
        &session,
        true,
        ClCreateContext {
            platform,
            devices,
            new: context,
        },
    );
    let create = ClCreateCommandQueue {
        context,
        device,
        properties: 0,
        new: command_queue,
    };
    request(&session, true, create);
    std::thread::scope(|scope| {
        scope.spawn(|| request(&session, true, ClFinish { command_queue }));
        MEET.wait();
        request(&session, true, ClGetPlatformIDs {});
        request(&session, false, ClReleaseCommandQueue { command_queue });
        assert_eq!(REFERENCES.load(Ordering::SeqCst), 1, "that of the call");
        MEET.wait();
    });
    assert_eq!(REFERENCES.load(Ordering::SeqCst), 0);
}
