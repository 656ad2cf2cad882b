// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Contexts: their properties, which hold pointers, stay in the client.

use std::ffi::{c_char, c_void};

use parking_lot::Mutex;
use wormhole_opencl_protocol::api::{ClCreateContext, Kind};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::*;

use crate::api::marshal;
use crate::callback::{Cookie, OfContext};
use crate::object::{Object, Shadow};
use crate::registry::{self, New};
use crate::{connection, input};

/// Told of errors in a context; the server's are not forwarded.
type Notify = Option<unsafe extern "C" fn(*const c_char, *const c_void, usize, *mut c_void)>;

/// A context's properties, taken apart.
#[derive(Default)]
struct Properties {
    platform: Option<cl_platform_id>,
    /// As given, terminator included.
    raw: Vec<isize>,
}

/// More pairs than there are properties.
const MAX_PROPERTIES: usize = 64;

/// # Safety
/// `list` is null or a list of pairs that ends with 0.
unsafe fn properties(list: *const cl_context_properties) -> Result<Properties, cl_int> {
    let mut properties = Properties::default();
    if list.is_null() {
        return Ok(properties);
    }
    let mut interop = None;
    for pair in 0..MAX_PROPERTIES {
        // SAFETY: no terminator was met before.
        let key = unsafe { list.add(2 * pair).read() };
        properties.raw.push(key);
        if key == 0 {
            return Ok(properties);
        }
        // SAFETY: a key is followed by its value.
        let value = unsafe { list.add(2 * pair + 1).read() };
        properties.raw.push(value);
        match key {
            CL_CONTEXT_PLATFORM if properties.platform.is_none() => {
                registry::get(Kind::Platform, value as usize)?;
                properties.platform = Some(value as cl_platform_id);
            }
            CL_CONTEXT_INTEROP_USER_SYNC if interop.is_none() => interop = Some(value),
            _ => return Err(CL_INVALID_PROPERTY),
        }
    }
    Err(CL_INVALID_PROPERTY)
}

fn make(properties: Properties, devices: &[cl_device_id]) -> Result<cl_context, cl_int> {
    let device = |device: &cl_device_id| registry::get(Kind::Device, *device as usize);
    let devices: Vec<_> = devices.iter().map(device).collect::<Result<_, _>>()?;
    let platform = match properties.platform {
        Some(platform) => registry::get(Kind::Platform, platform as usize)?.handle(),
        None => Handle::NULL,
    };
    let names = devices.iter().map(|device| device.handle()).collect();
    // It holds its devices, of which some may be parts that the program gives back.
    let new = New::named(Kind::Context, devices)?;
    let request = ClCreateContext {
        platform,
        devices: names,
        new: new.handle(),
    };
    connection::call(&request, |_| ())?;
    new.object().set_shadow(Shadow::Context {
        properties: properties.raw,
        destructors: Mutex::default(),
    });
    Ok(new.publish() as cl_context)
}

fn check_notify(notify: Notify, user_data: *mut c_void) -> Result<(), cl_int> {
    match notify.is_none() && !user_data.is_null() {
        true => Err(CL_INVALID_VALUE),
        false => Ok(()),
    }
}

/// `clCreateContext`.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create(
    list: *const cl_context_properties,
    num_devices: cl_uint,
    devices: *const cl_device_id,
    pfn_notify: Notify,
    user_data: *mut c_void,
) -> Result<cl_context, cl_int> {
    // SAFETY: the caller promises it.
    let properties = unsafe { properties(list) }?;
    // SAFETY: the caller promises it.
    let devices = unsafe { input::array(devices, num_devices as usize, CL_INVALID_VALUE) }?;
    check_notify(pfn_notify, user_data)?;
    make(properties, devices)
}

/// `clCreateContextFromType`: a context of the devices that `clGetDeviceIDs` lists.
///
/// # Safety
/// As the specification says.
pub(crate) unsafe fn create_from_type(
    list: *const cl_context_properties,
    device_type: cl_device_type,
    pfn_notify: Notify,
    user_data: *mut c_void,
) -> Result<cl_context, cl_int> {
    // SAFETY: the caller promises it.
    let properties = unsafe { properties(list) }?;
    check_notify(pfn_notify, user_data)?;
    let platform = match properties.platform {
        Some(platform) => platform,
        None => {
            let mut platform = std::ptr::null_mut();
            // SAFETY: room for one platform, and no count.
            unsafe { marshal::clGetPlatformIDs(1, &mut platform, std::ptr::null_mut()) }?;
            platform
        }
    };
    let mut count = 0;
    let none = std::ptr::null_mut();
    // SAFETY: a count, and no list.
    unsafe { marshal::clGetDeviceIDs(platform, device_type, 0, none, &mut count) }?;
    let mut devices = vec![std::ptr::null_mut(); count as usize];
    // SAFETY: room for `count` devices.
    unsafe {
        marshal::clGetDeviceIDs(
            platform,
            device_type,
            count,
            devices.as_mut_ptr(),
            &mut count,
        )
    }?;
    devices.truncate(count as usize);
    make(properties, &devices)
}

/// Queries that the client answers itself.
pub(crate) fn answer(context: &Object, name: cl_context_info) -> Option<Result<Vec<u8>, cl_int>> {
    match (name, context.shadow()) {
        (CL_CONTEXT_PROPERTIES, Some(Shadow::Context { properties, .. })) => {
            let words = properties.iter().flat_map(|word| word.to_ne_bytes());
            Some(Ok(words.collect()))
        }
        (CL_CONTEXT_DEVICES | CL_CONTEXT_NUM_DEVICES, _) => None,
        _ => Some(Err(CL_INVALID_VALUE)),
    }
}

/// `clSetContextDestructorCallback`. What a context has in the server is nothing to the program,
/// so it is gone when nothing here needs it any more, and whoever gives up the last of that calls.
pub(crate) fn set_destructor_callback(
    context: cl_context,
    pfn_notify: Option<OfContext>,
    user_data: *mut c_void,
) -> Result<(), cl_int> {
    let context = registry::get(Kind::Context, context as usize)?;
    let function = pfn_notify.ok_or(CL_INVALID_VALUE)?;
    let Some(Shadow::Context { destructors, .. }) = context.shadow() else {
        return Err(CL_INVALID_CONTEXT);
    };
    destructors.lock().push((function, Cookie(user_data)));
    Ok(())
}

/// Calls what is to be called when an object is gone, if it is a context.
pub(crate) fn call_destructors(object: &Object) {
    let Some(Shadow::Context { destructors, .. }) = object.shadow() else {
        return;
    };
    // Not under the lock, though nobody can add another one.
    let registered = std::mem::take(&mut *destructors.lock());
    for (function, cookie) in registered.into_iter().rev() {
        // SAFETY: it was registered for this, and is called once.
        unsafe { function(object.address() as cl_context, cookie.0) };
    }
}
