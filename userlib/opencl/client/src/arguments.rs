// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a kernel's arguments are set to. That has an effect when the kernel is
//! enqueued only, so the server hears of it with that: of each argument that was
//! set to something else than the server knows, what it was set to last.

use std::sync::Arc;

use wormhole_opencl_protocol::argument::{ArgKind, KernelArg};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::wire::Few;

use crate::head::Head;
use crate::last::Last;
use crate::object::Object;

/// What the program gives for an argument: a size, and that many bytes or null.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    size: usize,
    bytes: Option<&'a [u8]>,
    /// The bytes as a number, while they are few.
    word: u64,
}

impl<'a> Given<'a> {
    #[inline]
    pub(crate) fn new(size: usize, bytes: Option<&'a [u8]>) -> Self {
        let word = match bytes {
            Some(bytes) => match *bytes {
                [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
                _ => 0,
            },
            None => 0,
        };
        Given { size, bytes, word }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        self.bytes
    }

    /// The handle that it is.
    pub(crate) fn handle(&self) -> Option<usize> {
        let is_one = self.size == size_of::<usize>() && self.bytes.is_some();
        is_one.then_some(self.word as usize)
    }
}

#[derive(Clone)]
struct Argument {
    kind: ArgKind,
    /// It was set.
    set: bool,
    /// The server was not told.
    changed: bool,
    /// As it was given; `bytes` only if the word does not tell all.
    size: usize,
    null: bool,
    word: u64,
    bytes: Vec<u8>,
    /// Where the object is that it was set to, and its name.
    object: Option<(&'static Head, Handle)>,
}

/// A live object that an argument is set to.
pub(crate) struct Named {
    pub(crate) head: &'static Head,
    pub(crate) object: Arc<Object>,
}

impl Argument {
    fn new(kind: ArgKind) -> Self {
        Argument {
            kind,
            set: false,
            changed: false,
            size: 0,
            null: true,
            word: 0,
            bytes: Vec::new(),
            object: None,
        }
    }

    /// Whether the word tells all of the bytes.
    #[inline]
    fn is_word(size: usize) -> bool {
        matches!(size, 4 | 8)
    }

    #[inline]
    fn is(&self, given: &Given<'_>) -> bool {
        self.set
            && self.size == given.size
            && self.word == given.word
            && self.null == given.bytes.is_none()
            && (self.null || Self::is_word(self.size) || self.same_bytes(given))
            && match &self.object {
                Some((head, name)) => head.is(*name),
                None => true,
            }
    }

    fn same_bytes(&self, given: &Given<'_>) -> bool {
        given.bytes.is_some_and(|bytes| bytes == self.bytes)
    }

    fn change(&self, index: u32) -> KernelArg<'_> {
        let size = self.size as u64;
        let (object, value) = match self.object {
            Some((_, name)) => (name, None),
            None if self.null || self.kind == ArgKind::Memory => (Handle::NULL, None),
            None => (Handle::NULL, Some(&self.bytes[..])),
        };
        KernelArg {
            index,
            size,
            object,
            value,
        }
    }
}

/// The arguments of one kernel.
#[derive(Clone)]
pub(crate) struct Arguments {
    all: Vec<Argument>,
    /// How many of them have changed.
    changed: usize,
    /// The objects among these. The server destroys none of them before it was told.
    held: Vec<(usize, Arc<Object>)>,
}

impl Arguments {
    pub(crate) fn new(kinds: Vec<ArgKind>) -> Self {
        Arguments {
            all: kinds.into_iter().map(Argument::new).collect(),
            changed: 0,
            held: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Notes what an argument is set to.
    pub(crate) fn note(&self, index: usize, last: &Last) {
        let Some(argument) = self.all.get(index) else {
            return;
        };
        match argument.set && !argument.null && Argument::is_word(argument.size) {
            true => last.note(index, argument.size, argument.word, argument.object),
            false => last.note_other(index),
        }
    }

    pub(crate) fn kind(&self, index: usize) -> Option<ArgKind> {
        Some(self.all.get(index)?.kind)
    }

    /// Whether an argument was set to just this before, and the object, if it is one, is live.
    #[inline]
    pub(crate) fn is(&self, index: usize, given: &Given<'_>) -> bool {
        self.all
            .get(index)
            .is_some_and(|argument| argument.is(given))
    }

    /// Sets an argument, to this object if it is one. Gives what is to be dropped once this is
    /// not locked any more.
    #[must_use]
    pub(crate) fn set(
        &mut self,
        index: usize,
        given: &Given<'_>,
        named: Option<Named>,
    ) -> Option<Arc<Object>> {
        let argument = self.all.get_mut(index)?;
        let changed = std::mem::replace(&mut argument.changed, true);
        argument.set = true;
        argument.size = given.size;
        argument.null = given.bytes.is_none();
        argument.word = given.word;
        argument.bytes.clear();
        if let (Some(bytes), None) = (given.bytes, &named) {
            argument.bytes.extend_from_slice(bytes);
        }
        let name = |named: &Named| (named.head, named.object.handle());
        argument.object = named.as_ref().map(name);
        let before = match changed {
            true => self.held.iter().position(|(of, _)| *of == index),
            false => None,
        };
        let before = before.map(|place| self.held.swap_remove(place).1);
        self.changed += usize::from(!changed);
        self.held.extend(named.map(|named| (index, named.object)));
        before
    }

    /// Whether there is something that the server is to be told.
    #[inline]
    pub(crate) fn have_changed(&self) -> bool {
        self.changed > 0
    }

    /// What that is.
    #[inline]
    pub(crate) fn changes(&self) -> Vec<KernelArg<'_>> {
        match self.have_changed() {
            true => self.all_changes(),
            false => Vec::new(),
        }
    }

    #[inline(never)]
    fn all_changes(&self) -> Vec<KernelArg<'_>> {
        let mut changes = Vec::with_capacity(self.changed);
        let changed = (0..)
            .zip(&self.all)
            .filter(|(_, argument)| argument.changed);
        changes.extend(changed.map(|(index, argument)| argument.change(index)));
        changes
    }

    /// The server was told. Gives what is to be dropped once this is not locked any more.
    #[must_use]
    pub(crate) fn told(&mut self) -> Few<Arc<Object>> {
        self.changed = 0;
        for argument in &mut self.all {
            argument.changed = false;
        }
        self.held.drain(..).map(|(_, object)| object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Given<'_> {
        Given::new(bytes.len(), Some(bytes))
    }

    fn told(arguments: &mut Arguments) -> Vec<(u32, Vec<u8>)> {
        let changes = arguments.changes().into_iter();
        let changes = changes.map(|arg| (arg.index, arg.value.unwrap().to_vec()));
        let changes = changes.collect();
        assert!(arguments.told().is_empty());
        changes
    }

    #[test]
    fn only_the_last_of_what_changed_is_told() {
        let mut arguments = Arguments::new(vec![ArgKind::Value(0); 3]);
        assert_eq!(told(&mut arguments), []);
        let set = [(2, &[1][..]), (0, &[2, 3]), (2, &[4; 40]), (1, &[5; 4])];
        for (index, bytes) in set {
            let given = number(bytes);
            assert!(!arguments.is(index, &given));
            assert!(arguments.set(index, &given, None).is_none());
            assert!(arguments.is(index, &given));
        }
        let last = [(0, vec![2, 3]), (1, vec![5; 4]), (2, vec![4; 40])];
        assert_eq!(told(&mut arguments), last);
        assert_eq!(told(&mut arguments), [], "once");
        assert!(arguments.is(0, &number(&[2, 3])));
        for (index, other) in [
            (0, &[2][..]),
            (0, &[2, 4]),
            (1, &[5, 5, 5, 6]),
            (1, &[5, 5, 5, 5, 0, 0, 0, 0]),
            (2, &[0; 40]),
        ] {
            assert!(!arguments.is(index, &number(other)));
        }
        assert!(!arguments.is(1, &Given::new(4, None)));
        assert!(arguments.set(1, &number(&[]), None).is_none());
        assert_eq!(told(&mut arguments), [(1, vec![])]);
        assert!(arguments.kind(3).is_none());
    }

    #[test]
    fn a_local_argument_is_its_size() {
        let mut arguments = Arguments::new(vec![ArgKind::Local]);
        assert!(!arguments.is(0, &Given::new(0, None)), "never set");
        assert!(arguments.set(0, &Given::new(64, None), None).is_none());
        assert!(arguments.is(0, &Given::new(64, None)));
        assert!(!arguments.is(0, &Given::new(65, None)));
        let changes = arguments.changes();
        assert_eq!((changes[0].size, changes[0].value), (64, None));
    }
}
