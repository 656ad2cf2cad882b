// SPDX-License-Identifier: Apache-2.0 OR MIT
//! OpenCL's objects, each released when dropped.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::{null, null_mut};

use crate::ffi::*;
use crate::Result;

fn check(status: cl_int, function: &str) -> Result<()> {
    match status {
        CL_SUCCESS => Ok(()),
        status => Err(format!("{function}: OpenCL error {status}").into()),
    }
}

/// The first device of the first platform that has one, a context and a program.
///
/// # Invariants
/// All three are live.
pub struct Device {
    id: cl_device_id,
    context: cl_context,
    program: cl_program,
}

impl Device {
    /// Builds the program of this source.
    pub fn open(source: &str) -> Result<Self> {
        let id = first_device()?;
        let mut status = CL_SUCCESS;
        // SAFETY: one device at a live variable, no properties and no callback.
        let context = unsafe { clCreateContext(null(), 1, &id, None, null_mut(), &raw mut status) };
        check(status, "clCreateContext")?;
        let (text, length) = (source.as_ptr().cast(), source.len());
        // SAFETY: one string of that length.
        let program = unsafe {
            clCreateProgramWithSource(context, 1, &raw const text, &length, &raw mut status)
        };
        if let Err(error) = check(status, "clCreateProgramWithSource") {
            // SAFETY: made above, and not used any more.
            unsafe { clReleaseContext(context) };
            return Err(error);
        }
        let device = Device {
            id,
            context,
            program,
        };
        // SAFETY: one device, default options, no callback.
        let status = unsafe { clBuildProgram(program, 1, &id, null(), None, null_mut()) };
        check(status, "clBuildProgram")
            .map_err(|error| format!("{error}\n{}", device.build_log()))?;
        Ok(device)
    }

    fn build_log(&self) -> String {
        let mut log = vec![0u8; 4096];
        let mut size = 0;
        // SAFETY: room for that many bytes.
        unsafe {
            clGetProgramBuildInfo(
                self.program,
                self.id,
                CL_PROGRAM_BUILD_LOG,
                log.len(),
                log.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        log.truncate(size);
        String::from_utf8_lossy(&log).into_owned()
    }

    pub fn queue(&self) -> Result<Queue> {
        self.queue_with(0)
    }

    pub fn profiling_queue(&self) -> Result<Queue> {
        self.queue_with(CL_QUEUE_PROFILING_ENABLE)
    }

    fn queue_with(&self, properties: cl_bitfield) -> Result<Queue> {
        let mut status = CL_SUCCESS;
        // SAFETY: both are live.
        let queue =
            unsafe { clCreateCommandQueue(self.context, self.id, properties, &raw mut status) };
        check(status, "clCreateCommandQueue")?;
        Ok(Queue(queue))
    }

    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let name = CString::new(name)?;
        let mut status = CL_SUCCESS;
        // SAFETY: the program is live, and the name ends with NUL.
        let kernel = unsafe { clCreateKernel(self.program, name.as_ptr(), &raw mut status) };
        check(status, "clCreateKernel")?;
        Ok(Kernel(kernel))
    }

    pub fn user_event(&self) -> Result<UserEvent> {
        let mut status = CL_SUCCESS;
        // SAFETY: the context is live.
        let event = unsafe { clCreateUserEvent(self.context, &raw mut status) };
        check(status, "clCreateUserEvent")?;
        Ok(UserEvent(event))
    }

    pub fn buffer(&self, size: usize) -> Result<Buffer> {
        self.buffer_of(CL_MEM_READ_WRITE, size)
    }

    pub fn buffer_of(&self, flags: cl_bitfield, size: usize) -> Result<Buffer> {
        let mut status = CL_SUCCESS;
        // SAFETY: the context is live, and no memory of ours is given.
        let memory =
            unsafe { clCreateBuffer(self.context, flags, size, null_mut(), &raw mut status) };
        check(status, "clCreateBuffer")?;
        Ok(Buffer { memory, size })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: live, by the invariants, and used no more.
        unsafe {
            clReleaseProgram(self.program);
            clReleaseContext(self.context);
        }
    }
}

fn first_device() -> Result<cl_device_id> {
    let mut platforms = [null_mut(); 16];
    let mut count = 0;
    // SAFETY: room for that many.
    let status = unsafe {
        let room = platforms.len() as cl_uint;
        clGetPlatformIDs(room, platforms.as_mut_ptr(), &raw mut count)
    };
    check(status, "clGetPlatformIDs")?;
    let mut device = null_mut();
    for platform in platforms.into_iter().take(count as usize) {
        // SAFETY: room for one.
        let status =
            unsafe { clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &raw mut device, null_mut()) };
        if status == CL_SUCCESS {
            return Ok(device);
        }
    }
    Err("there is no OpenCL device".into())
}

/// # Invariants
/// It is live.
pub struct Kernel(cl_kernel);

// SAFETY: OpenCL's objects are no thread's own.
unsafe impl Send for Kernel {}

/// What a kernel's argument is set to, as `clSetKernelArg` gets it.
#[derive(Clone, Copy)]
pub struct Argument<'a> {
    size: usize,
    bytes: [u8; 8],
    buffer: PhantomData<&'a Buffer>,
}

impl<'a> Argument<'a> {
    fn new<const N: usize>(value: [u8; N]) -> Self {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&value);
        Argument {
            size: N,
            bytes,
            buffer: PhantomData,
        }
    }

    pub fn memory(buffer: &'a Buffer) -> Self {
        Self::new((buffer.memory as usize).to_ne_bytes())
    }

    pub fn uint(number: u32) -> Self {
        Self::new(number.to_ne_bytes())
    }

    pub fn float(number: f32) -> Self {
        Self::new(number.to_ne_bytes())
    }
}

impl Kernel {
    /// Sets the first arguments, as many as there are.
    #[inline]
    pub fn set_all(&self, arguments: &[Argument<'_>]) -> Result<()> {
        let mut failed = CL_SUCCESS;
        for (index, argument) in (0..).zip(arguments) {
            let (size, value) = (argument.size, argument.bytes.as_ptr().cast());
            // SAFETY: the value has that size; of another type than the kernel's it would be another number.
            failed = failed.min(unsafe { clSetKernelArg(self.0, index, size, value) });
        }
        check(failed, "clSetKernelArg")
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // SAFETY: live, and used no more.
        unsafe { clReleaseKernel(self.0) };
    }
}

/// An event that this program completes itself.
///
/// # Invariants
/// It is live.
pub struct UserEvent(cl_event);

// SAFETY: OpenCL's objects are no thread's own.
unsafe impl Send for UserEvent {}
// SAFETY: OpenCL's functions may be called by several threads at once.
unsafe impl Sync for UserEvent {}

impl UserEvent {
    pub fn complete(&self) -> Result<()> {
        // SAFETY: live, by the invariants.
        let status = unsafe { clSetUserEventStatus(self.0, CL_COMPLETE) };
        check(status, "clSetUserEventStatus")
    }

    /// Returns when it is complete.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: one event, which is live.
        check(unsafe { clWaitForEvents(1, &self.0) }, "clWaitForEvents")
    }
}

impl Drop for UserEvent {
    fn drop(&mut self) {
        // SAFETY: live, and used no more.
        unsafe { clReleaseEvent(self.0) };
    }
}

/// # Invariants
/// It is live, and has this size in bytes.
pub struct Buffer {
    memory: cl_mem,
    size: usize,
}

// SAFETY: OpenCL's objects are no thread's own.
unsafe impl Send for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: live, and used no more.
        unsafe { clReleaseMemObject(self.memory) };
    }
}

/// Bytes of numbers, in this machine's order.
pub fn bytes(numbers: &[f32]) -> &[u8] {
    // SAFETY: any byte of a number is a byte.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// An in-order queue.
///
/// # Invariants
/// It is live.
pub struct Queue(cl_command_queue);

// SAFETY: OpenCL's objects are no thread's own.
unsafe impl Send for Queue {}

impl Queue {
    pub fn finish(&self) -> Result<()> {
        // SAFETY: live, by the invariants.
        check(unsafe { clFinish(self.0) }, "clFinish")
    }

    /// Work-items in one dimension, `local` in a work-group.
    pub fn launch(&self, kernel: &Kernel, global: usize, local: usize) -> Result<()> {
        // SAFETY: both are live, and sizes have one dimension. The kernels of this program stay within the buffers that
        // they are given.
        let status = unsafe {
            clEnqueueNDRangeKernel(
                self.0,
                kernel.0,
                1,
                null(),
                &global,
                &local,
                0,
                null(),
                null_mut(),
            )
        };
        check(status, "clEnqueueNDRangeKernel")
    }

    pub fn write(&self, buffer: &Buffer, data: &[u8]) -> Result<()> {
        // SAFETY: the data is there until it returns.
        unsafe { self.enqueue_write(buffer, data, CL_TRUE, null_mut()) }
    }

    /// When it began and when it ended, by a queue that keeps that.
    pub fn timed_write(&self, buffer: &Buffer, data: &[u8]) -> Result<(u64, u64)> {
        let mut event = null_mut();
        // SAFETY: the data is there until it returns, and there is room for the event.
        unsafe { self.enqueue_write(buffer, data, CL_TRUE, &raw mut event) }?;
        let time = |name| {
            let mut time = 0u64;
            let size = size_of_val(&time);
            let value = (&raw mut time).cast();
            // SAFETY: a live event, and room for the time.
            let status = unsafe { clGetEventProfilingInfo(event, name, size, value, null_mut()) };
            check(status, "clGetEventProfilingInfo").map(|()| time)
        };
        let times = time(CL_PROFILING_COMMAND_START).and_then(|start| {
            let end = time(CL_PROFILING_COMMAND_END)?;
            Ok((start, end))
        });
        // SAFETY: live, and used no more.
        unsafe { clReleaseEvent(event) };
        times
    }

    /// # Safety
    /// The data stays as it is until the queue has finished.
    pub unsafe fn write_later(&self, buffer: &Buffer, data: &[u8]) -> Result<()> {
        // SAFETY: the caller promises it.
        unsafe { self.enqueue_write(buffer, data, CL_FALSE, null_mut()) }
    }

    /// # Safety
    /// As for [`write_later`](Self::write_later), if it does not block; `event` is null, or there is room for one.
    unsafe fn enqueue_write(
        &self,
        buffer: &Buffer,
        data: &[u8],
        blocking: cl_bool,
        event: *mut cl_event,
    ) -> Result<()> {
        // SAFETY: the caller promises that the data, of this length, is there for as long as that takes.
        let status = unsafe {
            clEnqueueWriteBuffer(
                self.0,
                buffer.memory,
                blocking,
                0,
                data.len(),
                data.as_ptr().cast(),
                0,
                null(),
                event,
            )
        };
        check(status, "clEnqueueWriteBuffer")
    }

    pub fn read(&self, buffer: &Buffer, data: &mut [u8]) -> Result<()> {
        // SAFETY: there is room until it returns.
        unsafe { self.enqueue_read(buffer, data.as_mut_ptr(), data.len(), CL_TRUE) }
    }

    /// # Safety
    /// `size` bytes at `data` are valid for writing until the queue has finished.
    pub unsafe fn read_later(&self, buffer: &Buffer, data: *mut u8, size: usize) -> Result<()> {
        // SAFETY: the caller promises it.
        unsafe { self.enqueue_read(buffer, data, size, CL_FALSE) }
    }

    /// # Safety
    /// `size` bytes at `data` are valid for writing until it returns, or, if it does not block, until the queue has
    /// finished.
    unsafe fn enqueue_read(
        &self,
        buffer: &Buffer,
        data: *mut u8,
        size: usize,
        blocking: cl_bool,
    ) -> Result<()> {
        // SAFETY: the caller promises it.
        let status = unsafe {
            clEnqueueReadBuffer(
                self.0,
                buffer.memory,
                blocking,
                0,
                size,
                data.cast(),
                0,
                null(),
                null_mut(),
            )
        };
        check(status, "clEnqueueReadBuffer")
    }

    /// Maps all of a buffer for `flags`, and gives its bytes to `with`.
    pub fn map<T>(
        &self,
        buffer: &Buffer,
        flags: cl_bitfield,
        with: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T> {
        let mut status = CL_SUCCESS;
        // SAFETY: both are live.
        let mapped = unsafe {
            clEnqueueMapBuffer(
                self.0,
                buffer.memory,
                CL_TRUE,
                flags,
                0,
                buffer.size,
                0,
                null(),
                null_mut(),
                &raw mut status,
            )
        };
        check(status, "clEnqueueMapBuffer")?;
        // SAFETY: so many bytes are mapped there, for this thread alone, until they are unmapped below.
        let done = with(unsafe { std::slice::from_raw_parts_mut(mapped.cast(), buffer.size) });
        // SAFETY: mapped above, and nobody has its bytes any more.
        let status = unsafe {
            clEnqueueUnmapMemObject(self.0, buffer.memory, mapped, 0, null(), null_mut())
        };
        check(status, "clEnqueueUnmapMemObject")?;
        self.finish()?;
        Ok(done)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: live, and used no more.
        unsafe { clReleaseCommandQueue(self.0) };
    }
}
