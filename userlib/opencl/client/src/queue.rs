// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queues: how they are made, and what flushing and finishing mean to the connection.

use wormhole_opencl_protocol::api::{ClFinish, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::object::{Object, Shadow};
use crate::{connection, input, query, registry};

/// `clCreateCommandQueueWithProperties`: of its properties those that `clCreateCommandQueue` has,
/// too. There are no queues on the device.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_with_properties(
    context: cl_context,
    device: cl_device_id,
    properties: *const cl_queue_properties,
) -> Result<cl_command_queue, cl_int> {
    registry::name(Kind::Context, context as usize)?;
    registry::name(Kind::Device, device as usize)?;
    // SAFETY: the caller promises it.
    let properties = unsafe { input::properties(properties) };
    let (mut bits, mut size) = (None, None);
    for (name, value) in input::pairs(properties) {
        match name {
            CL_QUEUE_PROPERTIES if bits.is_none() => bits = Some(value),
            CL_QUEUE_SIZE if size.is_none() => size = Some(value),
            _ => return Err(CL_INVALID_VALUE),
        }
    }
    let bits = bits.unwrap_or(0);
    if bits & CL_QUEUE_ON_DEVICE != 0 {
        return Err(CL_INVALID_QUEUE_PROPERTIES);
    }
    // It is that of a queue on the device.
    if size.is_some() {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises it.
    let queue = unsafe { marshal::clCreateCommandQueue(context, device, bits) }?;
    registry::remember(Kind::Queue, queue as usize, Shadow::made_with(properties))?;
    Ok(queue)
}

/// Queries that the client answers itself.
pub(crate) fn answer(
    queue: &Object,
    name: cl_command_queue_info,
) -> Option<Result<Vec<u8>, cl_int>> {
    match name {
        CL_QUEUE_CONTEXT | CL_QUEUE_DEVICE | CL_QUEUE_PROPERTIES => None,
        CL_QUEUE_PROPERTIES_ARRAY => Some(Ok(query::properties(queue.properties()))),
        // No queue is on the device (OpenCL 3.0, appendix H).
        CL_QUEUE_SIZE => Some(Err(CL_INVALID_COMMAND_QUEUE)),
        CL_QUEUE_DEVICE_DEFAULT => Some(Ok(0usize.to_ne_bytes().to_vec())),
        _ => Some(Err(CL_INVALID_VALUE)),
    }
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
pub(crate) fn finish(command_queue: cl_command_queue) -> Result<(), cl_int> {
    let queue = registry::name(Kind::Queue, command_queue as usize)?;
    // Other threads may post more meanwhile.
    let last = connection::last_awaited()?;
    let request = ClFinish {
        command_queue: queue,
    };
    connection::call(&request, |_| ())?;
    match last {
        Some(last) => connection::check_landed(queue, last),
        None => Ok(()),
    }
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
