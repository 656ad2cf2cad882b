// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What there is to serve, for the log.

use wormhole_opencl_protocol::constants::CL_PLATFORM_NAME;
use wormhole_opencl_protocol::types::cl_platform_id;

use crate::api::Vendor;
use crate::query;

/// Names of the vendor's platforms; `None` if there are none.
pub fn platform_names(vendor: &Vendor) -> Option<Vec<String>> {
    let (list, info) = (vendor.clGetPlatformIDs?, vendor.clGetPlatformInfo?);
    // SAFETY: room as said.
    let platforms = query::objects(|max, list_at, count| unsafe { list(max, list_at, count) });
    let platforms = platforms.ok().filter(|platforms| !platforms.is_empty())?;
    let name = |platform: &usize| {
        let platform = *platform as cl_platform_id;
        // SAFETY: a live platform, and room as said.
        let value = query::info(|size, value, filled| unsafe {
            info(platform, CL_PLATFORM_NAME, size, value, filled)
        });
        let value = value.unwrap_or_default();
        String::from_utf8_lossy(&value)
            .trim_end_matches('\0')
            .to_owned()
    };
    Some(platforms.iter().map(name).collect())
}
