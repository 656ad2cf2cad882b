// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels: what their arguments are is asked once, so that setting one needs
//! no answer.

use std::ffi::{c_char, c_void};

use wormhole_opencl_protocol::api::{ClCreateKernel, ClSetKernelArg, Kind};
use wormhole_opencl_protocol::argument::ArgKind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::object::{Object, Shadow};
use crate::registry::{self, New};
use crate::{connection, input, query};
use std::sync::Arc;

fn make(program: &Arc<Object>, kernel_name: &[u8]) -> Result<cl_kernel, cl_int> {
    let new = New::named(Kind::Kernel, vec![program.clone()])?;
    let request = ClCreateKernel {
        program: program.handle(),
        kernel_name,
        new: new.handle(),
    };
    let args = connection::call(&request, |reply| reply.args)?;
    new.object().set_shadow(Shadow::Kernel { args });
    Ok(new.publish() as cl_kernel)
}

/// `clCreateKernel`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create(
    program: cl_program,
    kernel_name: *const c_char,
) -> Result<cl_kernel, cl_int> {
    let program = registry::get(Kind::Program, program as usize)?;
    // SAFETY: the caller promises it.
    let name = unsafe { input::string(kernel_name, CL_INVALID_VALUE) }?;
    make(&program, name)
}

/// `clCreateKernelsInProgram`: one kernel for each of the program's names.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_all(
    program: cl_program,
    num_kernels: cl_uint,
    kernels: *mut cl_kernel,
    num_kernels_ret: *mut cl_uint,
) -> Result<(), cl_int> {
    let object = registry::get(Kind::Program, program as usize)?;
    let mut size = 0;
    let none = std::ptr::null_mut();
    // SAFETY: a size, and no value.
    unsafe { marshal::clGetProgramInfo(program, CL_PROGRAM_KERNEL_NAMES, 0, none, &mut size) }?;
    let mut names = vec![0u8; size];
    let value = names.as_mut_ptr().cast();
    // SAFETY: room for `size` bytes.
    unsafe { marshal::clGetProgramInfo(program, CL_PROGRAM_KERNEL_NAMES, size, value, &mut size) }?;
    names.truncate(size);
    let names: Vec<_> = names
        .split(|byte| matches!(byte, b';' | 0))
        .filter(|name| !name.is_empty())
        .collect();
    if !kernels.is_null() && (num_kernels as usize) < names.len() {
        return Err(CL_INVALID_VALUE);
    }
    let mut made = Vec::with_capacity(names.len());
    if !kernels.is_null() {
        for name in &names {
            match make(&object, name) {
                Ok(kernel) => made.push(kernel),
                Err(status) => {
                    for kernel in made {
                        // Just made, so live.
                        let _ = registry::release(Kind::Kernel, kernel as usize);
                    }
                    return Err(status);
                }
            }
        }
    }
    if !num_kernels_ret.is_null() {
        // SAFETY: the caller promises it.
        unsafe { num_kernels_ret.write(names.len() as cl_uint) };
    }
    // SAFETY: the caller promises room for `num_kernels` kernels.
    unsafe { query::give_list(&made, num_kernels, kernels, std::ptr::null_mut()) }
}

/// `clSetKernelArg`: checked here, then posted.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn set_arg(
    kernel: cl_kernel,
    arg_index: cl_uint,
    arg_size: usize,
    arg_value: *const c_void,
) -> Result<(), cl_int> {
    let kernel = registry::get(Kind::Kernel, kernel as usize)?;
    let Some(Shadow::Kernel { args }) = kernel.shadow() else {
        return Err(CL_INVALID_KERNEL);
    };
    let kind = args.get(arg_index as usize).ok_or(CL_INVALID_ARG_INDEX)?;
    // SAFETY: the caller promises `arg_size` bytes, or null.
    let value = unsafe { input::bytes(arg_value.cast(), arg_size, 0) }.ok();
    let word = || {
        let bytes: Option<[u8; size_of::<usize>()]> = value.and_then(|v| v.try_into().ok());
        bytes.map(usize::from_ne_bytes)
    };
    let (object, value) = match kind {
        ArgKind::Memory | ArgKind::Sampler if arg_size != size_of::<usize>() => {
            return Err(CL_INVALID_ARG_SIZE)
        }
        ArgKind::Memory => match word() {
            None | Some(0) => (Handle::NULL, None),
            Some(memory) => (registry::get(Kind::Mem, memory)?.handle(), None),
        },
        ArgKind::Sampler => {
            let sampler = word().ok_or(CL_INVALID_ARG_VALUE)?;
            (registry::get(Kind::Sampler, sampler)?.handle(), None)
        }
        ArgKind::Local if value.is_some() => return Err(CL_INVALID_ARG_VALUE),
        ArgKind::Local if arg_size == 0 => return Err(CL_INVALID_ARG_SIZE),
        ArgKind::Local => (Handle::NULL, None),
        ArgKind::Value(_) if value.is_none() => return Err(CL_INVALID_ARG_VALUE),
        ArgKind::Value(size) if *size != 0 && *size as usize != arg_size => {
            return Err(CL_INVALID_ARG_SIZE)
        }
        ArgKind::Value(_) => (Handle::NULL, value),
        ArgKind::Unknown => match word().map(|word| registry::get(Kind::Mem, word)) {
            Some(Ok(memory)) => (memory.handle(), None),
            _ => (Handle::NULL, value),
        },
    };
    connection::post(&ClSetKernelArg {
        kernel: kernel.handle(),
        arg_index,
        arg_size: arg_size as u64,
        object,
        value,
    })
}
