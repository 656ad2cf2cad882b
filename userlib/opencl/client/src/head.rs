// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the program's handles point to.
//!
//! Heads are never freed, only used again, and always point to the dispatch
//! table: the ICD loader reads that word before this library can check the
//! handle, so that a stale handle must still lead here. They lie in slabs, so
//! that an address can be compared with where heads are before it is believed.

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use wormhole_opencl_protocol::api::{Dispatch, Kind};
use wormhole_opencl_protocol::handle::Handle;

use crate::api::DISPATCH;
use crate::arguments::Arguments;
use crate::last::Last;
use crate::object::Object;

/// A place for an object, as the ICD loader expects it.
#[repr(C, align(128))]
pub(crate) struct Head {
    dispatch: &'static Dispatch,
    /// Of the live object here; 0 if there is none.
    name: AtomicU64,
    kind: AtomicU8,
    held: Mutex<Held>,
    /// If it is a kernel: what its arguments were set to last, to be compared without a lock.
    /// Changed under the next one.
    last: Last,
    /// And all that there is to know of them.
    arguments: Mutex<Option<Box<Arguments>>>,
}

/// What keeps the object.
#[derive(Default)]
pub(crate) struct Held {
    /// Also while only objects that need it keep it alive.
    weak: Weak<Object>,
    /// There while the program holds references.
    pub(crate) object: Option<Arc<Object>>,
    pub(crate) references: u32,
}

impl Head {
    const fn new() -> Self {
        Head {
            dispatch: &DISPATCH,
            name: AtomicU64::new(0),
            kind: AtomicU8::new(0),
            held: Mutex::new(Held {
                weak: Weak::new(),
                object: None,
                references: 0,
            }),
            last: Last::new(),
            arguments: Mutex::new(None),
        }
    }

    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    /// What is kept of a kernel's arguments.
    #[inline]
    pub(crate) fn arguments(&self) -> Option<MappedMutexGuard<'_, Arguments>> {
        let arguments = self.arguments.lock();
        MutexGuard::try_map(arguments, |arguments| arguments.as_deref_mut()).ok()
    }

    pub(crate) fn set_arguments(&self, arguments: Arguments) {
        let mut place = self.arguments.lock();
        self.last.begin(arguments.len());
        *place = Some(Box::new(arguments));
    }

    /// What a kernel's arguments were set to last.
    #[inline]
    pub(crate) fn last(&self) -> &Last {
        &self.last
    }

    /// The live object here.
    pub(crate) fn object(&self) -> Option<Arc<Object>> {
        let held = self.lock();
        match &held.object {
            Some(object) => Some(object.clone()),
            None => held.weak.upgrade(),
        }
    }

    /// Its name, if it is of this kind.
    #[inline]
    pub(crate) fn name(&self, kind: Kind) -> Option<Handle> {
        let name = Handle::from_bits(self.name.load(Ordering::Acquire));
        let is_it = !name.is_null() && self.kind.load(Ordering::Relaxed) == kind as u8;
        is_it.then_some(name)
    }

    /// Whether the live object here has this name.
    #[inline]
    pub(crate) fn is(&self, name: Handle) -> bool {
        self.name.load(Ordering::Acquire) == name.to_bits()
    }

    /// Puts an object here, of which the program holds no reference yet.
    pub(crate) fn fill(&self, object: &Arc<Object>) {
        let (kind, name) = (object.kind(), object.handle());
        *self.lock() = Held {
            weak: Arc::downgrade(object),
            object: None,
            references: 0,
        };
        self.kind.store(kind as u8, Ordering::Relaxed);
        self.name.store(name.to_bits(), Ordering::Release);
    }

    /// The program has its first reference to the object that is here.
    pub(crate) fn hold(&self, object: Arc<Object>) {
        let mut held = self.lock();
        held.references = 1;
        held.object = Some(object);
    }

    /// Leaves nothing here.
    pub(crate) fn clear(&self) {
        self.name.store(0, Ordering::Release);
        *self.lock() = Held::default();
        // They may hold the last reference to an object.
        let mut place = self.arguments.lock();
        self.last.end();
        let arguments = place.take();
        drop(place);
        drop(arguments);
    }
}

/// Heads of the first slab. Each other one has as many as all before it.
const FIRST: usize = 256;
/// So many objects can be live at once as heads are in so many slabs.
const SLABS: usize = 23;

/// The first slab. Most programs need no other.
static HEADS: [Head; FIRST] = [const { Head::new() }; FIRST];
/// The others; null until they are needed.
static FURTHER: [AtomicPtr<Head>; SLABS - 1] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; SLABS - 1];

/// How many heads a slab has.
fn len(slab: usize) -> usize {
    match slab {
        0 => FIRST,
        _ => FIRST << (slab - 1),
    }
}

/// The slab of the head of this number, and its place there.
fn place(index: u32) -> (usize, usize) {
    let index = index as usize;
    let slab = (usize::BITS - (index / FIRST).leading_zeros()) as usize;
    match slab {
        0 => (0, index),
        _ => (slab, index - len(slab)),
    }
}

/// Sees to it that there is a head of this number. Numbers come in order, and not at once.
/// `None` if there can be no more.
pub(crate) fn make(index: u32) -> Option<()> {
    let (slab, at) = place(index);
    let Some(further) = slab.checked_sub(1) else {
        return Some(());
    };
    let heads = FURTHER.get(further)?;
    if at == 0 {
        let made: Box<[Head]> = (0..len(slab)).map(|_| Head::new()).collect();
        heads.store(Box::leak(made).as_mut_ptr(), Ordering::Release);
    }
    Some(())
}

/// The head of this number, if it was made.
pub(crate) fn at(index: u32) -> Option<&'static Head> {
    let (slab, at) = place(index);
    let Some(further) = slab.checked_sub(1) else {
        return HEADS.get(at);
    };
    let heads = FURTHER.get(further)?.load(Ordering::Acquire);
    if heads.is_null() {
        return None;
    }
    // SAFETY: a slab is never freed, and has more heads than this.
    Some(unsafe { &*heads.add(at) })
}

/// The head at an address that the program gives.
#[inline]
pub(crate) fn find(address: usize) -> Option<&'static Head> {
    match find_first(address) {
        Some(head) => Some(head),
        None => find_further(address),
    }
}

/// As [`find`], if it is of the first slab: the way to all others calls something.
#[inline(always)]
pub(crate) fn find_first(address: usize) -> Option<&'static Head> {
    let offset = address.wrapping_sub(HEADS.as_ptr() as usize);
    match offset % size_of::<Head>() {
        0 => HEADS.get(offset / size_of::<Head>()),
        _ => None,
    }
}

#[inline(never)]
fn find_further(address: usize) -> Option<&'static Head> {
    for (slab, heads) in (1..).zip(&FURTHER) {
        let heads = heads.load(Ordering::Acquire);
        if heads.is_null() {
            return None;
        }
        let offset = address.wrapping_sub(heads as usize);
        let (at, rest) = (offset / size_of::<Head>(), offset % size_of::<Head>());
        if at < len(slab) {
            // SAFETY: a slab is never freed, and has more heads than this.
            return (rest == 0).then(|| unsafe { &*heads.add(at) });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_lie_one_behind_the_other() {
        let mut next = (0, 0);
        for index in 0..10_000 {
            assert_eq!(place(index), next);
            next.1 += 1;
            if next.1 == len(next.0) {
                next = (next.0 + 1, 0);
            }
        }
    }
}
