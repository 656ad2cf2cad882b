// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels: what their arguments are decides what a client may set them to.

use std::ffi::c_void;

use rustc_hash::FxHashMap;
use wormhole_opencl_protocol::api::{
    ClCloneKernel, ClCloneKernelReply, ClCreateKernel, ClCreateKernelReply, ClEnqueueNDRangeKernel,
    ClEnqueueNDRangeKernelReply, ClEnqueueTask, ClGetKernelSubGroupInfo,
    ClGetKernelSubGroupInfoReply, ClSetKernelArg, ClSetKernelArgReply, Kind,
};
use wormhole_opencl_protocol::argument::{ArgKind, KernelArg};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::ndrange::SIZES;
use wormhole_opencl_protocol::types::{
    cl_command_queue, cl_device_id, cl_event, cl_int, cl_kernel, cl_program, cl_uint,
};

use crate::api::{serve, Vendor};
use crate::check::{c_string, check, check_made, encode, native_size, refusal, Aligned, Refusal};
use crate::objects::Objects;
use crate::query;
use crate::session::State;
use crate::transfer::list;

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

/// `clCloneKernel`: the other's arguments are this one's, and so is what they could not be set to.
pub(crate) fn clone(s: &mut State, m: ClCloneKernel) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clCloneKernel.ok_or(CL_INVALID_OPERATION)?;
    s.objects.vacant_made(m.new)?;
    let source = s.objects.get(Kind::Kernel, m.source_kernel)? as cl_kernel;
    let mut status = CL_SUCCESS;
    // SAFETY: a live kernel.
    let made = unsafe { call(source, &mut status) };
    check_made(status, made.is_null())?;
    s.adopt(Kind::Kernel, m.new, made as usize);
    let args = s.args.get(&m.source_kernel).cloned();
    s.args.insert(m.new, args.unwrap_or_default());
    s.refused.copy(m.source_kernel, m.new);
    Ok(encode(&ClCloneKernelReply {}))
}

/// `clGetKernelSubGroupInfo`: of a work-group's size as many dimensions as there is room for.
pub(crate) fn sub_group_info(
    s: &mut State,
    m: ClGetKernelSubGroupInfo<'_>,
) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clGetKernelSubGroupInfo;
    let call = call.ok_or(CL_INVALID_OPERATION)?;
    let kernel = s.objects.get(Kind::Kernel, m.kernel)? as cl_kernel;
    let device = s.objects.get_optional(Kind::Device, m.device)? as cl_device_id;
    // Each value is a number, or one for each dimension.
    let mut value = [0usize; 3];
    if m.input_value
        .is_some_and(|input| input.len() > size_of_val(&value))
    {
        return Err(CL_INVALID_VALUE.into());
    }
    let input = m.input_value.map(Aligned::new);
    let input: *const c_void = match &input {
        Some(input) => input.as_ptr().cast(),
        None => std::ptr::null(),
    };
    let (room, place) = match m.room {
        Some(room) => (
            native_size(room)?.min(size_of_val(&value)),
            value.as_mut_ptr().cast(),
        ),
        None => (0, std::ptr::null_mut()),
    };
    let mut len = 0;
    // SAFETY: live objects, and lengths as said.
    check(unsafe {
        call(
            kernel,
            device,
            m.param_name,
            m.input_value.map_or(0, <[u8]>::len),
            input,
            room,
            place,
            &mut len,
        )
    })?;
    let told: Vec<u8> = value.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(encode(&ClGetKernelSubGroupInfoReply {
        param_value: &told[..len.min(room)],
        param_value_size: len as u64,
    }))
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

/// What the vendor, or this server, did not let arguments of kernels be set to. The client takes
/// them for set, so such a kernel is not launched until it sets them to something else.
#[derive(Debug, Default)]
pub(crate) struct Refused(FxHashMap<Handle, Vec<(cl_uint, cl_int)>>);

impl Refused {
    /// # Errors
    /// If an argument of this kernel is not what the client takes it for.
    fn check(&self, kernel: Handle) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        match self.0.get(&kernel).and_then(|refused| refused.first()) {
            Some((_, status)) => Err((*status).into()),
            None => Ok(()),
        }
    }

    fn note(&mut self, kernel: Handle, index: cl_uint, set: Result<(), cl_int>) {
        if set.is_ok() && self.0.is_empty() {
            return;
        }
        let refused = self.0.entry(kernel).or_default();
        refused.retain(|(of, _)| *of != index);
        refused.extend(set.err().map(|status| (index, status)));
        if refused.is_empty() {
            self.0.remove(&kernel);
        }
    }

    /// A kernel has the arguments of another one.
    fn copy(&mut self, source: Handle, kernel: Handle) {
        if let Some(refused) = self.0.get(&source).cloned() {
            self.0.insert(kernel, refused);
        }
    }

    /// A kernel is gone.
    pub(crate) fn forget(&mut self, kernel: Handle) {
        self.0.remove(&kernel);
    }
}

/// Sets arguments, each one whatever becomes of the others. Gives the first failure.
fn set_all(
    s: &mut State,
    name: Handle,
    args: &[KernelArg<'_>],
) -> Result<Result<(), cl_int>, Refusal> {
    let mut all = Ok(());
    if args.is_empty() {
        return Ok(all);
    }
    let call = s.vendor.clSetKernelArg.ok_or(CL_INVALID_OPERATION)?;
    let kernel = s.objects.get(Kind::Kernel, name)? as cl_kernel;
    let kinds = s.args.get(&name).map_or(&[][..], Vec::as_slice);
    for arg in args {
        let Some(kind) = kinds.get(arg.index as usize) else {
            // The client knows how many there are.
            return Err(CL_INVALID_ARG_INDEX.into());
        };
        let value = Value::new(&s.objects, *kind, arg);
        let set = refusal(value.and_then(|value| {
            let (size, pointer) = value.parts();
            // SAFETY: `size` bytes at the pointer, or null; a pointer-sized value is
            // one of our own objects unless the argument is a number.
            check(unsafe { call(kernel, arg.index, size, pointer) })
        }))?;
        s.refused.note(name, arg.index, set);
        all = all.and(set);
    }
    Ok(all)
}

/// What an argument is set to.
enum Value<'a> {
    Object(usize),
    Bytes(usize, Aligned<'a>),
    /// Null, for so many bytes.
    Null(usize),
}

impl<'a> Value<'a> {
    fn new(objects: &Objects, kind: ArgKind, arg: &KernelArg<'a>) -> Result<Self, Refusal> {
        let pointer_size = size_of::<usize>() as u64;
        // The vendor takes a pointer's bits on trust, so none may come from the client.
        let object = match (kind, arg.object.is_null(), arg.value) {
            (ArgKind::Memory | ArgKind::Unknown, false, None) => {
                Some(objects.get(Kind::Mem, arg.object)?)
            }
            (ArgKind::Sampler, false, None) => Some(objects.get(Kind::Sampler, arg.object)?),
            (ArgKind::Memory | ArgKind::Local, true, None) => None,
            (ArgKind::Value(_), true, Some(_)) => None,
            (ArgKind::Unknown, true, None) => None,
            (ArgKind::Unknown, true, Some(_)) if arg.size != pointer_size => None,
            _ => return Err(CL_INVALID_ARG_VALUE.into()),
        };
        match (object, arg.value) {
            (Some(_), _) if arg.size != pointer_size => Err(CL_INVALID_ARG_SIZE.into()),
            (Some(object), _) => Ok(Value::Object(object)),
            (None, Some(value)) if value.len() as u64 == arg.size => {
                Ok(Value::Bytes(value.len(), Aligned::new(value)))
            }
            (None, Some(_)) => Err(CL_INVALID_ARG_SIZE.into()),
            (None, None) => Ok(Value::Null(native_size(arg.size)?)),
        }
    }

    /// As `clSetKernelArg` gets it.
    fn parts(&self) -> (usize, *const c_void) {
        match self {
            Value::Object(object) => (size_of::<usize>(), std::ptr::from_ref(object).cast()),
            Value::Bytes(size, bytes) => (*size, bytes.as_ptr().cast()),
            Value::Null(size) => (*size, std::ptr::null()),
        }
    }
}

/// `clSetKernelArg`, of several arguments at once.
pub(crate) fn set_args(s: &mut State, m: ClSetKernelArg<'_>) -> Result<Vec<u8>, Refusal> {
    s.objects.get(Kind::Kernel, m.kernel)?;
    set_all(s, m.kernel, &m.args)??;
    Ok(encode(&ClSetKernelArgReply {}))
}

/// `clEnqueueNDRangeKernel`, with the arguments that were set since the last time.
pub(crate) fn launch(s: &mut State, m: ClEnqueueNDRangeKernel<'_>) -> Result<Vec<u8>, Refusal> {
    let call = s
        .vendor
        .clEnqueueNDRangeKernel
        .ok_or(CL_INVALID_OPERATION)?;
    // Whatever becomes of the launch: the client takes them for set.
    let _ = set_all(s, m.kernel, &m.args)?;
    let queue = s.objects.get(Kind::Queue, m.command_queue)? as cl_command_queue;
    let kernel = s.objects.get(Kind::Kernel, m.kernel)? as cl_kernel;
    s.refused.check(m.kernel)?;
    s.objects.vacant(m.event)?;
    let range = &m.range;
    let mut sizes = [0; SIZES];
    for (native, size) in sizes.iter_mut().zip(range.sizes()) {
        *native = native_size(size)?;
    }
    let (global, offset, local) = range.parts(&sizes);
    let or_null = |sizes: Option<&[usize]>| match sizes {
        Some(sizes) => sizes.as_ptr(),
        None => std::ptr::null(),
    };
    let waits = &m.event_wait_list;
    let invalid = CL_INVALID_EVENT_WAIT_LIST;
    let waits = s.objects.get_all(Kind::Event, waits, invalid)?;
    let (waits_len, waits) = list(&waits);
    let mut event: cl_event = std::ptr::null_mut();
    let wanted = match m.event.is_null() {
        true => std::ptr::null_mut(),
        false => &raw mut event,
    };
    // SAFETY: handles are live, and the arrays have as many elements as the call is told.
    check(unsafe {
        call(
            queue,
            kernel,
            range.dimensions(),
            or_null(offset),
            global.as_ptr(),
            or_null(local),
            waits_len,
            waits,
            wanted,
        )
    })?;
    s.adopt(Kind::Event, m.event, event as usize);
    Ok(encode(&ClEnqueueNDRangeKernelReply {}))
}

/// `clEnqueueTask`.
pub(crate) fn task(s: &mut State, m: ClEnqueueTask) -> Result<Vec<u8>, Refusal> {
    s.refused.check(m.kernel)?;
    serve::clEnqueueTask(s, m)
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
