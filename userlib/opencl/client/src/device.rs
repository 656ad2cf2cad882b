// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a device says of itself: the server's words, less what is not
//! forwarded. Name and driver version are the server's to the letter, since
//! programs key caches of compiled kernels on them.

use wormhole_opencl_protocol::api::{ClCreateSubDevices, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::*;

use crate::connection;
use crate::object::Object;
use crate::platform::limit_version;
use crate::registry::{self, New};

/// Extensions of the kernel language, which need nothing of the client.
const EXTENSIONS: [&str; 10] = [
    "cl_khr_byte_addressable_store",
    "cl_khr_global_int32_base_atomics",
    "cl_khr_global_int32_extended_atomics",
    "cl_khr_local_int32_base_atomics",
    "cl_khr_local_int32_extended_atomics",
    "cl_khr_int64_base_atomics",
    "cl_khr_int64_extended_atomics",
    "cl_khr_3d_image_writes",
    "cl_khr_fp16",
    "cl_khr_fp64",
];

fn number<const N: usize>(bytes: [u8; N]) -> Option<Result<Vec<u8>, cl_int>> {
    Some(Ok(bytes.to_vec()))
}

/// Queries that the client answers itself.
pub(crate) fn answer(_device: &Object, name: cl_device_info) -> Option<Result<Vec<u8>, cl_int>> {
    match name {
        // The host's memory is not the device's.
        CL_DEVICE_HOST_UNIFIED_MEMORY => number(CL_FALSE.to_ne_bytes()),
        // Native kernels are not forwarded.
        CL_DEVICE_EXECUTION_CAPABILITIES => number(CL_EXEC_KERNEL.to_ne_bytes()),
        CL_DEVICE_TYPE..=CL_DEVICE_PRINTF_BUFFER_SIZE => None,
        _ => Some(Err(CL_INVALID_VALUE)),
    }
}

/// Edits the server's answer.
pub(crate) fn edit(_device: &Object, name: cl_device_info, value: Vec<u8>) -> Vec<u8> {
    match name {
        CL_DEVICE_VERSION => limit_version("OpenCL ", value),
        CL_DEVICE_OPENCL_C_VERSION => limit_version("OpenCL C ", value),
        CL_DEVICE_EXTENSIONS => {
            let text = String::from_utf8_lossy(&value);
            let kept: Vec<_> = text
                .trim_end_matches('\0')
                .split_whitespace()
                .filter(|extension| EXTENSIONS.contains(extension))
                .collect();
            let mut value = kept.join(" ").into_bytes();
            value.push(0);
            value
        }
        _ => value,
    }
}

/// More numbers than a way to part a device has.
const MAX_PROPERTIES: usize = 4096;

/// How a device is to be parted, without the terminator.
///
/// # Safety
/// `list` is null or ends with 0.
unsafe fn properties(list: *const cl_device_partition_property) -> Result<Vec<i64>, cl_int> {
    if list.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    let mut properties = Vec::new();
    while properties.len() < MAX_PROPERTIES {
        // SAFETY: no terminator was met before.
        match unsafe { list.add(properties.len()).read() } {
            0 => return Ok(properties),
            property => properties.push(property as i64),
        }
    }
    Err(CL_INVALID_VALUE)
}

/// `clCreateSubDevices`. By hand, since how many objects it makes is asked first.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_sub_devices(
    in_device: cl_device_id,
    list: *const cl_device_partition_property,
    num_devices: cl_uint,
    out_devices: *mut cl_device_id,
    num_devices_ret: *mut cl_uint,
) -> Result<(), cl_int> {
    let device = registry::get(Kind::Device, in_device as usize)?;
    // SAFETY: the caller promises it.
    let properties = unsafe { properties(list) }?;
    if (num_devices == 0) != out_devices.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    let request = |new| ClCreateSubDevices {
        in_device: device.handle(),
        properties: properties.clone(),
        new,
    };
    let count = connection::call(&request(Vec::new()), |reply| reply.num_devices)?;
    if !out_devices.is_null() {
        if num_devices < count {
            return Err(CL_INVALID_VALUE);
        }
        let made: Vec<New> = (0..count)
            .map(|_| New::named(Kind::Device, vec![device.clone()]))
            .collect::<Result<_, _>>()?;
        let names = made.iter().map(New::handle).collect();
        connection::call(&request(names), |_| ())?;
        for (number, part) in made.into_iter().enumerate() {
            // SAFETY: the caller promises room for `num_devices`, which are enough.
            unsafe {
                out_devices
                    .add(number)
                    .write(part.publish() as cl_device_id)
            };
        }
    }
    if !num_devices_ret.is_null() {
        // SAFETY: the caller promises it.
        unsafe { num_devices_ret.write(count) };
    }
    Ok(())
}
