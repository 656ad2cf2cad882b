// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the client's handles stand for.

use rustc_hash::FxHashMap;
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::cl_int;
use wormhole_opencl_protocol::wire::Malformed;

use crate::check::Refusal;
use crate::live::Live;

/// A place of the table.
#[derive(Debug, Default)]
struct Slot {
    /// Of the object that is or was here last.
    generation: u32,
    object: Option<(Kind, usize)>,
}

/// The client's objects by handle, and handles by the vendor's pointer.
#[derive(Debug)]
pub(crate) struct Objects {
    /// Made by the client, by index.
    made: Vec<Slot>,
    /// Platforms and whole devices, by index without the bit that marks them.
    found: Vec<(Kind, usize)>,
    names: FxHashMap<(Kind, usize), Handle>,
    live: Live,
    max: usize,
}

impl Objects {
    /// A table of at most `max` objects that a client makes.
    pub(crate) fn new(max: usize) -> Self {
        Objects {
            made: Vec::new(),
            found: Vec::new(),
            names: FxHashMap::default(),
            live: Live::default(),
            max,
        }
    }

    #[inline]
    fn find(&self, handle: Handle) -> Option<(Kind, usize)> {
        if handle.is_found() {
            let index = (handle.index() - Handle::found(0).index()) as usize;
            let object = self.found.get(index).copied();
            return object.filter(|_| handle.generation() == 1);
        }
        let slot = self.made.get(handle.index() as usize)?;
        slot.object
            .filter(|_| slot.generation == handle.generation())
    }

    /// The vendor's object.
    ///
    /// # Errors
    /// The kind's `CL_INVALID_…` if the handle is not that of a live one.
    pub(crate) fn get(&self, kind: Kind, handle: Handle) -> Result<usize, Refusal> {
        match self.find(handle) {
            Some((found, object)) if found == kind => Ok(object),
            _ => Err(kind.invalid().into()),
        }
    }

    /// As [`get`](Objects::get); null for a null handle.
    pub(crate) fn get_optional(&self, kind: Kind, handle: Handle) -> Result<usize, Refusal> {
        match handle.is_null() {
            true => Ok(0),
            false => self.get(kind, handle),
        }
    }

    /// The vendor's objects of a list; `invalid` if one is none.
    #[inline(always)]
    pub(crate) fn get_all(
        &self,
        kind: Kind,
        list: &[Handle],
        invalid: cl_int,
    ) -> Result<Vec<usize>, Refusal> {
        // Most lists are of events, and there are none.
        match list.is_empty() {
            true => Ok(Vec::new()),
            false => self.find_all(kind, list, invalid),
        }
    }

    fn find_all(
        &self,
        kind: Kind,
        list: &[Handle],
        invalid: cl_int,
    ) -> Result<Vec<usize>, Refusal> {
        list.iter()
            .map(|handle| self.get(kind, *handle).map_err(|_| invalid.into()))
            .collect()
    }

    /// Checks that a client may give this name to a new object. Null is no
    /// name, and needs none.
    pub(crate) fn vacant(&self, handle: Handle) -> Result<(), Malformed> {
        match handle.is_null() {
            true => Ok(()),
            false => self.vacant_made(handle),
        }
    }

    /// As [`vacant`](Objects::vacant), for an object that must have a name.
    pub(crate) fn vacant_made(&self, handle: Handle) -> Result<(), Malformed> {
        let index = handle.index() as usize;
        if handle.is_null() || handle.is_found() || handle.generation() == 0 || index >= self.max {
            return Err(Malformed::Contradiction("no name for a new object"));
        }
        match self.made.get(index) {
            Some(slot) if slot.object.is_some() || slot.generation >= handle.generation() => {
                Err(Malformed::Contradiction("the name of another object"))
            }
            _ => Ok(()),
        }
    }

    /// Enters an object under a name that is vacant.
    pub(crate) fn insert(&mut self, kind: Kind, handle: Handle, object: usize) {
        let index = handle.index() as usize;
        if index >= self.made.len() {
            self.made.resize_with(index + 1, Slot::default);
        }
        self.made[index] = Slot {
            generation: handle.generation(),
            object: Some((kind, object)),
        };
        self.names.insert((kind, object), handle);
        self.live.add(kind, 1);
    }

    /// Takes an object out.
    pub(crate) fn remove(&mut self, kind: Kind, handle: Handle) -> Option<usize> {
        let (found, object) = self.find(handle)?;
        if found != kind || handle.is_found() {
            return None;
        }
        self.made.get_mut(handle.index() as usize)?.object = None;
        self.live.add(kind, -1);
        if self.names.get(&(kind, object)) == Some(&handle) {
            self.names.remove(&(kind, object));
        }
        Some(object)
    }

    /// How many the client has.
    pub(crate) fn live(&self) -> Live {
        self.live
    }

    /// Names of platforms or whole devices, which get one when they are first seen.
    pub(crate) fn name_found(
        &mut self,
        kind: Kind,
        list: &[usize],
    ) -> Result<Vec<Handle>, Refusal> {
        Ok(list.iter().map(|object| self.name(kind, *object)).collect())
    }

    fn name(&mut self, kind: Kind, object: usize) -> Handle {
        match self.known(kind, object) {
            Handle::NULL if object != 0 => {
                // The vendor has few of them, and they do not change.
                let handle = Handle::found(self.found.len() as u32);
                self.found.push((kind, object));
                self.names.insert((kind, object), handle);
                handle
            }
            known => known,
        }
    }

    /// Name of an object that has one, else null: the client may have given it back while the
    /// vendor still holds it.
    fn known(&self, kind: Kind, object: usize) -> Handle {
        let name = self.names.get(&(kind, object)).copied();
        name.unwrap_or(Handle::NULL)
    }

    /// Puts names for the vendor's pointers in a query's value.
    pub(crate) fn name_all(&self, kind: Kind, value: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut named = Vec::with_capacity(value.len());
        for chunk in value.chunks_exact(size_of::<usize>()) {
            let mut bytes = [0; size_of::<usize>()];
            bytes.copy_from_slice(chunk);
            let handle = self.known(kind, usize::from_ne_bytes(bytes));
            named.extend_from_slice(&handle.to_bits().to_le_bytes());
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use wormhole_opencl_protocol::constants::{CL_INVALID_KERNEL, CL_INVALID_MEM_OBJECT};

    use super::*;

    fn status(result: Result<usize, Refusal>) -> cl_int {
        match result {
            Err(Refusal::Status(status)) => status,
            other => panic!("{other:?} is no status"),
        }
    }

    #[test]
    fn stale_and_forged_handles_are_refused() {
        let mut objects = Objects::new(8);
        let old = Handle::made(3, 1);
        objects.vacant_made(old).unwrap();
        objects.insert(Kind::Mem, old, 0x1000);
        assert_eq!(objects.get(Kind::Mem, old).unwrap(), 0x1000);
        assert_eq!(status(objects.get(Kind::Kernel, old)), CL_INVALID_KERNEL);
        assert!(objects.vacant_made(Handle::made(3, 2)).is_err());
        assert_eq!(objects.remove(Kind::Kernel, old), None);
        assert_eq!(objects.remove(Kind::Mem, old), Some(0x1000));
        assert_eq!(status(objects.get(Kind::Mem, old)), CL_INVALID_MEM_OBJECT);
        assert!(objects.vacant_made(old).is_err());
        let new = Handle::made(3, 2);
        objects.vacant_made(new).unwrap();
        assert!(objects.live().is_none());
        objects.insert(Kind::Mem, new, 0x2000);
        assert_eq!(objects.live().to_string(), "1 cl_mem");
        assert_eq!(status(objects.get(Kind::Mem, old)), CL_INVALID_MEM_OBJECT);
        assert_eq!(
            status(objects.get(Kind::Mem, Handle::made(2, 1))),
            CL_INVALID_MEM_OBJECT
        );
        assert_eq!(
            status(objects.get(Kind::Mem, Handle::found(0))),
            CL_INVALID_MEM_OBJECT
        );
    }

    #[test]
    fn names_of_new_objects_are_bounded() {
        let objects = Objects::new(8);
        assert!(objects.vacant_made(Handle::made(7, 1)).is_ok());
        assert!(objects.vacant_made(Handle::made(8, 1)).is_err());
        assert!(objects.vacant_made(Handle::made(0, 0)).is_err());
        assert!(objects.vacant_made(Handle::found(0)).is_err());
        assert!(objects.vacant(Handle::NULL).is_ok());
        assert!(objects.vacant_made(Handle::NULL).is_err());
    }

    #[test]
    fn the_vendors_pointers_are_not_shown() {
        let mut objects = Objects::new(8);
        let names = objects
            .name_found(Kind::Device, &[0x7000, 0x8000, 0x7000])
            .unwrap();
        assert_eq!(
            names,
            [Handle::found(0), Handle::found(1), Handle::found(0)]
        );
        assert_eq!(objects.get(Kind::Device, names[1]).unwrap(), 0x8000);
        let value = objects
            .name_all(Kind::Context, &0x9000usize.to_ne_bytes())
            .unwrap();
        assert_eq!(value, [0; 8]);
        let value = objects
            .name_all(Kind::Device, &0x8000usize.to_ne_bytes())
            .unwrap();
        assert_eq!(value, names[1].to_bits().to_le_bytes());
    }

    /// A device that was given back, but that the vendor still names, is not found anew.
    #[test]
    fn a_part_of_a_device_is_known_while_its_name_is() {
        let mut objects = Objects::new(8);
        let name = Handle::made(0, 1);
        let device = || 0x7000usize.to_ne_bytes();
        objects.insert(Kind::Device, name, 0x7000);
        let value = objects.name_all(Kind::Device, &device()).unwrap();
        assert_eq!(value, name.to_bits().to_le_bytes());
        assert_eq!(objects.remove(Kind::Device, name), Some(0x7000));
        let value = objects.name_all(Kind::Device, &device()).unwrap();
        assert_eq!(value, [0; 8]);
    }
}
