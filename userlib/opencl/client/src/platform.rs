// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a platform says of itself: the server's words, less what is not forwarded.

use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_int, cl_platform_info};

use crate::object::Object;

/// Newest version of OpenCL that is forwarded.
const NEWEST: (u32, u32) = (1, 2);

/// Queries that the client answers itself.
pub(crate) fn answer(
    _platform: &Object,
    name: cl_platform_info,
) -> Option<Result<Vec<u8>, cl_int>> {
    match name {
        CL_PLATFORM_EXTENSIONS => Some(Ok(b"cl_khr_icd\0".to_vec())),
        CL_PLATFORM_ICD_SUFFIX_KHR => Some(Ok(b"WH\0".to_vec())),
        CL_PLATFORM_PROFILE | CL_PLATFORM_VERSION | CL_PLATFORM_NAME | CL_PLATFORM_VENDOR => None,
        _ => Some(Err(CL_INVALID_VALUE)),
    }
}

/// Edits the server's answer.
pub(crate) fn edit(_platform: &Object, name: cl_platform_info, value: Vec<u8>) -> Vec<u8> {
    match name {
        CL_PLATFORM_VERSION => limit_version("OpenCL ", value),
        _ => value,
    }
}

/// In `OpenCL 3.0 …` puts the version that is forwarded for a newer one.
pub(crate) fn limit_version(prefix: &str, value: Vec<u8>) -> Vec<u8> {
    let limited = || {
        let rest = std::str::from_utf8(&value).ok()?.strip_prefix(prefix)?;
        let end = rest.find([' ', '\0']).unwrap_or(rest.len());
        let (major, minor) = rest[..end].split_once('.')?;
        let version: (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        let (major, minor) = version.min(NEWEST);
        Some(format!("{prefix}{major}.{minor}{}", &rest[end..]).into_bytes())
    };
    limited().unwrap_or_else(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::limit_version;

    #[test]
    fn newer_versions_are_limited() {
        let limit = |text: &str| {
            String::from_utf8(limit_version("OpenCL ", text.as_bytes().to_vec())).unwrap()
        };
        assert_eq!(limit("OpenCL 3.0 PoCL 6.0\0"), "OpenCL 1.2 PoCL 6.0\0");
        assert_eq!(limit("OpenCL 1.1 x\0"), "OpenCL 1.1 x\0");
        assert_eq!(limit("OpenCL 2.0\0"), "OpenCL 1.2\0");
        assert_eq!(limit("garbage\0"), "garbage\0");
        assert_eq!(limit(""), "");
    }
}
