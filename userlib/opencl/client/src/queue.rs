// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queues: what flushing and finishing mean to the connection.

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{
    CL_INVALID_EVENT, CL_INVALID_VALUE, CL_QUEUE_PROPERTIES,
};
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::{connection, input, registry};

/// `clCreateCommandQueueWithProperties`, for programs that were made for OpenCL 2.0 and later:
/// of its properties those that `clCreateCommandQueue` has, too.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_with_properties(
    context: cl_context,
    device: cl_device_id,
    properties: *const cl_queue_properties,
) -> Result<cl_command_queue, cl_int> {
    let mut bits = 0;
    let mut list = properties;
    // SAFETY: the caller promises null or a list of pairs that ends with 0.
    while let Some((name, value)) = unsafe { input::property(list) } {
        if name != CL_QUEUE_PROPERTIES.into() {
            return Err(CL_INVALID_VALUE);
        }
        bits = value;
        // SAFETY: it was no end.
        list = unsafe { list.add(2) };
    }
    // SAFETY: the caller promises it.
    unsafe { marshal::clCreateCommandQueue(context, device, bits) }
}

/// `clFlush`: also sends what the connection keeps back.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn flush(command_queue: cl_command_queue) -> Result<(), cl_int> {
    // SAFETY: the caller promises it.
    unsafe { marshal::clFlush(command_queue) }?;
    connection::flush()
}

/// `clFinish`: every read of the queue has landed when it returns.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn finish(command_queue: cl_command_queue) -> Result<(), cl_int> {
    let queue = registry::name(Kind::Queue, command_queue as usize)?;
    // Other threads may post more meanwhile.
    let last = connection::last_read()?;
    // SAFETY: the caller promises it.
    unsafe { marshal::clFinish(command_queue) }?;
    connection::check_landed(queue, last)
}

/// `clEnqueueWaitForEvents`: a barrier, which is what later versions call it.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn wait_for_events(
    command_queue: cl_command_queue,
    num_events: cl_uint,
    event_list: *const cl_event,
) -> Result<(), cl_int> {
    registry::get(Kind::Queue, command_queue as usize)?;
    // SAFETY: the caller promises `num_events` events.
    let events = unsafe { input::array(event_list, num_events as usize, CL_INVALID_VALUE) }?;
    input::handles(Kind::Event, events, CL_INVALID_EVENT)?;
    // SAFETY: checked above.
    unsafe {
        marshal::clEnqueueBarrierWithWaitList(
            command_queue,
            num_events,
            event_list,
            std::ptr::null_mut(),
        )
    }
}
