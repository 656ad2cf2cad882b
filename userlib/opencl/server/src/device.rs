// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parting devices. By hand, since the client gives a name to each part, and so
//! asks first how many there will be.

use std::collections::HashSet;

use wormhole_opencl_protocol::api::{ClCreateSubDevices, ClCreateSubDevicesReply, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_device_id, cl_uint};
use wormhole_opencl_protocol::wire::Malformed;

use crate::check::{check, encode, Refusal};
use crate::session::State;

/// `clCreateSubDevices`: without names it tells how many parts there would be.
pub(crate) fn create_sub_devices(s: &mut State, m: ClCreateSubDevices) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clCreateSubDevices.ok_or(CL_INVALID_OPERATION)?;
    let device = s.objects.get(Kind::Device, m.in_device)? as cl_device_id;
    // One 0 ends the list of counts, another one the properties.
    let mut properties: Vec<isize> = m.properties.iter().map(|number| *number as isize).collect();
    properties.extend([0, 0, 0]);
    let mut num_devices: cl_uint = 0;
    let none = std::ptr::null_mut();
    // SAFETY: a live device, properties that end with 0, and a count alone.
    check(unsafe { call(device, properties.as_ptr(), 0, none, &mut num_devices) })?;
    if m.new.is_empty() {
        return Ok(encode(&ClCreateSubDevicesReply { num_devices }));
    }
    let mut different = HashSet::new();
    for name in &m.new {
        s.objects.vacant_made(*name)?;
        if !different.insert(*name) {
            return Err(Malformed::Contradiction("a name for two objects").into());
        }
    }
    if m.new.len() != num_devices as usize {
        return Err(CL_INVALID_VALUE.into());
    }
    let mut parts = vec![0usize; m.new.len()];
    // SAFETY: as above, and room for as many devices as said.
    check(unsafe {
        call(
            device,
            properties.as_ptr(),
            num_devices,
            parts.as_mut_ptr().cast(),
            &mut num_devices,
        )
    })?;
    for (name, part) in m.new.iter().zip(parts) {
        s.adopt(Kind::Device, *name, part);
    }
    Ok(encode(&ClCreateSubDevicesReply { num_devices }))
}
