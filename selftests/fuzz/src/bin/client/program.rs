// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program that uses OpenCL as it may be used, in an order that bytes say.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use arbitrary::{Result, Unstructured};
use wormhole_opencl::api::*;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::types::*;

/// Most that it asks for at once.
const ROOM: usize = 300;

/// What it holds.
#[derive(Default)]
struct Program {
    platforms: Vec<cl_platform_id>,
    devices: Vec<cl_device_id>,
    contexts: Vec<cl_context>,
    queues: Vec<cl_command_queue>,
    buffers: Vec<cl_mem>,
    images: Vec<cl_mem>,
    samplers: Vec<cl_sampler>,
    programs: Vec<cl_program>,
    kernels: Vec<cl_kernel>,
    events: Vec<cl_event>,
    mapped: Vec<(cl_mem, *mut c_void)>,
}

/// Memory of its own, which stays valid whatever comes later: this process ends soon.
fn memory(len: usize) -> *mut c_void {
    vec![7u8; len].leak().as_mut_ptr().cast()
}

fn keep<T>(list: &mut Vec<*mut T>, made: *mut T) {
    if !made.is_null() {
        list.push(made);
    }
}

/// One of those it has, or none.
fn any<T>(list: &[*mut T], u: &mut Unstructured<'_>) -> *mut T {
    u.choose(list).copied().unwrap_or(null_mut())
}

/// Asks for a value: only how long it is, and then for all of it; or for as much as there is room.
fn ask(
    u: &mut Unstructured<'_>,
    names: std::ops::RangeInclusive<u32>,
    get: impl Fn(u32, usize, *mut c_void, *mut usize) -> cl_int,
) -> Result<()> {
    let name = u.int_in_range(names)?;
    let mut len = u.int_in_range(0..=ROOM)?;
    if u.arbitrary()? && get(name, 0, null_mut(), &mut len) != CL_SUCCESS {
        return Ok(());
    }
    let len = len.min(1 << 20);
    get(name, len, memory(len), null_mut());
    Ok(())
}

/// Makes the calls that the bytes say.
pub fn run(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let mut program = Program::default();
    // SAFETY: see there.
    unsafe { program.begin() };
    while !u.is_empty() {
        // SAFETY: as above.
        if unsafe { program.step(&mut u) }.is_err() {
            break;
        }
    }
    // SAFETY: as above.
    unsafe { program.wait_for_all() };
}

impl Program {
    /// # Safety
    /// None but that of C: every pointer that is given is null, of this program's memory, which
    /// stays, or an object that the library has made and that was not given back.
    unsafe fn begin(&mut self) {
        let mut platforms = [null_mut(); 4];
        let mut devices = [null_mut(); 4];
        // SAFETY: as said above, here and in all that follows.
        unsafe {
            clGetPlatformIDs(4, platforms.as_mut_ptr(), null_mut());
            platforms
                .iter()
                .for_each(|made| keep(&mut self.platforms, *made));
            clGetDeviceIDs(
                platforms[0],
                CL_DEVICE_TYPE_ALL,
                4,
                devices.as_mut_ptr(),
                null_mut(),
            );
            devices
                .iter()
                .for_each(|made| keep(&mut self.devices, *made));
            let context =
                clCreateContext(null(), 1, devices.as_ptr(), None, null_mut(), null_mut());
            keep(&mut self.contexts, context);
            let queue = clCreateCommandQueue(context, devices[0], 0, null_mut());
            keep(&mut self.queues, queue);
            let buffer = clCreateBuffer(context, 0, 256, null_mut(), null_mut());
            keep(&mut self.buffers, buffer);
        }
    }

    unsafe fn wait_for_all(&mut self) {
        for queue in &self.queues {
            // SAFETY: as in `begin`.
            unsafe { clFinish(*queue) };
        }
    }

    unsafe fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (context, device) = (any(&self.contexts, u), any(&self.devices, u));
        // SAFETY: as in `begin`.
        unsafe {
            match u.int_in_range(0..=5)? {
                0 => self.look(context, device, u)?,
                1 => self.make(context, device, u)?,
                2 => self.build(context, device, u)?,
                3 | 4 => self.enqueue(u)?,
                _ => self.give_back(u)?,
            }
        }
        Ok(())
    }

    unsafe fn look(
        &mut self,
        context: cl_context,
        device: cl_device_id,
        u: &mut Unstructured<'_>,
    ) -> Result<()> {
        let platform = any(&self.platforms, u);
        let (queue, sampler) = (any(&self.queues, u), any(&self.samplers, u));
        let (buffer, image) = (any(&self.buffers, u), any(&self.images, u));
        let (program, kernel) = (any(&self.programs, u), any(&self.kernels, u));
        let event = any(&self.events, u);
        // SAFETY: as in `begin`; `ask` gives memory of the length that it says.
        unsafe {
            match u.int_in_range(0..=14)? {
                0 => ask(u, 0x900..=0x905, |a, b, c, d| {
                    clGetPlatformInfo(platform, a, b, c, d)
                })?,
                1 | 2 => ask(u, 0x1000..=0x1050, |a, b, c, d| {
                    clGetDeviceInfo(device, a, b, c, d)
                })?,
                3 => ask(u, 0x1080..=0x1084, |a, b, c, d| {
                    clGetContextInfo(context, a, b, c, d)
                })?,
                4 => ask(u, 0x1090..=0x1094, |a, b, c, d| {
                    clGetCommandQueueInfo(queue, a, b, c, d)
                })?,
                5 => ask(u, 0x1100..=0x110a, |a, b, c, d| {
                    clGetMemObjectInfo(buffer, a, b, c, d)
                })?,
                6 => ask(u, 0x1110..=0x111a, |a, b, c, d| {
                    clGetImageInfo(image, a, b, c, d)
                })?,
                7 => ask(u, 0x1150..=0x1155, |a, b, c, d| {
                    clGetSamplerInfo(sampler, a, b, c, d)
                })?,
                8 => ask(u, 0x1180..=0x1185, |a, b, c, d| {
                    clGetProgramBuildInfo(program, device, a, b, c, d)
                })?,
                9 => ask(u, 0x1190..=0x1195, |a, b, c, d| {
                    clGetKernelInfo(kernel, a, b, c, d)
                })?,
                10 => ask(u, 0x1196..=0x119b, |a, b, c, d| {
                    clGetKernelArgInfo(kernel, 0, a, b, c, d)
                })?,
                11 => ask(u, 0x11b0..=0x11b6, |a, b, c, d| {
                    clGetKernelWorkGroupInfo(kernel, device, a, b, c, d)
                })?,
                12 => ask(u, 0x11d0..=0x11d5, |a, b, c, d| {
                    clGetEventInfo(event, a, b, c, d)
                })?,
                13 => ask(u, 0x1280..=0x1284, |a, b, c, d| {
                    clGetEventProfilingInfo(event, a, b, c, d)
                })?,
                _ => {
                    let most = u.int_in_range(1..=40)?;
                    let list = memory(most * size_of::<cl_image_format>()).cast();
                    let kind = u.int_in_range(0x10f0..=0x10f6)?;
                    let mut count = 0;
                    clGetSupportedImageFormats(context, 0, kind, most as u32, list, &mut count);
                }
            }
        }
        Ok(())
    }

    unsafe fn make(
        &mut self,
        context: cl_context,
        device: cl_device_id,
        u: &mut Unstructured<'_>,
    ) -> Result<()> {
        let len = u.int_in_range(1..=ROOM)?;
        let host = match u.arbitrary()? {
            true => memory(4 * ROOM),
            false => null_mut(),
        };
        let flags = match host.is_null() {
            true => 0,
            false => *u.choose(&[CL_MEM_USE_HOST_PTR, CL_MEM_COPY_HOST_PTR])?,
        };
        let format = cl_image_format {
            image_channel_order: CL_RGBA,
            image_channel_data_type: CL_UNORM_INT8,
        };
        // SAFETY: as in `begin`; an image of 4 bytes an element is no larger than the memory.
        unsafe {
            match u.int_in_range(0..=8)? {
                0 => keep(
                    &mut self.contexts,
                    clCreateContextFromType(null(), u64::MAX, None, null_mut(), null_mut()),
                ),
                1 => keep(
                    &mut self.queues,
                    clCreateCommandQueue(context, device, 3, null_mut()),
                ),
                2 | 3 => keep(
                    &mut self.buffers,
                    clCreateBuffer(context, flags, len, host, null_mut()),
                ),
                4 => {
                    let region: [usize; 2] = [u.int_in_range(0..=ROOM)?, len];
                    let buffer = any(&self.buffers, u);
                    let (kind, region) = (CL_BUFFER_CREATE_TYPE_REGION, region.as_ptr().cast());
                    let part = clCreateSubBuffer(buffer, 0, kind, region, null_mut());
                    keep(&mut self.buffers, part);
                }
                5 | 6 => {
                    let (wide, high) = (u.int_in_range(1..=16)?, u.int_in_range(1..=16)?);
                    let image =
                        clCreateImage2D(context, flags, &format, wide, high, 0, host, null_mut());
                    keep(&mut self.images, image);
                }
                7 => keep(
                    &mut self.samplers,
                    clCreateSampler(context, 0, 0x1132, 0x1140, null_mut()),
                ),
                _ => keep(&mut self.events, clCreateUserEvent(context, null_mut())),
            }
        }
        Ok(())
    }

    unsafe fn build(
        &mut self,
        context: cl_context,
        device: cl_device_id,
        u: &mut Unstructured<'_>,
    ) -> Result<()> {
        let (program, kernel) = (any(&self.programs, u), any(&self.kernels, u));
        // SAFETY: as in `begin`.
        unsafe {
            match u.int_in_range(0..=7)? {
                0 => {
                    let mut text = c"kernel void k() {}".as_ptr();
                    let made = clCreateProgramWithSource(context, 1, &mut text, null(), null_mut());
                    keep(&mut self.programs, made);
                }
                1 => {
                    let (bytes, len) = (memory(8), 8);
                    let mut bytes = bytes.cast_const().cast();
                    let mut status = 0;
                    let made = clCreateProgramWithBinary(
                        context,
                        1,
                        &device,
                        &len,
                        &mut bytes,
                        &mut status,
                        null_mut(),
                    );
                    keep(&mut self.programs, made);
                }
                2 | 3 => {
                    clBuildProgram(program, 0, null(), c"-w".as_ptr(), None, null_mut());
                }
                4 => {
                    let made = clCreateKernel(program, c"k".as_ptr(), null_mut());
                    keep(&mut self.kernels, made);
                }
                5 => {
                    let mut kernels = [null_mut(); 3];
                    let mut count = 0;
                    clCreateKernelsInProgram(program, 3, kernels.as_mut_ptr(), &mut count);
                    kernels
                        .iter()
                        .for_each(|made| keep(&mut self.kernels, *made));
                }
                6 => {
                    let (mut sizes, mut count) = ([0usize; 4], 0);
                    let room = size_of_val(&sizes);
                    let of_sizes = sizes.as_mut_ptr().cast();
                    clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, room, of_sizes, &mut count);
                    // As many as there are devices of the program, as it says.
                    let many = (count / size_of::<usize>()).min(4);
                    let mut binaries: Vec<_> = sizes[..many]
                        .iter()
                        .map(|size| memory(*size.min(&(1 << 20))))
                        .collect();
                    if sizes.iter().all(|size| *size <= 1 << 20) {
                        let (room, list) = (size_of_val(&binaries[..]), binaries.as_mut_ptr());
                        let list = list.cast();
                        clGetProgramInfo(program, CL_PROGRAM_BINARIES, room, list, null_mut());
                    }
                }
                _ => {
                    let buffer = any(&self.buffers, u);
                    let index = u.int_in_range(0..=3)?;
                    let (len, value) = (size_of::<cl_mem>(), (&raw const buffer).cast());
                    clSetKernelArg(kernel, index, len, value);
                }
            }
        }
        Ok(())
    }

    unsafe fn enqueue(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (queue, kernel) = (any(&self.queues, u), any(&self.kernels, u));
        let (buffer, image) = (any(&self.buffers, u), any(&self.images, u));
        let (at, len) = (u.int_in_range(0..=ROOM)?, u.int_in_range(1..=ROOM)?);
        let blocking = u.int_in_range(0..=1)?;
        let awaited: Vec<_> = self
            .events
            .iter()
            .copied()
            .take(u.int_in_range(0..=2)?)
            .collect();
        let count = awaited.len() as cl_uint;
        let list = match awaited.is_empty() {
            true => null(),
            false => awaited.as_ptr(),
        };
        let mut made: cl_event = null_mut();
        let event = match u.arbitrary()? {
            true => &raw mut made,
            false => null_mut(),
        };
        let (origin, region) = (
            [0usize; 3],
            [u.int_in_range(1..=8)?, u.int_in_range(1..=8)?, 1],
        );
        let (origin, region) = (origin.as_ptr(), region.as_ptr());
        // SAFETY: as in `begin`; a region of an image takes 256 bytes at most, of a buffer 64.
        unsafe {
            match u.int_in_range(0..=15)? {
                0 | 1 => {
                    let to = memory(len);
                    clEnqueueReadBuffer(queue, buffer, blocking, at, len, to, count, list, event);
                }
                2 => {
                    let from = memory(len);
                    clEnqueueWriteBuffer(
                        queue, buffer, blocking, at, len, from, count, list, event,
                    );
                }
                3 => {
                    let to = memory(64);
                    clEnqueueReadBufferRect(
                        queue, buffer, blocking, origin, origin, region, 0, 0, 0, 0, to, count,
                        list, event,
                    );
                }
                4 => {
                    let to = memory(256);
                    clEnqueueReadImage(
                        queue, image, blocking, origin, region, 0, 0, to, count, list, event,
                    );
                }
                5 => {
                    let from = memory(256);
                    clEnqueueWriteImage(
                        queue, image, blocking, origin, region, 0, 0, from, count, list, event,
                    );
                }
                6 | 7 => {
                    let status = null_mut();
                    let at = clEnqueueMapBuffer(
                        queue, buffer, blocking, 3, at, len, count, list, event, status,
                    );
                    if !at.is_null() {
                        at.cast::<u8>().write_bytes(9, len);
                        self.mapped.push((buffer, at));
                    }
                }
                8 => {
                    let (mut row, mut slice) = (0, 0);
                    let at = clEnqueueMapImage(
                        queue,
                        image,
                        blocking,
                        3,
                        origin,
                        region,
                        &mut row,
                        &mut slice,
                        count,
                        list,
                        event,
                        null_mut(),
                    );
                    if !at.is_null() {
                        at.cast::<u8>().write_bytes(9, 4);
                        self.mapped.push((image, at));
                    }
                }
                9 => {
                    if let Some((of, at)) = self.mapped.pop() {
                        clEnqueueUnmapMemObject(queue, of, at, count, list, event);
                    }
                }
                10 => {
                    clEnqueueNDRangeKernel(
                        queue,
                        kernel,
                        2,
                        null(),
                        region,
                        null(),
                        count,
                        list,
                        event,
                    );
                }
                11 => {
                    clEnqueueMarkerWithWaitList(queue, count, list, event);
                }
                12 => {
                    clWaitForEvents(count, list);
                }
                13 => {
                    clSetUserEventStatus(any(&self.events, u), 0);
                }
                14 => {
                    clFlush(queue);
                }
                _ => {
                    clFinish(queue);
                }
            }
        }
        keep(&mut self.events, made);
        Ok(())
    }

    unsafe fn give_back(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        // SAFETY: as in `begin`: each is given back once, with the only reference that there is.
        unsafe {
            match u.int_in_range(0..=7)? {
                0 => self.events.pop().map(|of| clReleaseEvent(of)),
                1 => self.kernels.pop().map(|of| clReleaseKernel(of)),
                2 => self.programs.pop().map(|of| clReleaseProgram(of)),
                3 => self.samplers.pop().map(|of| clReleaseSampler(of)),
                // What is mapped of it goes with it.
                4 if self.mapped.is_empty() => self.buffers.pop().map(|of| clReleaseMemObject(of)),
                5 if self.mapped.is_empty() => self.images.pop().map(|of| clReleaseMemObject(of)),
                6 => self.queues.pop().map(|of| clReleaseCommandQueue(of)),
                _ => None,
            };
        }
        Ok(())
    }
}
