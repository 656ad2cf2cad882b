// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The objects that the program holds: which addresses are handles, how often
//! each is referenced, and what the server calls them.
//!
//! A handle given to the program is the address of a [`Head`]. Heads are never
//! freed, only used again, and always point to the dispatch table: the ICD
//! loader reads that word before this library can check the handle, so that a
//! stale handle must still lead here.
//!
//! Lock order: the registry's lock is taken last and no other lock is taken,
//! and no [`Object`] dropped, under it.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::FxHashMap;
use wormhole_opencl_protocol::api::{Dispatch, Kind};
use wormhole_opencl_protocol::constants::{CL_OUT_OF_HOST_MEMORY, CL_OUT_OF_RESOURCES};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::cl_int;

use crate::api::DISPATCH;
use crate::connection;
use crate::object::Object;
use crate::query;

/// What a handle points to, as the ICD loader expects it.
#[repr(C)]
struct Head {
    dispatch: &'static Dispatch,
}

/// Address of a head.
#[derive(Debug)]
pub(crate) struct Address(usize);

impl Address {
    pub(crate) fn get(&self) -> usize {
        self.0
    }
}

/// An address is used again only after so many others were given back, so that
/// a program that uses a released handle is told so.
const REST: usize = 256;

struct Entry {
    object: Weak<Object>,
    /// Keeps the object alive while the program holds references.
    held: Option<Arc<Object>>,
    references: u32,
}

#[derive(Default)]
struct Registry {
    by_address: FxHashMap<usize, Entry>,
    by_handle: FxHashMap<Handle, usize>,
    resting: VecDeque<usize>,
    /// Free indices of names, each with the generation that it had last.
    free: Vec<(u32, u32)>,
    next_index: u32,
}

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, Registry> {
    // Nothing panics half-way through a change.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    fn address(&mut self) -> Address {
        let address = match self.resting.len() > REST {
            true => self.resting.pop_front(),
            false => None,
        };
        Address(address.unwrap_or_else(|| {
            let head: &'static Head = Box::leak(Box::new(Head {
                dispatch: &DISPATCH,
            }));
            std::ptr::from_ref(head) as usize
        }))
    }

    /// A name for a new object: `None` when 2^31 are in use.
    fn name(&mut self) -> Option<Handle> {
        let (index, generation) = match self.free.pop() {
            Some((index, generation)) => (index, generation + 1),
            None => {
                let index = self.next_index;
                if Handle::made(index, 1).is_found() {
                    return None;
                }
                self.next_index += 1;
                (index, 1)
            }
        };
        Some(Handle::made(index, generation))
    }

    fn insert(&mut self, kind: Kind, handle: Handle, parents: Vec<Arc<Object>>) -> Arc<Object> {
        let address = self.address();
        let key = address.get();
        let object = Arc::new(Object::new(kind, handle, address, parents));
        self.by_handle.insert(handle, key);
        self.by_address.insert(
            key,
            Entry {
                object: Arc::downgrade(&object),
                held: None,
                references: 0,
            },
        );
        object
    }
}

/// The live object of this kind at `address`.
///
/// # Errors
/// The kind's `CL_INVALID_…` if there is none.
pub(crate) fn get(kind: Kind, address: usize) -> Result<Arc<Object>, cl_int> {
    let object = {
        let registry = lock();
        let entry = registry.by_address.get(&address);
        entry.and_then(|entry| entry.object.upgrade())
    };
    object
        .filter(|object| object.kind() == kind)
        .ok_or(kind.invalid())
}

/// As [`get`], or `None` for a null handle.
pub(crate) fn get_optional(kind: Kind, address: usize) -> Result<Option<Arc<Object>>, cl_int> {
    match address {
        0 => Ok(None),
        _ => get(kind, address).map(Some),
    }
}

/// Adds a reference of the program's. Those to what was found are not counted.
pub(crate) fn retain(kind: Kind, address: usize) -> Result<(), cl_int> {
    let object = get(kind, address)?;
    if object.handle().is_found() {
        return Ok(());
    }
    let mut registry = lock();
    let entry = registry
        .by_address
        .get_mut(&address)
        .ok_or(kind.invalid())?;
    entry.references = entry.references.checked_add(1).ok_or(CL_OUT_OF_RESOURCES)?;
    entry.held = Some(object);
    Ok(())
}

/// Gives back a reference of the program's. As to what was found, see [`retain`].
pub(crate) fn release(kind: Kind, address: usize) -> Result<(), cl_int> {
    let object = get(kind, address)?;
    if object.handle().is_found() {
        return Ok(());
    }
    let held = {
        let mut registry = lock();
        let entry = registry
            .by_address
            .get_mut(&address)
            .ok_or(kind.invalid())?;
        entry.references = entry.references.checked_sub(1).ok_or(kind.invalid())?;
        match entry.references {
            0 => entry.held.take(),
            _ => None,
        }
    };
    drop(held);
    Ok(())
}

/// How many references the program holds.
pub(crate) fn references(object: &Object) -> u32 {
    lock()
        .by_address
        .get(&object.address())
        .map_or(0, |entry| entry.references)
}

/// Handles of the program for a query's value that holds names of the server.
/// A name that is not known here becomes null.
///
/// # Errors
/// `CL_OUT_OF_RESOURCES` if the value is not a sequence of names.
pub(crate) fn localise(kind: Kind, value: &[u8]) -> Result<Vec<u8>, cl_int> {
    let mut local = Vec::with_capacity(value.len());
    let chunks = value.chunks_exact(8);
    if !chunks.remainder().is_empty() {
        return Err(CL_OUT_OF_RESOURCES);
    }
    for chunk in chunks {
        let mut bits = [0; 8];
        bits.copy_from_slice(chunk);
        let handle = Handle::from_bits(u64::from_le_bytes(bits));
        local.extend_from_slice(&self::local(kind, handle).to_ne_bytes());
    }
    Ok(local)
}

/// As [`localise`], for a list of names.
pub(crate) fn locals(kind: Kind, list: &[Handle]) -> Vec<usize> {
    list.iter().map(|handle| local(kind, *handle)).collect()
}

fn local(kind: Kind, handle: Handle) -> usize {
    // Dropped after the lock is released, as it may be the last reference.
    let known;
    let mut registry = lock();
    if let Some(address) = registry.by_handle.get(&handle) {
        let entry = registry.by_address.get(address);
        known = entry.and_then(|entry| entry.object.upgrade());
        drop(registry);
        return known
            .filter(|object| object.kind() == kind)
            .map_or(0, |object| object.address());
    }
    let found = matches!(kind, Kind::Platform | Kind::Device);
    if !found || !handle.is_found() {
        return 0;
    }
    let object = registry.insert(kind, handle, Vec::new());
    let address = object.address();
    if let Some(entry) = registry.by_address.get_mut(&address) {
        entry.references = 1;
        entry.held = Some(object);
    }
    address
}

/// An object on its way: the server has been, or is about to be, asked for it.
/// Dropped, it leaves no trace; [`publish`](New::publish) gives it to the program.
pub(crate) struct New {
    object: Arc<Object>,
}

impl New {
    /// An object with a name of its own.
    ///
    /// # Errors
    /// `CL_OUT_OF_HOST_MEMORY` if there are too many objects.
    pub(crate) fn named(kind: Kind, parents: Vec<Arc<Object>>) -> Result<Self, cl_int> {
        let mut registry = lock();
        let handle = registry.name().ok_or(CL_OUT_OF_HOST_MEMORY)?;
        let object = registry.insert(kind, handle, parents);
        Ok(New { object })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.object.handle()
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Gives the program its first reference and returns its handle.
    pub(crate) fn publish(self) -> usize {
        let address = self.object.address();
        self.object.set_exists();
        let mut registry = lock();
        if let Some(entry) = registry.by_address.get_mut(&address) {
            entry.references = 1;
            entry.held = Some(self.object);
        }
        address
    }
}

/// Takes a dropped object out and tells the server.
pub(crate) fn forget(object: &Object) {
    {
        let mut registry = lock();
        registry.by_address.remove(&object.address());
        registry.by_handle.remove(&object.handle());
        registry.resting.push_back(object.address());
    }
    query::forget(object.kind(), object.handle());
    if object.exists() {
        connection::post_release(object.kind(), object.handle());
    }
    // Only now may the name be used again: the server reads in order.
    let handle = object.handle();
    if !handle.is_found() && handle.generation() < u32::MAX {
        lock().free.push((handle.index(), handle.generation()));
    }
}
