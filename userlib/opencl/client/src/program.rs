// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs: sources and binaries come as arrays of pointers.

use std::ffi::{c_char, c_uchar, c_void};

use wormhole_opencl_protocol::api::{
    ClCreateProgramWithBinary, ClCreateProgramWithSource, ClGetProgramInfo, Kind,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::*;
use wormhole_opencl_protocol::wire::{Reader, Wire};

use crate::api::marshal;
use crate::object::Object;
use crate::registry::{self, New};
use crate::{connection, input, query};

/// Called when a program is ready.
type Notify = Option<unsafe extern "C" fn(cl_program, *mut c_void)>;

/// What the server appends to build options; the program is not shown it.
const APPENDED: &str = " -cl-kernel-arg-info";

/// `clCreateProgramWithSource`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_with_source(
    context: cl_context,
    count: cl_uint,
    strings: *mut *const c_char,
    lengths: *const usize,
) -> Result<cl_program, cl_int> {
    let context = registry::get(Kind::Context, context as usize)?;
    // SAFETY: the caller promises `count` strings.
    let strings = unsafe { input::array(strings, count as usize, CL_INVALID_VALUE) }?;
    // SAFETY: the caller promises as many lengths, or null.
    let lengths = unsafe { input::optional_array(lengths, strings.len(), CL_INVALID_VALUE) }?;
    let mut source = Vec::new();
    for (number, string) in strings.iter().enumerate() {
        let length = lengths.map_or(0, |lengths| lengths[number]);
        // SAFETY: a length of 0 means that the string is null-terminated.
        source.extend_from_slice(unsafe {
            match length {
                0 => input::string(*string, CL_INVALID_VALUE)?,
                length => input::bytes(string.cast(), length, CL_INVALID_VALUE)?,
            }
        });
    }
    let new = New::named(Kind::Program, vec![context.clone()])?;
    let request = ClCreateProgramWithSource {
        context: context.handle(),
        source: &source,
        new: new.handle(),
    };
    connection::call(&request, |_| ())?;
    Ok(new.publish() as cl_program)
}

/// `clCreateProgramWithBinary`: a binary is a token of the server's.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_with_binary(
    context: cl_context,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    lengths: *const usize,
    binaries: *mut *const c_uchar,
    binary_status: *mut cl_int,
) -> Result<cl_program, cl_int> {
    let context = registry::get(Kind::Context, context as usize)?;
    let count = num_devices as usize;
    // SAFETY: the caller promises `num_devices` elements of each array.
    let (devices, lengths, binaries) = unsafe {
        (
            input::array(device_list, count, CL_INVALID_VALUE)?,
            input::array(lengths, count, CL_INVALID_VALUE)?,
            input::array(binaries.cast_const(), count, CL_INVALID_VALUE)?,
        )
    };
    let devices = input::handles(Kind::Device, devices, CL_INVALID_DEVICE)?;
    let mut tokens = Vec::with_capacity(count);
    for (number, (binary, length)) in binaries.iter().zip(lengths).enumerate() {
        if binary.is_null() || *length == 0 {
            if !binary_status.is_null() {
                // SAFETY: the caller promises `num_devices` statuses.
                unsafe { binary_status.add(number).write(CL_INVALID_VALUE) };
            }
            return Err(CL_INVALID_VALUE);
        }
        // SAFETY: the caller promises a binary of this length.
        tokens.push(unsafe { input::bytes(*binary, *length, CL_INVALID_VALUE) }?);
    }
    let new = New::named(Kind::Program, vec![context.clone()])?;
    let request = ClCreateProgramWithBinary {
        context: context.handle(),
        devices,
        binaries: tokens,
        new: new.handle(),
    };
    let statuses = connection::call(&request, |reply| reply.binary_status);
    if !binary_status.is_null() {
        for number in 0..count {
            let status = match &statuses {
                Ok(list) => list.get(number).copied().unwrap_or(CL_INVALID_BINARY),
                Err(_) => CL_INVALID_BINARY,
            };
            // SAFETY: the caller promises `num_devices` statuses.
            unsafe { binary_status.add(number).write(status) };
        }
    }
    statuses?;
    Ok(new.publish() as cl_program)
}

/// `clBuildProgram`: always waits; a callback runs before it returns.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn build(
    program: cl_program,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    options: *const c_char,
    pfn_notify: Notify,
    user_data: *mut c_void,
) -> Result<(), cl_int> {
    if pfn_notify.is_none() && !user_data.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises it.
    let result = unsafe {
        marshal::clBuildProgram(program, num_devices, device_list, options, None, user_data)
    };
    // SAFETY: the caller promises that it may be called so.
    unsafe {
        tell(
            pfn_notify,
            program,
            user_data,
            result,
            CL_BUILD_PROGRAM_FAILURE,
        )
    }
}

/// Calls back when a program has been built or compiled. `failure` of the work itself is
/// for the callback, if there is one.
unsafe fn tell(
    pfn_notify: Notify,
    program: cl_program,
    user_data: *mut c_void,
    result: Result<(), cl_int>,
    failure: cl_int,
) -> Result<(), cl_int> {
    match (pfn_notify, result) {
        (Some(notify), result) if result.is_ok() || result == Err(failure) => {
            // SAFETY: the caller promises that it may be called so.
            unsafe { notify(program, user_data) };
            Ok(())
        }
        (_, result) => result,
    }
}

/// `clCompileProgram`: as [`build`].
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn compile(
    program: cl_program,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    options: *const c_char,
    num_input_headers: cl_uint,
    input_headers: *const cl_program,
    header_include_names: *mut *const c_char,
    pfn_notify: Notify,
    user_data: *mut c_void,
) -> Result<(), cl_int> {
    if pfn_notify.is_none() && !user_data.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises it.
    unsafe {
        let result = marshal::clCompileProgram(
            program,
            num_devices,
            device_list,
            options,
            num_input_headers,
            input_headers,
            header_include_names,
            None,
            user_data,
        );
        tell(
            pfn_notify,
            program,
            user_data,
            result,
            CL_COMPILE_PROGRAM_FAILURE,
        )
    }
}

/// `clLinkProgram`: as [`build`]. A callback of a program that cannot be linked, of which
/// there is none then, gets null.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn link(
    context: cl_context,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    options: *const c_char,
    num_input_programs: cl_uint,
    input_programs: *const cl_program,
    pfn_notify: Notify,
    user_data: *mut c_void,
) -> Result<cl_program, cl_int> {
    if pfn_notify.is_none() && !user_data.is_null() {
        return Err(CL_INVALID_VALUE);
    }
    // SAFETY: the caller promises it.
    let linked = unsafe {
        marshal::clLinkProgram(
            context,
            num_devices,
            device_list,
            options,
            num_input_programs,
            input_programs,
            None,
            user_data,
        )
    };
    if let (Some(notify), Ok(_) | Err(CL_LINK_PROGRAM_FAILURE)) = (pfn_notify, linked) {
        let program = linked.unwrap_or(std::ptr::null_mut());
        // SAFETY: the caller promises that it may be called so.
        unsafe { notify(program, user_data) };
    }
    linked
}

/// `clUnloadCompiler`: a hint, which the server does not need.
pub(crate) fn unload_compiler() -> Result<(), cl_int> {
    Ok(())
}

/// `clUnloadPlatformCompiler`: as [`unload_compiler`].
pub(crate) fn unload_platform_compiler(platform: cl_platform_id) -> Result<(), cl_int> {
    registry::get(Kind::Platform, platform as usize).map(|_| ())
}

/// `clGetProgramInfo`: binaries are written through pointers that the program gives.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn info(
    program: cl_program,
    param_name: cl_program_info,
    param_value_size: usize,
    param_value: *mut c_void,
    param_value_size_ret: *mut usize,
) -> Result<(), cl_int> {
    if param_name != CL_PROGRAM_BINARIES {
        // SAFETY: the caller promises it.
        return unsafe {
            marshal::clGetProgramInfo(
                program,
                param_name,
                param_value_size,
                param_value,
                param_value_size_ret,
            )
        };
    }
    let object = registry::get(Kind::Program, program as usize)?;
    let request = ClGetProgramInfo {
        program: object.handle(),
        param_name,
    };
    let value = connection::call(&request, |reply| reply.param_value.to_vec())?;
    let tokens: Vec<&[u8]> =
        Wire::get(&mut Reader::new(&value)).map_err(|_| CL_OUT_OF_RESOURCES)?;
    let needed = tokens.len() * size_of::<*mut u8>();
    if !param_value.is_null() {
        if param_value_size < needed {
            return Err(CL_INVALID_VALUE);
        }
        for (number, token) in tokens.iter().enumerate() {
            // SAFETY: the caller promises that many pointers, each null or
            // with room for as many bytes as CL_PROGRAM_BINARY_SIZES said.
            unsafe {
                let target = param_value.cast::<*mut u8>().add(number).read();
                if !target.is_null() {
                    std::ptr::copy_nonoverlapping(token.as_ptr(), target, token.len());
                }
            }
        }
    }
    // SAFETY: no value, and the caller promises the rest.
    unsafe {
        query::give(
            &vec![0; needed],
            0,
            std::ptr::null_mut(),
            param_value_size_ret,
        )
    }
}

/// Hides the option that the server appends.
pub(crate) fn edit_build_info(
    _program: &Object,
    name: cl_program_build_info,
    value: Vec<u8>,
) -> Vec<u8> {
    if name != CL_PROGRAM_BUILD_OPTIONS {
        return value;
    }
    let mut text = String::from_utf8_lossy(&value).into_owned();
    text.truncate(text.trim_end_matches(['\0', ' ']).len());
    let mut kept = text
        .strip_suffix(APPENDED.trim())
        .unwrap_or(&text)
        .trim_end()
        .as_bytes()
        .to_vec();
    kept.push(0);
    kept
}
