// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels: what their arguments are is asked once, so that setting one needs
//! no answer, and is told with the next launch.

use std::ffi::{c_char, c_void};

use parking_lot::MappedMutexGuard;
use wormhole_opencl_protocol::api::{
    ClCloneKernel, ClCreateKernel, ClEnqueueNDRangeKernel, ClGetKernelSubGroupInfo, ClSetKernelArg,
    Kind,
};
use wormhole_opencl_protocol::argument::ArgKind;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::ndrange::{NdRange, Room, DIMENSIONS};
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::arguments::{Arguments, Given, Named};
use crate::head::{self, Head};
use crate::object::Object;
use crate::registry::{self, New};
use crate::transfer::Wanted;
use crate::{connection, device, input, query};
use std::sync::Arc;

fn make(program: &Arc<Object>, kernel_name: &[u8]) -> Result<cl_kernel, cl_int> {
    let new = New::named(Kind::Kernel, vec![program.clone()])?;
    let request = ClCreateKernel {
        program: program.handle(),
        kernel_name,
        new: new.handle(),
    };
    let args = connection::call(&request, |reply| reply.args)?;
    new.head().set_arguments(Arguments::new(args));
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
    // SAFETY: room as said.
    let names = query::value(|size, value, filled| unsafe {
        marshal::clGetProgramInfo(program, CL_PROGRAM_KERNEL_NAMES, size, value, filled)
    })?;
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

/// A live kernel.
struct Kernel {
    head: &'static Head,
    name: Handle,
}

impl Kernel {
    fn at(kernel: usize) -> Result<Self, cl_int> {
        let head = head::find(kernel).ok_or(CL_INVALID_KERNEL)?;
        let name = head.name(Kind::Kernel).ok_or(CL_INVALID_KERNEL)?;
        Ok(Kernel { head, name })
    }

    /// Its arguments, locked: what has changed of them goes with a request, and another thread's
    /// launch counts on it.
    #[inline]
    fn arguments(&self) -> Result<MappedMutexGuard<'static, Arguments>, cl_int> {
        self.head.arguments().ok_or(CL_INVALID_KERNEL)
    }

    /// Tells the server what has changed of the arguments, for what depends on them and cannot
    /// bring them itself.
    fn settle(&self) -> Result<(), cl_int> {
        let arguments = self.arguments()?;
        if arguments.have_changed() {
            let (kernel, args) = (self.name, arguments.changes());
            connection::post(&ClSetKernelArg { kernel, args })?;
        }
        told(arguments);
        Ok(())
    }
}

/// What has changed of the arguments was posted.
#[inline]
fn told(mut arguments: MappedMutexGuard<'_, Arguments>) {
    if arguments.have_changed() {
        let told = arguments.told();
        drop(arguments);
        drop(told);
    }
}

/// Whether an argument is known to be set to this: many programs set all of them before each
/// launch. If it is not, it may be nevertheless.
///
/// # Safety
/// As for [`set_arg`].
#[inline]
pub(crate) unsafe fn is_set(
    kernel: cl_kernel,
    arg_index: cl_uint,
    arg_size: usize,
    arg_value: *const c_void,
) -> bool {
    match head::find_first(kernel as usize) {
        // SAFETY: the caller promises `arg_size` bytes, or null.
        Some(head) => unsafe { head.last().is(arg_index as usize, arg_size, arg_value) },
        None => false,
    }
}

/// `clSetKernelArg`: checked and kept here.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn set_arg(
    kernel: cl_kernel,
    arg_index: cl_uint,
    arg_size: usize,
    arg_value: *const c_void,
) -> Result<(), cl_int> {
    let kernel = Kernel::at(kernel as usize)?;
    // SAFETY: the caller promises `arg_size` bytes, or null.
    let bytes = unsafe { input::bytes(arg_value.cast(), arg_size, 0) }.ok();
    let given = Given::new(arg_size, bytes);
    let index = arg_index as usize;
    let mut arguments = kernel.arguments()?;
    let before = match arguments.is(index, &given) {
        true => None,
        false => {
            let kind = arguments.kind(index).ok_or(CL_INVALID_ARG_INDEX)?;
            let named = checked(kind, &given)?;
            arguments.set(index, &given, named)
        }
    };
    arguments.note(index, kernel.head.last());
    drop(arguments);
    drop(before);
    Ok(())
}

/// The object that an argument of this kind is to be set to, if it is one.
fn checked(kind: ArgKind, given: &Given<'_>) -> Result<Option<Named>, cl_int> {
    let find = |kind, handle| {
        let object = registry::get(kind, handle)?;
        let head = object.head();
        Ok(Some(Named { head, object }))
    };
    match (kind, given.bytes()) {
        (ArgKind::Memory | ArgKind::Sampler, _) if given.size() != size_of::<usize>() => {
            Err(CL_INVALID_ARG_SIZE)
        }
        (ArgKind::Memory, _) => match given.handle() {
            None | Some(0) => Ok(None),
            Some(memory) => find(Kind::Mem, memory),
        },
        (ArgKind::Sampler, _) => {
            let sampler = given.handle().ok_or(CL_INVALID_ARG_VALUE)?;
            find(Kind::Sampler, sampler)
        }
        (ArgKind::Local, Some(_)) | (ArgKind::Value(_), None) => Err(CL_INVALID_ARG_VALUE),
        (ArgKind::Local, None) if given.size() == 0 => Err(CL_INVALID_ARG_SIZE),
        (ArgKind::Value(size), _) if size != 0 && size as usize != given.size() => {
            Err(CL_INVALID_ARG_SIZE)
        }
        (ArgKind::Local | ArgKind::Value(_), _) => Ok(None),
        (ArgKind::Unknown, _) => match given.handle().map(|handle| find(Kind::Mem, handle)) {
            Some(Ok(named)) => Ok(named),
            _ => Ok(None),
        },
    }
}

/// `clCloneKernel`: what its arguments are set to is what those of the other are, whether the
/// server was told or not.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn clone(source_kernel: cl_kernel) -> Result<cl_kernel, cl_int> {
    let source = registry::get(Kind::Kernel, source_kernel as usize)?;
    if !device::is_newest(&source) {
        return Err(CL_INVALID_OPERATION);
    }
    let arguments = source.head().arguments().as_deref().cloned();
    let new = New::named(Kind::Kernel, source.parent().cloned().into_iter().collect())?;
    let request = ClCloneKernel {
        source_kernel: source.handle(),
        new: new.handle(),
    };
    connection::call(&request, |_| ())?;
    new.head()
        .set_arguments(arguments.ok_or(CL_INVALID_KERNEL)?);
    Ok(new.publish() as cl_kernel)
}

/// `clGetKernelSubGroupInfo`. By hand, since how many numbers are to be told is what there is
/// room for.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn sub_group_info(
    kernel: cl_kernel,
    device: cl_device_id,
    param_name: cl_kernel_sub_group_info,
    input_value_size: usize,
    input_value: *const c_void,
    param_value_size: usize,
    param_value: *mut c_void,
    param_value_size_ret: *mut usize,
) -> Result<(), cl_int> {
    let kernel = registry::get(Kind::Kernel, kernel as usize)?;
    let device = registry::name_optional(Kind::Device, device as usize)?;
    if !device::is_newest(&kernel) {
        return Err(CL_INVALID_OPERATION);
    }
    let request = ClGetKernelSubGroupInfo {
        kernel: kernel.handle(),
        device,
        param_name,
        // SAFETY: the caller promises that many bytes, or null.
        input_value: unsafe { input::bytes(input_value.cast(), input_value_size, 0) }.ok(),
        room: (!param_value.is_null()).then_some(param_value_size as u64),
    };
    let (value, len) = connection::call(&request, |reply| {
        (reply.param_value.to_vec(), reply.param_value_size as usize)
    })?;
    if !param_value.is_null() {
        // SAFETY: the caller promises it.
        unsafe { query::give(&value, param_value_size, param_value, std::ptr::null_mut()) }?;
    }
    if !param_value_size_ret.is_null() {
        // SAFETY: the caller promises it.
        unsafe { param_value_size_ret.write(len) };
    }
    Ok(())
}

/// `clGetKernelWorkGroupInfo`: the local memory in use is that of arguments, too.
pub(crate) fn before_query(
    kernel: &Object,
    _name: cl_kernel_work_group_info,
) -> Option<Result<Vec<u8>, cl_int>> {
    let (head, name) = (kernel.head(), kernel.handle());
    Kernel { head, name }.settle().err().map(Err)
}

/// `clEnqueueNDRangeKernel`.
///
/// # Safety
/// As the specification says.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn launch(
    command_queue: cl_command_queue,
    kernel: cl_kernel,
    work_dim: cl_uint,
    global_work_offset: *const usize,
    global_work_size: *const usize,
    local_work_size: *const usize,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    let command_queue = command_queue as usize;
    let queue = registry::name(Kind::Queue, command_queue)?;
    let kernel = Kernel::at(kernel as usize)?;
    let len = work_dim as usize;
    if !(1..=DIMENSIONS).contains(&len) {
        return Err(CL_INVALID_WORK_DIMENSION);
    }
    // None is as one of which nothing is: that runs nothing, since OpenCL 2.1.
    let nothing = [0; DIMENSIONS];
    let global_work_size = match global_work_size.is_null() {
        true => nothing.as_ptr(),
        false => global_work_size,
    };
    // SAFETY: the caller promises it.
    let (offset, global, local, waits, event) = unsafe {
        (
            input::optional_array(global_work_offset, len, CL_INVALID_VALUE)?,
            input::array(global_work_size, len, CL_INVALID_GLOBAL_WORK_SIZE)?,
            input::optional_array(local_work_size, len, CL_INVALID_VALUE)?,
            input::wait_list(num_events_in_wait_list, event_wait_list)?,
            match event.is_null() {
                true => None,
                false => {
                    let queue = registry::get(Kind::Queue, command_queue)?;
                    Some(Wanted::new(event, &queue)?)
                }
            },
        )
    };
    let mut room = [0; size_of::<Room>()];
    let range = NdRange::new(&mut room, global, offset, local);
    let range = range.ok_or(CL_INVALID_WORK_DIMENSION)?;
    let arguments = kernel.arguments()?;
    connection::post(&ClEnqueueNDRangeKernel {
        command_queue: queue,
        kernel: kernel.name,
        args: arguments.changes(),
        range,
        event_wait_list: waits,
        event: event.as_ref().map_or(Handle::NULL, Wanted::handle),
    })?;
    told(arguments);
    if let Some(event) = event {
        event.give();
    }
    Ok(())
}

/// `clEnqueueTask`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn task(
    command_queue: cl_command_queue,
    kernel: cl_kernel,
    num_events_in_wait_list: cl_uint,
    event_wait_list: *const cl_event,
    event: *mut cl_event,
) -> Result<(), cl_int> {
    registry::name(Kind::Queue, command_queue as usize)?;
    Kernel::at(kernel as usize)?.settle()?;
    // SAFETY: the caller promises it.
    unsafe {
        marshal::clEnqueueTask(
            command_queue,
            kernel,
            num_events_in_wait_list,
            event_wait_list,
            event,
        )
    }
}
