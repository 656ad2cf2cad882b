// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a platform says of itself: the server's words, less what is not forwarded.

use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_int, cl_platform_id, cl_platform_info};

use crate::api::marshal;
use crate::object::Object;
use crate::{query, version};

/// The only extension: it is of the platform, and so is the client's.
const EXTENSION: &str = "cl_khr_icd";

/// Queries that the client answers itself.
pub(crate) fn answer(platform: &Object, name: cl_platform_info) -> Option<Result<Vec<u8>, cl_int>> {
    match name {
        CL_PLATFORM_EXTENSIONS => Some(Ok(format!("{EXTENSION}\0").into_bytes())),
        CL_PLATFORM_ICD_SUFFIX_KHR => Some(Ok(b"WH\0".to_vec())),
        CL_PLATFORM_PROFILE | CL_PLATFORM_VERSION | CL_PLATFORM_NAME | CL_PLATFORM_VENDOR => None,
        CL_PLATFORM_HOST_TIMER_RESOLUTION
        | CL_PLATFORM_NUMERIC_VERSION
        | CL_PLATFORM_EXTENSIONS_WITH_VERSION => match is_newest(platform) {
            Ok(true) if name == CL_PLATFORM_EXTENSIONS_WITH_VERSION => {
                Some(Ok(version::named(EXTENSION, (1, 0))))
            }
            Ok(true) => None,
            Ok(false) => Some(Err(CL_INVALID_VALUE)),
            Err(status) => Some(Err(status)),
        },
        _ => Some(Err(CL_INVALID_VALUE)),
    }
}

/// Whether a platform is reported to be of the newest version.
fn is_newest(platform: &Object) -> Result<bool, cl_int> {
    let platform = platform.address() as cl_platform_id;
    // SAFETY: room as said.
    let version = query::value(|size, value, filled| unsafe {
        marshal::clGetPlatformInfo(platform, CL_PLATFORM_VERSION, size, value, filled)
    })?;
    Ok(version::is_newest(&version))
}

/// Edits the server's answer.
pub(crate) fn edit(_platform: &Object, name: cl_platform_info, value: Vec<u8>) -> Vec<u8> {
    match name {
        CL_PLATFORM_VERSION => version::limit("OpenCL ", value),
        CL_PLATFORM_NUMERIC_VERSION => version::limit_number(value),
        _ => value,
    }
}
