// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events: the command that one stands for.

use std::ffi::c_void;

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_event, cl_event_info, cl_int, cl_profiling_info};

use crate::api::marshal;
use crate::object::{Object, Shadow};
use crate::registry;

/// Queries that the client answers itself.
pub(crate) fn answer(event: &Object, name: cl_event_info) -> Option<Result<Vec<u8>, cl_int>> {
    match (name, event.shadow()) {
        (CL_EVENT_COMMAND_TYPE, Some(Shadow::Event { command, .. })) => {
            command.map(|command| Ok(command.to_ne_bytes().to_vec()))
        }
        _ => None,
    }
}

/// `clGetEventProfilingInfo`: a command that goes in several pieces begins with the first
/// and ends with the last.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn profiling(
    event: cl_event,
    param_name: cl_profiling_info,
    param_value_size: usize,
    param_value: *mut c_void,
    param_value_size_ret: *mut usize,
) -> Result<(), cl_int> {
    let object = registry::get(Kind::Event, event as usize)?;
    let asked = match (param_name, object.shadow()) {
        (
            CL_PROFILING_COMMAND_QUEUED | CL_PROFILING_COMMAND_SUBMIT | CL_PROFILING_COMMAND_START,
            Some(Shadow::Event {
                first: Some(first), ..
            }),
        ) => first.address() as cl_event,
        _ => event,
    };
    // SAFETY: the caller promises it.
    unsafe {
        marshal::clGetEventProfilingInfo(
            asked,
            param_name,
            param_value_size,
            param_value,
            param_value_size_ret,
        )
    }
}
