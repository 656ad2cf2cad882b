// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Samplers: of the two ways to make one, the older is forwarded.

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::object::{Object, Shadow};
use crate::{input, query, registry};

/// `clCreateSamplerWithProperties`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_with_properties(
    context: cl_context,
    sampler_properties: *const cl_sampler_properties,
) -> Result<cl_sampler, cl_int> {
    registry::name(Kind::Context, context as usize)?;
    // SAFETY: the caller promises it.
    let properties = unsafe { input::properties(sampler_properties) };
    let (mut normalized, mut addressing, mut filter) = (None, None, None);
    for (name, value) in input::pairs(properties) {
        let place = match name {
            CL_SAMPLER_NORMALIZED_COORDS => &mut normalized,
            CL_SAMPLER_ADDRESSING_MODE => &mut addressing,
            CL_SAMPLER_FILTER_MODE => &mut filter,
            _ => return Err(CL_INVALID_VALUE),
        };
        let value = cl_uint::try_from(value).map_err(|_| CL_INVALID_VALUE)?;
        if place.replace(value).is_some() {
            return Err(CL_INVALID_VALUE);
        }
    }
    // SAFETY: the caller promises it.
    let sampler = unsafe {
        marshal::clCreateSampler(
            context,
            normalized.unwrap_or(CL_TRUE),
            addressing.unwrap_or(CL_ADDRESS_CLAMP),
            filter.unwrap_or(CL_FILTER_NEAREST),
        )
    }?;
    registry::remember(
        Kind::Sampler,
        sampler as usize,
        Shadow::made_with(properties),
    )?;
    Ok(sampler)
}

/// Queries that the client answers itself.
pub(crate) fn answer(sampler: &Object, name: cl_sampler_info) -> Option<Result<Vec<u8>, cl_int>> {
    match name {
        CL_SAMPLER_PROPERTIES => Some(Ok(query::properties(sampler.properties()))),
        _ => None,
    }
}
