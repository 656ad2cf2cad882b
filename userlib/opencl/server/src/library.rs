// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads the vendor's OpenCL.

use std::ffi::OsStr;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::api::Vendor;

/// A vendor's library could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It cannot be loaded.
    #[error("cannot load {name}: {source} (is an OpenCL implementation installed?)")]
    Load {
        /// As it was asked for.
        name: String,
        /// What the loader says.
        source: libloading::Error,
    },
    /// It is not an OpenCL library.
    #[error("{name} has no clGetPlatformIDs: it is no OpenCL library")]
    NoOpenCl {
        /// As it was asked for.
        name: String,
    },
}

/// A vendor's OpenCL library, loaded for good.
pub struct Library;

impl Library {
    /// Name under which a system's OpenCL is found.
    pub const DEFAULT: &str = "libOpenCL.so.1";

    /// Loads a library by name or path and looks its functions up. It stays
    /// loaded until the process ends: vendors' libraries do not unload well.
    ///
    /// # Errors
    /// If it cannot be loaded or is not OpenCL.
    pub fn load(name: &OsStr) -> Result<Vendor, LibraryError> {
        // SAFETY: running a vendor's code is what the server is for.
        let library = unsafe { Handle::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        let library =
            std::mem::ManuallyDrop::new(library.map_err(|source| LibraryError::Load {
                name: name.to_string_lossy().into_owned(),
                source,
            })?);
        // SAFETY: a function of OpenCL's name has OpenCL's type; the library stays.
        let vendor = unsafe {
            Vendor::load(
                |symbol| match library.get::<*const std::ffi::c_void>(symbol) {
                    Ok(found) => found.into_raw().cast_const(),
                    Err(_) => std::ptr::null(),
                },
            )
        };
        match vendor.clGetPlatformIDs {
            Some(_) => Ok(vendor),
            None => Err(LibraryError::NoOpenCl {
                name: name.to_string_lossy().into_owned(),
            }),
        }
    }
}
