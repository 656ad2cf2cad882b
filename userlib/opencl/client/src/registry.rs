// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The objects that the program holds: which addresses are handles, how often
//! each is referenced, and what the server calls them.
//!
//! A handle given to the program is the address of a head ([`crate::head`]).
//!
//! Lock order: a kernel's arguments, the connection's locks; then the registry's, what a
//! head holds. No [`Object`] is dropped under these two.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{CL_OUT_OF_HOST_MEMORY, CL_OUT_OF_RESOURCES};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::cl_int;

use crate::connection;
use crate::head::{self, Head};
use crate::object::{Object, Shadow};
use crate::query;

/// A head is used again only after so many others were given back, so that a
/// program that uses a released handle is told so.
const REST: usize = 256;

#[derive(Default)]
struct Registry {
    /// Heads of what the server found.
    found: FxHashMap<Handle, &'static Head>,
    /// Heads that have no object, each with the generation that its name had last.
    resting: VecDeque<(u32, u32)>,
    /// Heads that were ever used.
    used: u32,
}

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, Registry> {
    // Nothing panics half-way through a change.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A head that no object has.
struct Vacant {
    head: &'static Head,
    index: u32,
    /// Of its name, if it gets one of this side.
    generation: u32,
}

impl Registry {
    /// `None` when there are too many objects.
    fn vacant(&mut self) -> Option<Vacant> {
        let rested = match self.resting.len() > REST {
            true => self.resting.pop_front(),
            false => None,
        };
        let (index, generation) = match rested {
            Some((index, generation)) => (index, generation + 1),
            None => {
                let index = self.used;
                head::make(index)?;
                self.used += 1;
                (index, 1)
            }
        };
        let head = head::at(index)?;
        Some(Vacant {
            head,
            index,
            generation,
        })
    }
}

impl Vacant {
    /// A new object here.
    fn fill(self, kind: Kind, name: Handle, parents: Vec<Arc<Object>>) -> Arc<Object> {
        let place = Place {
            head: self.head,
            index: self.index,
            generation: self.generation,
        };
        let object = Arc::new(Object::new(kind, name, place, parents));
        self.head.fill(&object);
        object
    }
}

/// An object's head. Its own until it is dropped.
pub(crate) struct Place {
    head: &'static Head,
    index: u32,
    /// Of the last name that was made of the index.
    generation: u32,
}

impl Place {
    pub(crate) fn head(&self) -> &'static Head {
        self.head
    }
}

/// The live object of this kind at `address`.
///
/// # Errors
/// The kind's `CL_INVALID_…` if there is none.
pub(crate) fn get(kind: Kind, address: usize) -> Result<Arc<Object>, cl_int> {
    head::find(address)
        .and_then(Head::object)
        .filter(|object| object.kind() == kind)
        .ok_or(kind.invalid())
}

/// As [`get`]; `None` for a null handle.
pub(crate) fn get_optional(kind: Kind, address: usize) -> Result<Option<Arc<Object>>, cl_int> {
    match address {
        0 => Ok(None),
        _ => get(kind, address).map(Some),
    }
}

/// The name of the live object of this kind at `address`.
///
/// # Errors
/// As for [`get`].
#[inline]
pub(crate) fn name(kind: Kind, address: usize) -> Result<Handle, cl_int> {
    head::find(address)
        .and_then(|head| head.name(kind))
        .ok_or(kind.invalid())
}

/// As [`name`]; null for a null handle.
pub(crate) fn name_optional(kind: Kind, address: usize) -> Result<Handle, cl_int> {
    match address {
        0 => Ok(Handle::NULL),
        _ => name(kind, address),
    }
}

/// Adds a reference of the program's. Those to what was found are not counted.
pub(crate) fn retain(kind: Kind, address: usize) -> Result<(), cl_int> {
    let object = get(kind, address)?;
    if object.handle().is_found() {
        return Ok(());
    }
    let mut held = object.head().lock();
    held.references = held.references.checked_add(1).ok_or(CL_OUT_OF_RESOURCES)?;
    held.object = Some(object.clone());
    drop(held);
    Ok(())
}

/// Gives back a reference of the program's. As to what was found, see [`retain`].
pub(crate) fn release(kind: Kind, address: usize) -> Result<(), cl_int> {
    // Dropped last: the head is its own until then.
    let object = get(kind, address)?;
    if object.handle().is_found() {
        return Ok(());
    }
    let mut held = object.head().lock();
    held.references = held.references.checked_sub(1).ok_or(kind.invalid())?;
    let last = match held.references {
        0 => held.object.take(),
        _ => None,
    };
    drop(held);
    drop(last);
    Ok(())
}

/// Keeps what the client must know of an object that the program has just got.
///
/// # Errors
/// As for [`get`].
pub(crate) fn remember(kind: Kind, address: usize, shadow: Shadow) -> Result<(), cl_int> {
    get(kind, address)?.set_shadow(shadow);
    Ok(())
}

/// How many references the program holds.
pub(crate) fn references(object: &Object) -> u32 {
    object.head().lock().references
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

fn local(kind: Kind, name: Handle) -> usize {
    let of = |head: &'static Head| match head.name(kind) == Some(name) {
        true => head.address(),
        false => 0,
    };
    if !name.is_found() {
        return head::at(name.index()).map_or(0, of);
    }
    let mut registry = lock();
    if let Some(head) = registry.found.get(&name) {
        return of(head);
    }
    if !matches!(kind, Kind::Platform | Kind::Device) {
        return 0;
    }
    let Some(vacant) = registry.vacant() else {
        return 0;
    };
    let head = vacant.head;
    registry.found.insert(name, head);
    let object = vacant.fill(kind, name, Vec::new());
    head.hold(object);
    head.address()
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
        let vacant = lock().vacant().ok_or(CL_OUT_OF_HOST_MEMORY)?;
        let name = Handle::made(vacant.index, vacant.generation);
        let object = vacant.fill(kind, name, parents);
        Ok(New { object })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.object.handle()
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    pub(crate) fn head(&self) -> &'static Head {
        self.object.head()
    }

    /// Gives the program its first reference and returns its handle.
    pub(crate) fn publish(self) -> usize {
        let head = self.head();
        self.object.set_exists();
        head.hold(self.object);
        head.address()
    }
}

/// Takes a dropped object out and tells the server.
pub(crate) fn forget(object: &Object) {
    let place = object.place();
    place.head.clear();
    if object.handle().is_found() {
        lock().found.remove(&object.handle());
    }
    query::forget(object.kind(), object.handle());
    if object.exists() {
        connection::post_release(object.kind(), object.handle());
    }
    // Only now may the name be used again: the server reads in order.
    if place.generation < u32::MAX {
        let rest = (place.index, place.generation);
        lock().resting.push_back(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(kind: Kind) -> usize {
        New::named(kind, Vec::new()).unwrap().publish()
    }

    #[test]
    fn a_handle_is_valid_while_it_is_held_and_for_its_kind() {
        let address = new(Kind::Mem);
        assert_eq!(get(Kind::Mem, address).unwrap().head().address(), address);
        assert!(name(Kind::Mem, address).is_ok());
        retain(Kind::Mem, address).unwrap();
        release(Kind::Mem, address).unwrap();
        let invalid = Kind::Kernel.invalid();
        assert_eq!(get(Kind::Kernel, address).err(), Some(invalid));
        assert_eq!(name(Kind::Kernel, address), Err(invalid));
        assert_eq!(release(Kind::Kernel, address), Err(invalid));
        release(Kind::Mem, address).unwrap();
        let invalid = Kind::Mem.invalid();
        assert_eq!(get(Kind::Mem, address).err(), Some(invalid));
        assert_eq!(name(Kind::Mem, address), Err(invalid));
        assert_eq!(release(Kind::Mem, address), Err(invalid));
        assert_eq!(retain(Kind::Mem, address), Err(invalid));
    }

    #[test]
    fn what_needs_an_object_keeps_its_handle_valid() {
        let parent = new(Kind::Context);
        let object = get(Kind::Context, parent).unwrap();
        let child = New::named(Kind::Queue, vec![object]).unwrap().publish();
        release(Kind::Context, parent).unwrap();
        let invalid = Kind::Context.invalid();
        assert_eq!(release(Kind::Context, parent), Err(invalid), "held no more");
        retain(Kind::Context, parent).unwrap();
        release(Kind::Context, parent).unwrap();
        release(Kind::Queue, child).unwrap();
        assert_eq!(name(Kind::Context, parent), Err(invalid));
    }

    #[test]
    fn what_is_no_address_of_a_head_is_no_handle() {
        let address = new(Kind::Program);
        for wrong in [
            0,
            8,
            usize::MAX,
            address + 1,
            address - 8,
            address + (1 << 30),
        ] {
            assert!(get(Kind::Program, wrong).is_err(), "{wrong:#x}");
        }
        let local = 0u32;
        assert!(get(Kind::Program, &raw const local as usize).is_err());
        release(Kind::Program, address).unwrap();
    }

    #[test]
    fn names_lead_back_and_are_not_used_again() {
        let address = new(Kind::Sampler);
        let old = name(Kind::Sampler, address).unwrap();
        assert_eq!(local(Kind::Sampler, old), address);
        assert_eq!(local(Kind::Event, old), 0);
        release(Kind::Sampler, address).unwrap();
        assert_eq!(local(Kind::Sampler, old), 0);
        let mut back = false;
        for _ in 0..4 * REST {
            let again = new(Kind::Sampler);
            let new = name(Kind::Sampler, again).unwrap();
            assert_ne!(new, old);
            back |= again == address;
            release(Kind::Sampler, again).unwrap();
        }
        assert!(back, "heads are used again");
        let device = Handle::found(77);
        let address = local(Kind::Device, device);
        assert_eq!(local(Kind::Device, device), address);
        assert_eq!(name(Kind::Device, address), Ok(device));
        assert_eq!(local(Kind::Platform, device), 0);
    }
}
