// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events: the command that one stands for.

use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_event_info, cl_int};

use crate::object::{Object, Shadow};

/// Queries that the client answers itself.
pub(crate) fn answer(event: &Object, name: cl_event_info) -> Option<Result<Vec<u8>, cl_int>> {
    match (name, event.shadow()) {
        (CL_EVENT_COMMAND_TYPE, Some(Shadow::Event { command })) => {
            Some(Ok(command.to_ne_bytes().to_vec()))
        }
        _ => None,
    }
}
