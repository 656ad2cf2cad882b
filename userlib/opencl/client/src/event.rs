// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events: the command that one stands for, and what is called when it comes to pass.

use std::ffi::c_void;

use wormhole_opencl_protocol::api::{ClSetEventCallback, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_event, cl_event_info, cl_int, cl_profiling_info};

use crate::api::marshal;
use crate::callback::{self, Callback, Cookie, OfEvent};
use crate::object::{Object, Shadow};
use crate::{connection, registry};

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

/// `clSetEventCallback`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn set_callback(
    event: cl_event,
    command_exec_callback_type: cl_int,
    pfn_notify: Option<OfEvent>,
    user_data: *mut c_void,
) -> Result<(), cl_int> {
    let object = registry::get(Kind::Event, event as usize)?;
    let function = pfn_notify.ok_or(CL_INVALID_VALUE)?;
    if !(CL_COMPLETE..=CL_SUBMITTED).contains(&command_exec_callback_type) {
        return Err(CL_INVALID_VALUE);
    }
    let event = object.handle();
    let callback = Callback::Event(object, function, Cookie(user_data));
    callback::register(callback, |callback| {
        let request = ClSetEventCallback {
            event,
            command_exec_callback_type,
            callback,
        };
        connection::call(&request, |_| ())
    })
}
