// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Contexts: of the properties, only the platform travels.

use wormhole_opencl_protocol::api::{ClCreateContext, ClCreateContextReply, Kind};
use wormhole_opencl_protocol::constants::*;

use crate::check::{check_made, encode, Refusal};
use crate::session::State;

/// `clCreateContext`.
pub(crate) fn create(s: &mut State, m: ClCreateContext) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clCreateContext.ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant_made(m.new)?;
    let platform = s.objects.get_optional(Kind::Platform, m.platform)?;
    let devices = s
        .objects
        .get_all(Kind::Device, &m.devices, CL_INVALID_DEVICE)?;
    let properties = [CL_CONTEXT_PLATFORM, platform as isize, 0];
    let properties = match platform {
        0 => std::ptr::null(),
        _ => properties.as_ptr(),
    };
    let mut status = CL_SUCCESS;
    // SAFETY: the properties end with 0, the devices are live and as many as said.
    let made = unsafe {
        call(
            properties,
            devices.len() as u32,
            devices.as_ptr().cast(),
            None,
            std::ptr::null_mut(),
            &mut status,
        )
    };
    check_made(status, made.is_null())?;
    s.adopt(Kind::Context, m.new, made as usize);
    Ok(encode(&ClCreateContextReply {}))
}
