// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a device says of itself: the server's words, less what is not
//! forwarded. Name and driver version are the server's to the letter, since
//! programs key caches of compiled kernels on them.

use wormhole_opencl_protocol::api::{ClCreateSubDevices, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::object::Object;
use crate::registry::{self, New};
use crate::{connection, query, version};

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

/// Features of OpenCL C 3.0 that need nothing of the client. Those of pipes and of queues on the
/// device do, and the others are of extensions.
const FEATURES: [&str; 13] = [
    "__opencl_c_3d_image_writes",
    "__opencl_c_atomic_order_acq_rel",
    "__opencl_c_atomic_order_seq_cst",
    "__opencl_c_atomic_scope_device",
    "__opencl_c_atomic_scope_all_devices",
    "__opencl_c_fp64",
    "__opencl_c_generic_address_space",
    "__opencl_c_images",
    "__opencl_c_int64",
    "__opencl_c_program_scope_global_variables",
    "__opencl_c_read_write_images",
    "__opencl_c_subgroups",
    "__opencl_c_work_group_collective_functions",
];

fn number<const N: usize>(bytes: [u8; N]) -> Option<Result<Vec<u8>, cl_int>> {
    Some(Ok(bytes.to_vec()))
}

/// Queries that the client answers itself.
pub(crate) fn answer(device: &Object, name: cl_device_info) -> Option<Result<Vec<u8>, cl_int>> {
    match name {
        // The host's memory is not the device's.
        CL_DEVICE_HOST_UNIFIED_MEMORY => number(CL_FALSE.to_ne_bytes()),
        // Native kernels are not forwarded.
        CL_DEVICE_EXECUTION_CAPABILITIES => number(CL_EXEC_KERNEL.to_ne_bytes()),
        CL_DEVICE_TYPE..=CL_DEVICE_PRINTF_BUFFER_SIZE => None,
        // What came after OpenCL 1.2. Between these are queries of extensions.
        CL_DEVICE_IMAGE_PITCH_ALIGNMENT..=CL_DEVICE_NUMERIC_VERSION
        | CL_DEVICE_EXTENSIONS_WITH_VERSION..=CL_DEVICE_GENERIC_ADDRESS_SPACE_SUPPORT
        | CL_DEVICE_OPENCL_C_FEATURES..=CL_DEVICE_LATEST_CONFORMANCE_VERSION_PASSED => {
            match newest(device) {
                Ok(true) => None,
                Ok(false) => Some(Err(CL_INVALID_VALUE)),
                Err(status) => Some(Err(status)),
            }
        }
        _ => Some(Err(CL_INVALID_VALUE)),
    }
}

/// Whether a device is reported to be of the newest version.
fn newest(device: &Object) -> Result<bool, cl_int> {
    let device = device.address() as cl_device_id;
    // SAFETY: room as said.
    let version = query::value(|size, value, filled| unsafe {
        marshal::clGetDeviceInfo(device, CL_DEVICE_VERSION, size, value, filled)
    })?;
    Ok(version::is_newest(&version))
}

/// Whether functions that are newer than OpenCL 1.2 are there for an object: the server's library
/// need not have them for devices of an older version. If it cannot be asked, they say why.
pub(crate) fn is_newest(object: &Object) -> bool {
    let mut device = object;
    while device.kind() != Kind::Device {
        match device.parent() {
            Some(above) => device = above,
            None => return false,
        }
    }
    newest(device).unwrap_or(true)
}

/// Edits the server's answer.
pub(crate) fn edit(_device: &Object, name: cl_device_info, value: Vec<u8>) -> Vec<u8> {
    let is_forwarded = |extension: &str| EXTENSIONS.contains(&extension);
    match name {
        CL_DEVICE_VERSION => version::limit("OpenCL ", value),
        CL_DEVICE_OPENCL_C_VERSION => version::limit("OpenCL C ", value),
        CL_DEVICE_NUMERIC_VERSION => version::limit_number(value),
        CL_DEVICE_OPENCL_C_ALL_VERSIONS => {
            version::keep(&value, |_, version| version::is_reported(version))
        }
        CL_DEVICE_OPENCL_C_FEATURES => {
            version::keep(&value, |feature, _| FEATURES.contains(&feature))
        }
        CL_DEVICE_EXTENSIONS => {
            let text = String::from_utf8_lossy(&value);
            let kept: Vec<_> = text
                .trim_end_matches('\0')
                .split_whitespace()
                .filter(|extension| is_forwarded(extension))
                .collect();
            let mut value = kept.join(" ").into_bytes();
            value.push(0);
            value
        }
        CL_DEVICE_EXTENSIONS_WITH_VERSION => {
            version::keep(&value, |extension, _| is_forwarded(extension))
        }
        // Features that are optional and not forwarded: no number of them is other than 0. How
        // long it is the server says.
        CL_DEVICE_SVM_CAPABILITIES
        | CL_DEVICE_PIPE_SUPPORT
        | CL_DEVICE_MAX_PIPE_ARGS
        | CL_DEVICE_PIPE_MAX_ACTIVE_RESERVATIONS
        | CL_DEVICE_PIPE_MAX_PACKET_SIZE
        | CL_DEVICE_DEVICE_ENQUEUE_CAPABILITIES
        | CL_DEVICE_QUEUE_ON_DEVICE_PROPERTIES
        | CL_DEVICE_QUEUE_ON_DEVICE_PREFERRED_SIZE
        | CL_DEVICE_QUEUE_ON_DEVICE_MAX_SIZE
        | CL_DEVICE_MAX_ON_DEVICE_QUEUES
        | CL_DEVICE_MAX_ON_DEVICE_EVENTS
        | CL_DEVICE_IMAGE_PITCH_ALIGNMENT
        | CL_DEVICE_IMAGE_BASE_ADDRESS_ALIGNMENT => vec![0; value.len()],
        // The server's library may have passed one, this one has not.
        CL_DEVICE_LATEST_CONFORMANCE_VERSION_PASSED => b"v0000-01-01-00\0".to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_forwarded_is_not_reported() {
        let new = New::named(Kind::Device, Vec::new()).unwrap();
        let edit = |name, value: &[u8]| edit(new.object(), name, value.to_vec());
        for (name, listed, kept) in [
            (
                CL_DEVICE_OPENCL_C_FEATURES,
                ["__opencl_c_pipes", "__opencl_c_images", "__opencl_c_ext_x"],
                "__opencl_c_images",
            ),
            (
                CL_DEVICE_EXTENSIONS_WITH_VERSION,
                ["cl_khr_fp16", "cl_khr_command_buffer", "cl_khr_fp"],
                "cl_khr_fp16",
            ),
        ] {
            let listed = listed.map(|name| version::named(name, (3, 0))).concat();
            assert_eq!(edit(name, &listed), version::named(kept, (3, 0)));
        }
        assert_eq!(
            edit(CL_DEVICE_EXTENSIONS, b"cl_khr_gl_sharing cl_khr_fp64\0"),
            b"cl_khr_fp64\0"
        );
        let [before, between] = [(1, 2), (2, 0)].map(|version| version::named("OpenCL C", version));
        let all = [&before[..], &between].concat();
        assert_eq!(edit(CL_DEVICE_OPENCL_C_ALL_VERSIONS, &all), before);
        assert_eq!(edit(CL_DEVICE_SVM_CAPABILITIES, &[3; 8]), [0; 8]);
        assert_eq!(edit(CL_DEVICE_PIPE_SUPPORT, &[1, 0, 0, 0]), [0; 4]);
        assert_eq!(edit(CL_DEVICE_MAX_ON_DEVICE_QUEUES, &[1; 4]), [0; 4]);
    }
}
