// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs. A binary never leaves the server, and none comes in: a client
//! deals in tokens.

use wormhole_opencl_protocol::api::{
    ClCreateProgramWithBinary, ClCreateProgramWithBinaryReply, ClCreateProgramWithIL,
    ClCreateProgramWithSource, ClCreateProgramWithSourceReply, ClGetProgramInfo,
    ClGetProgramInfoReply, Kind,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::token;
use wormhole_opencl_protocol::types::{cl_context, cl_device_id, cl_int, cl_program};

use crate::api::{serve, Vendor};
use crate::check::{check, check_len, check_made, encode, Refusal};
use crate::query;
use crate::session::{Locked, State};

/// `clCreateProgramWithSource`.
pub(crate) fn create_with_source(
    s: &mut State,
    m: ClCreateProgramWithSource<'_>,
) -> Result<Vec<u8>, Refusal> {
    let call = s
        .vendor
        .clCreateProgramWithSource
        .ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant_made(m.new)?;
    let context = s.objects.get(Kind::Context, m.context)? as cl_context;
    s.printed.program(m.source);
    // A length of 0 would mean a null-terminated string.
    let source: &[u8] = match m.source {
        [] => b"\n",
        source => source,
    };
    let mut string = source.as_ptr().cast();
    let length = source.len();
    let mut status = CL_SUCCESS;
    // SAFETY: one string of the given length.
    let made = unsafe { call(context, 1, &mut string, &length, &mut status) };
    check_made(status, made.is_null())?;
    s.adopt(Kind::Program, m.new, made as usize);
    Ok(encode(&ClCreateProgramWithSourceReply {}))
}

/// `clCreateProgramWithIL`.
pub(crate) fn create_with_il(
    s: &mut Locked<'_>,
    m: ClCreateProgramWithIL<'_>,
) -> Result<Vec<u8>, Refusal> {
    s.printed.program_il(m.il);
    serve::clCreateProgramWithIL(s, m)
}

/// What a binary is for: device name and driver version.
fn device_key(vendor: &Vendor, device: cl_device_id) -> Result<Vec<u8>, Refusal> {
    let call = vendor.clGetDeviceInfo.ok_or(CL_INVALID_OPERATION)?;
    let mut key = Vec::new();
    for name in [CL_DEVICE_NAME, CL_DRIVER_VERSION] {
        // SAFETY: a live device, and room as said.
        key.extend(query::info(|size, value, filled| unsafe {
            call(device, name, size, value, filled)
        })?);
    }
    Ok(key)
}

/// `clCreateProgramWithBinary`.
pub(crate) fn create_with_binary(
    s: &mut State,
    m: ClCreateProgramWithBinary<'_>,
) -> Result<Vec<u8>, Refusal> {
    let call = s
        .vendor
        .clCreateProgramWithBinary
        .ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant_made(m.new)?;
    check_len(m.binaries.len(), m.devices.len())?;
    let context = s.objects.get(Kind::Context, m.context)? as cl_context;
    let devices = s
        .objects
        .get_all(Kind::Device, &m.devices, CL_INVALID_DEVICE)?;
    let mut binaries = Vec::with_capacity(devices.len());
    for (bytes, device) in m.binaries.iter().zip(&devices) {
        let identity = token::decode(bytes).ok_or(CL_INVALID_BINARY)?;
        let key = device_key(&s.vendor, *device as cl_device_id)?;
        let binary = s.binaries.load(&identity, &key).map_err(|error| {
            log::info!("no program for a client's token: {error}");
            CL_INVALID_BINARY
        })?;
        s.printed.program(&binary);
        binaries.push(binary);
    }
    let lengths: Vec<usize> = binaries.iter().map(Vec::len).collect();
    let mut pointers: Vec<_> = binaries.iter().map(|binary| binary.as_ptr()).collect();
    let mut binary_status: Vec<cl_int> = vec![CL_SUCCESS; devices.len()];
    let mut status = CL_SUCCESS;
    // SAFETY: as many devices, lengths, binaries and statuses; the binaries
    // were the vendor's own.
    let made = unsafe {
        call(
            context,
            devices.len() as u32,
            devices.as_ptr().cast(),
            lengths.as_ptr(),
            pointers.as_mut_ptr(),
            binary_status.as_mut_ptr(),
            &mut status,
        )
    };
    check_made(status, made.is_null())?;
    s.adopt(Kind::Program, m.new, made as usize);
    Ok(encode(&ClCreateProgramWithBinaryReply { binary_status }))
}

/// `clGetProgramInfo`: sizes and contents of binaries are those of tokens.
pub(crate) fn info(s: &mut State, m: ClGetProgramInfo) -> Result<Vec<u8>, Refusal> {
    match m.param_name {
        CL_PROGRAM_BINARY_SIZES => sizes(s, m),
        CL_PROGRAM_BINARIES => binaries(s, m),
        _ => serve::clGetProgramInfo(s, m),
    }
}

fn words(vendor: &Vendor, program: cl_program, name: u32) -> Result<Vec<usize>, Refusal> {
    let call = vendor.clGetProgramInfo.ok_or(CL_INVALID_OPERATION)?;
    let value = query::info(|size, value, filled| {
        // SAFETY: a live program, and room as said.
        unsafe { call(program, name, size, value, filled) }
    })?;
    let words = value.chunks_exact(size_of::<usize>()).map(|chunk| {
        let mut word = [0; size_of::<usize>()];
        word.copy_from_slice(chunk);
        usize::from_ne_bytes(word)
    });
    Ok(words.collect())
}

fn sizes(s: &mut State, m: ClGetProgramInfo) -> Result<Vec<u8>, Refusal> {
    let program = s.objects.get(Kind::Program, m.program)? as cl_program;
    let sizes = words(&s.vendor, program, CL_PROGRAM_BINARY_SIZES)?;
    let value: Vec<u8> = sizes
        .iter()
        .map(|size| if *size == 0 { 0 } else { token::LEN })
        .flat_map(usize::to_ne_bytes)
        .collect();
    Ok(encode(&ClGetProgramInfoReply {
        param_value: &value,
    }))
}

/// Longest binary of a program, in bytes.
const MAX_BINARY: usize = 256 << 20;

/// The value is the encoding of a list of tokens, one for each device, empty
/// where there is no binary.
fn binaries(s: &mut State, m: ClGetProgramInfo) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clGetProgramInfo.ok_or(CL_INVALID_OPERATION)?;
    let program = s.objects.get(Kind::Program, m.program)? as cl_program;
    let sizes = words(&s.vendor, program, CL_PROGRAM_BINARY_SIZES)?;
    let devices = words(&s.vendor, program, CL_PROGRAM_DEVICES)?;
    if sizes.len() != devices.len() || sizes.iter().any(|size| *size > MAX_BINARY) {
        return Err(CL_OUT_OF_RESOURCES.into());
    }
    let mut binaries: Vec<Vec<u8>> = sizes.iter().map(|size| vec![0; *size]).collect();
    let mut pointers: Vec<*mut u8> = binaries
        .iter_mut()
        .map(|binary| match binary.is_empty() {
            true => std::ptr::null_mut(),
            false => binary.as_mut_ptr(),
        })
        .collect();
    // SAFETY: each pointer is null or has room for its binary.
    check(unsafe {
        call(
            program,
            CL_PROGRAM_BINARIES,
            size_of_val(pointers.as_slice()),
            pointers.as_mut_ptr().cast(),
            std::ptr::null_mut(),
        )
    })?;
    let mut tokens = Vec::with_capacity(binaries.len());
    for (binary, device) in binaries.iter().zip(&devices) {
        if binary.is_empty() {
            tokens.push(Vec::new());
            continue;
        }
        let key = device_key(&s.vendor, *device as cl_device_id)?;
        let identity = s.binaries.store(&key, binary).map_err(|error| {
            log::warn!("cannot keep a program for a client: {error}");
            CL_OUT_OF_RESOURCES
        })?;
        tokens.push(token::encode(identity).to_vec());
    }
    let tokens: Vec<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
    Ok(encode(&ClGetProgramInfoReply {
        param_value: &encode(&tokens),
    }))
}
