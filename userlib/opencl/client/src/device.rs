// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a device says of itself: the server's words, less what is not
//! forwarded. Name and driver version are the server's to the letter, since
//! programs key caches of compiled kernels on them.

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_device_id, cl_device_info, cl_int};

use crate::object::Object;
use crate::platform::limit_version;
use crate::registry;

/// Extensions of the kernel language, which need nothing of the client.
const EXTENSIONS: [&str; 9] = [
    "cl_khr_byte_addressable_store",
    "cl_khr_global_int32_base_atomics",
    "cl_khr_global_int32_extended_atomics",
    "cl_khr_local_int32_base_atomics",
    "cl_khr_local_int32_extended_atomics",
    "cl_khr_int64_base_atomics",
    "cl_khr_int64_extended_atomics",
    "cl_khr_fp16",
    "cl_khr_fp64",
];

fn number<const N: usize>(bytes: [u8; N]) -> Option<Result<Vec<u8>, cl_int>> {
    Some(Ok(bytes.to_vec()))
}

/// Queries that the client answers itself.
pub(crate) fn answer(_device: &Object, name: cl_device_info) -> Option<Result<Vec<u8>, cl_int>> {
    match name {
        // Sub-devices and linking are not forwarded, and the host's memory is not
        // the device's.
        CL_DEVICE_HOST_UNIFIED_MEMORY | CL_DEVICE_LINKER_AVAILABLE => {
            number(CL_FALSE.to_ne_bytes())
        }
        CL_DEVICE_PARTITION_MAX_SUB_DEVICES => number(1u32.to_ne_bytes()),
        CL_DEVICE_PARTITION_PROPERTIES | CL_DEVICE_PARTITION_TYPE => number(0isize.to_ne_bytes()),
        CL_DEVICE_PARTITION_AFFINITY_DOMAIN => number(0u64.to_ne_bytes()),
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

/// A root device is not reference-counted: only the handle is checked.
pub(crate) fn retain(device: cl_device_id) -> Result<(), cl_int> {
    registry::get(Kind::Device, device as usize).map(|_| ())
}

/// As [`retain`].
pub(crate) fn release(device: cl_device_id) -> Result<(), cl_int> {
    retain(device)
}
