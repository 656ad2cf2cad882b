// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An object that the program holds a handle of.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_command_type, cl_mem_flags, cl_properties};

use crate::callback::{Cookie, OfContext};
use crate::context;
use crate::head::Head;
use crate::image::Image;
use crate::registry::{self, Place};

/// Memory that the server has, too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    /// For the program.
    pub(crate) address: usize,
    /// As the server is told.
    pub(crate) place: u64,
}

impl Shared {
    /// What begins so many bytes further on.
    pub(crate) fn at(self, offset: usize) -> Self {
        Shared {
            address: self.address + offset,
            place: self.place + offset as u64,
        }
    }
}

/// What the client itself must know of an object.
pub(crate) enum Shadow {
    Context {
        /// Those it was created with, terminator included; empty if none.
        properties: Vec<isize>,
        /// What is to be called when it is gone, the last first.
        destructors: Mutex<Vec<(OfContext, Cookie)>>,
    },
    Memory {
        /// As those of a context.
        properties: Vec<cl_properties>,
        flags: cl_mem_flags,
        /// In bytes.
        size: usize,
        /// Of the program, with `CL_MEM_USE_HOST_PTR`; else 0.
        host_ptr: usize,
        /// In bytes, from the start of the parent of a sub-buffer.
        offset: usize,
        maps: AtomicU32,
        /// Where its contents are, if the server has them there, too.
        shared: Option<Shared>,
        /// `None` if it is a buffer.
        image: Option<Image>,
    },
    Event {
        /// What the command is, if the server carries out another one.
        command: Option<cl_command_type>,
        /// The event of its first part, if it is carried out in several.
        first: Option<Arc<Object>>,
    },
    /// Of a queue or a sampler.
    Made {
        /// As those of a context.
        properties: Vec<cl_properties>,
    },
}

impl Shadow {
    /// That of a queue or a sampler which was made with these properties.
    pub(crate) fn made_with(properties: &[cl_properties]) -> Self {
        Shadow::Made {
            properties: properties.to_vec(),
        }
    }
}

/// An object of the server, by the name that both ends know.
pub(crate) struct Object {
    kind: Kind,
    handle: Handle,
    place: Place,
    /// The objects that this one needs: they live as long.
    parents: Vec<Arc<Object>>,
    /// Whether the server was told to make it.
    exists: AtomicBool,
    shadow: OnceLock<Shadow>,
}

impl Object {
    pub(crate) fn new(kind: Kind, handle: Handle, place: Place, parents: Vec<Arc<Object>>) -> Self {
        Object {
            kind,
            handle,
            place,
            parents,
            exists: AtomicBool::new(false),
            shadow: OnceLock::new(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    /// The program's handle of it.
    pub(crate) fn address(&self) -> usize {
        self.head().address()
    }

    pub(crate) fn head(&self) -> &'static Head {
        self.place.head()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The object that it was made from.
    pub(crate) fn parent(&self) -> Option<&Arc<Object>> {
        self.parents.first()
    }

    /// Name of the context that it belongs to; null for platforms and devices.
    pub(crate) fn context(&self) -> Handle {
        match self.kind {
            Kind::Context => self.handle,
            _ => self.parent().map_or(Handle::NULL, |above| above.context()),
        }
    }

    pub(crate) fn set_exists(&self) {
        self.exists.store(true, Ordering::Release);
    }

    pub(crate) fn exists(&self) -> bool {
        self.exists.load(Ordering::Acquire)
    }

    pub(crate) fn shadow(&self) -> Option<&Shadow> {
        self.shadow.get()
    }

    /// The properties of a queue, a sampler or a memory object, terminator included.
    pub(crate) fn properties(&self) -> &[cl_properties] {
        match self.shadow() {
            Some(Shadow::Made { properties } | Shadow::Memory { properties, .. }) => properties,
            _ => &[],
        }
    }

    /// Keeps what the client must know. The first word counts.
    pub(crate) fn set_shadow(&self, shadow: Shadow) {
        // A second shadow would be a fault of ours, and changes nothing.
        let _ = self.shadow.set(shadow);
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // While no other object can have its handle.
        context::call_destructors(self);
        registry::forget(self);
    }
}
