// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels: what their arguments are decides what a client may set them to.

use std::ffi::c_void;

use wormhole_opencl_protocol::api::{
    ClCreateKernel, ClCreateKernelReply, ClSetKernelArg, ClSetKernelArgReply, Kind,
};
use wormhole_opencl_protocol::argument::ArgKind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::{cl_kernel, cl_program, cl_uint};

use crate::api::Vendor;
use crate::check::{c_string, check, check_made, encode, native_size, Aligned, Refusal};
use crate::query;
use crate::session::State;

/// `clCreateKernel`: replies what the arguments are.
pub(crate) fn create(s: &mut State, m: ClCreateKernel<'_>) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clCreateKernel.ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant_made(m.new)?;
    let program = s.objects.get(Kind::Program, m.program)? as cl_program;
    let name = c_string(m.kernel_name, "")?;
    let mut status = CL_SUCCESS;
    // SAFETY: a live program and a null-terminated name.
    let kernel = unsafe { call(program, name.as_ptr(), &mut status) };
    check_made(status, kernel.is_null())?;
    s.adopt(Kind::Kernel, m.new, kernel as usize);
    let args = match kinds(&s.vendor, kernel) {
        Ok(args) => args,
        Err(refusal) => {
            s.release(Kind::Kernel, m.new);
            return Err(refusal);
        }
    };
    s.args.insert(m.new, args.clone());
    Ok(encode(&ClCreateKernelReply { args }))
}

/// More arguments than a kernel has.
const MAX_ARGS: cl_uint = 4096;

fn kinds(vendor: &Vendor, kernel: cl_kernel) -> Result<Vec<ArgKind>, Refusal> {
    let call = vendor.clGetKernelInfo.ok_or(CL_INVALID_OPERATION)?;
    // SAFETY: a live kernel, and room as said.
    let count = query::info(|size, value, filled| unsafe {
        call(kernel, CL_KERNEL_NUM_ARGS, size, value, filled)
    })?;
    let count = number(&count).ok_or(CL_OUT_OF_RESOURCES)?.min(MAX_ARGS);
    Ok((0..count)
        .map(|index| kind(vendor, kernel, index))
        .collect())
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

fn kind(vendor: &Vendor, kernel: cl_kernel, index: cl_uint) -> ArgKind {
    let Some(call) = vendor.clGetKernelArgInfo else {
        return ArgKind::Unknown;
    };
    let ask = |name| {
        // SAFETY: a live kernel, and room as said.
        query::info(|size, value, filled| unsafe { call(kernel, index, name, size, value, filled) })
            .ok()
    };
    let space = ask(CL_KERNEL_ARG_ADDRESS_QUALIFIER).and_then(|value| number(&value));
    let (Some(space), Some(ty)) = (space, ask(CL_KERNEL_ARG_TYPE_NAME)) else {
        return ArgKind::Unknown;
    };
    let ty = String::from_utf8_lossy(&ty);
    kind_of(space, ty.trim_end_matches('\0').trim())
}

fn kind_of(space: cl_uint, ty: &str) -> ArgKind {
    match space {
        CL_KERNEL_ARG_ADDRESS_LOCAL => ArgKind::Local,
        CL_KERNEL_ARG_ADDRESS_GLOBAL | CL_KERNEL_ARG_ADDRESS_CONSTANT => ArgKind::Memory,
        _ if ty.ends_with('*') || ty.starts_with("image") || ty.starts_with("pipe") => {
            ArgKind::Memory
        }
        _ if ty == "sampler_t" => ArgKind::Sampler,
        _ => ArgKind::Value(size_of_type(ty)),
    }
}

/// Size of a built-in type in bytes; 0 for any other, and for vectors of three, of which
/// some vendors take the elements alone.
fn size_of_type(ty: &str) -> u32 {
    let (name, width) = match ty.find(|c: char| c.is_ascii_digit()) {
        None => (ty, 1),
        Some(at) => match &ty[at..] {
            "2" => (&ty[..at], 2),
            "4" => (&ty[..at], 4),
            "8" => (&ty[..at], 8),
            "16" => (&ty[..at], 16),
            _ => return 0,
        },
    };
    let one = match name {
        "char" | "uchar" => 1,
        "short" | "ushort" | "half" => 2,
        "int" | "uint" | "float" => 4,
        "long" | "ulong" | "double" => 8,
        _ => 0,
    };
    one * width
}

/// `clSetKernelArg`.
pub(crate) fn set_arg(s: &mut State, m: ClSetKernelArg<'_>) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clSetKernelArg.ok_or(CL_INVALID_OPERATION)?;
    let kernel = s.objects.get(Kind::Kernel, m.kernel)? as cl_kernel;
    let kind = s.args.get(&m.kernel).ok_or(CL_INVALID_KERNEL)?;
    let kind = kind.get(m.arg_index as usize).ok_or(CL_INVALID_ARG_INDEX)?;
    let pointer_size = size_of::<usize>() as u64;
    // The vendor takes a pointer's bits on trust, so none may come from the client.
    let object = match (kind, m.object.is_null(), m.value) {
        (ArgKind::Memory | ArgKind::Unknown, false, None) => {
            Some(s.objects.get(Kind::Mem, m.object)?)
        }
        (ArgKind::Sampler, false, None) => Some(s.objects.get(Kind::Sampler, m.object)?),
        (ArgKind::Memory | ArgKind::Local, true, None) => None,
        (ArgKind::Value(_), true, Some(_)) => None,
        (ArgKind::Unknown, true, None) => None,
        (ArgKind::Unknown, true, Some(_)) if m.arg_size != pointer_size => None,
        _ => return Err(CL_INVALID_ARG_VALUE.into()),
    };
    let (size, value) = match (&object, m.value) {
        (Some(_), _) if m.arg_size != pointer_size => return Err(CL_INVALID_ARG_SIZE.into()),
        (Some(_), _) => (size_of::<usize>(), None),
        (None, Some(value)) if value.len() as u64 == m.arg_size => {
            (value.len(), Some(Aligned::new(value)))
        }
        (None, Some(_)) => return Err(CL_INVALID_ARG_SIZE.into()),
        (None, None) => (native_size(m.arg_size)?, None),
    };
    let pointer: *const c_void = match (&object, &value) {
        (Some(object), _) => std::ptr::from_ref(object).cast(),
        (None, Some(value)) => value.as_ptr().cast(),
        (None, None) => std::ptr::null(),
    };
    // SAFETY: `size` bytes at the pointer, or null; a pointer-sized value is
    // one of our own objects unless the argument is a number.
    check(unsafe { call(kernel, m.arg_index, size, pointer) })?;
    Ok(encode(&ClSetKernelArgReply {}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_arguments() {
        let private = CL_KERNEL_ARG_ADDRESS_PRIVATE;
        assert_eq!(
            kind_of(CL_KERNEL_ARG_ADDRESS_GLOBAL, "float*"),
            ArgKind::Memory
        );
        assert_eq!(
            kind_of(CL_KERNEL_ARG_ADDRESS_CONSTANT, "int*"),
            ArgKind::Memory
        );
        assert_eq!(kind_of(CL_KERNEL_ARG_ADDRESS_LOCAL, "int*"), ArgKind::Local);
        assert_eq!(kind_of(private, "float"), ArgKind::Value(4));
        assert_eq!(kind_of(private, "double16"), ArgKind::Value(128));
        assert_eq!(kind_of(private, "uchar3"), ArgKind::Value(0));
        assert_eq!(kind_of(private, "struct point"), ArgKind::Value(0));
        assert_eq!(kind_of(private, "float5"), ArgKind::Value(0));
        assert_eq!(kind_of(private, "image2d_t"), ArgKind::Memory);
        assert_eq!(kind_of(private, "sampler_t"), ArgKind::Sampler);
        assert_eq!(kind_of(private, "float*"), ArgKind::Memory);
    }
}
