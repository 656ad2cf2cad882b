// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The C interface, `include/wormhole_delegate.h`. A crate of its own: whatever
//! library has it linked in exports these names.

use std::ffi::{c_char, c_int, CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path as FilePath;
use std::ptr::null_mut;

use wormhole_delegate::{Caller, Entry, Error, Listener, Options, Path, Service};

fn set_errno(errno: c_int) {
    // SAFETY: this thread's own variable.
    unsafe { *libc::__errno_location() = errno };
}

fn boxed<T>(result: Result<T, Error>) -> *mut T {
    match result {
        Ok(value) => Box::into_raw(Box::new(value)),
        Err(error) => {
            set_errno(error.errno());
            null_mut()
        }
    }
}

/// # Safety
/// `path` must be NULL or a string.
unsafe fn device<'a>(path: *const c_char) -> &'a FilePath {
    let path = match path.is_null() {
        true => wormhole_transport::DEFAULT_DEVICE.as_bytes(),
        // SAFETY: the caller vouches for it.
        false => unsafe { CStr::from_ptr(path) }.to_bytes(),
    };
    FilePath::new(OsStr::from_bytes(path))
}

/// # Safety
/// `size` must be NULL or a place for a number.
unsafe fn memory(
    memory: Option<(std::ptr::NonNull<u8>, usize)>,
    size: *mut usize,
) -> *mut std::ffi::c_void {
    let (start, length) = match memory {
        Some((start, length)) => (start.as_ptr().cast(), length),
        None => (null_mut(), 0),
    };
    if !size.is_null() {
        // SAFETY: the caller vouches for it.
        unsafe { size.write(length) };
    }
    start
}

/// # Safety
/// `path` must be NULL or a string.
#[no_mangle]
pub unsafe extern "C" fn wormhole_listener_open(path: *const c_char) -> *mut Listener {
    // SAFETY: the caller vouches for it.
    boxed(Listener::open(unsafe { device(path) }))
}

/// # Safety
/// `listener` must come from `wormhole_listener_open`, and nobody else may use it now.
#[no_mangle]
pub unsafe extern "C" fn wormhole_listener_accept(listener: *mut Listener) -> *mut Service {
    // SAFETY: the caller vouches for it.
    boxed(unsafe { &mut *listener }.accept())
}

/// # Safety
/// `listener` must come from `wormhole_listener_open`, or be NULL; this is its last use.
#[no_mangle]
pub unsafe extern "C" fn wormhole_listener_close(listener: *mut Listener) {
    if !listener.is_null() {
        // SAFETY: the caller vouches for it.
        drop(unsafe { Box::from_raw(listener) });
    }
}

/// # Safety
/// `service` must come from `wormhole_listener_accept`; `size` must be NULL or a place for a
/// number.
#[no_mangle]
pub unsafe extern "C" fn wormhole_service_memory(
    service: *const Service,
    size: *mut usize,
) -> *mut std::ffi::c_void {
    // SAFETY: the caller vouches for it.
    unsafe { memory((*service).memory(), size) }
}

/// # Safety
/// `service` must come from `wormhole_listener_accept`; this is its last use. `entry` must be fit
/// to be called with any numbers, by several threads at once.
#[no_mangle]
pub unsafe extern "C" fn wormhole_service_run(
    service: *mut Service,
    entry: Entry,
    carriers: u32,
) -> c_int {
    // SAFETY: the caller vouches for it.
    let service = unsafe { Box::from_raw(service) };
    let mut options = Options::default();
    if carriers != 0 {
        options.carriers = carriers;
    }
    match service.run(entry, options) {
        Ok(()) => 0,
        Err(error) => -error.errno(),
    }
}

/// # Safety
/// `service` must come from `wormhole_listener_accept`, or be NULL; this is its last use.
#[no_mangle]
pub unsafe extern "C" fn wormhole_service_close(service: *mut Service) {
    if !service.is_null() {
        // SAFETY: the caller vouches for it.
        drop(unsafe { Box::from_raw(service) });
    }
}

/// # Safety
/// `path` must be NULL or a string.
#[no_mangle]
pub unsafe extern "C" fn wormhole_caller_connect(path: *const c_char) -> *mut Caller {
    // SAFETY: the caller vouches for it.
    boxed(Caller::connect(unsafe { device(path) }))
}

/// # Safety
/// `caller` must come from `wormhole_caller_connect`; `size` must be NULL or a place for a number.
#[no_mangle]
pub unsafe extern "C" fn wormhole_caller_memory(
    caller: *const Caller,
    size: *mut usize,
) -> *mut std::ffi::c_void {
    // SAFETY: the caller vouches for it.
    unsafe { memory((*caller).memory(), size) }
}

/// # Safety
/// `caller` must come from `wormhole_caller_connect`, `arguments` be six words, and `result` NULL
/// or a place for one; and see [`Caller::call`].
#[no_mangle]
pub unsafe extern "C" fn wormhole_caller_call(
    caller: *const Caller,
    arguments: *const [u64; 6],
    result: *mut u64,
) -> c_int {
    // SAFETY: the caller vouches for it.
    match unsafe { (*caller).call(*arguments) } {
        Ok(word) => {
            if !result.is_null() {
                // SAFETY: as above.
                unsafe { result.write(word) };
            }
            0
        }
        Err(error) => -error.errno(),
    }
}

/// # Safety
/// `caller` must come from `wormhole_caller_connect`.
#[no_mangle]
pub unsafe extern "C" fn wormhole_caller_transport(caller: *const Caller) -> *const c_char {
    // SAFETY: the caller vouches for it.
    match unsafe { (*caller).path() } {
        Path::Vmfunc => c"vmfunc".as_ptr(),
        Path::Ring => c"ring".as_ptr(),
    }
}

/// # Safety
/// `caller` must come from `wormhole_caller_connect`.
#[no_mangle]
pub unsafe extern "C" fn wormhole_caller_hops(caller: *const Caller) -> u64 {
    // SAFETY: the caller vouches for it.
    unsafe { (*caller).hops() }
}

/// # Safety
/// `caller` must come from `wormhole_caller_connect`, or be NULL; this is its last use.
#[no_mangle]
pub unsafe extern "C" fn wormhole_caller_close(caller: *mut Caller) {
    if !caller.is_null() {
        // SAFETY: the caller vouches for it.
        drop(unsafe { Box::from_raw(caller) });
    }
}
