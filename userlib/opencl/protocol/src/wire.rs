// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The codec: how values become bytes and back.
//!
//! Numbers are little-endian, of their own width. A sequence is its length as
//! `u32`, then its elements; an array of a fixed length is its elements alone. An
//! optional value is one byte, 0 or 1, then the
//! value if 1. There is no padding, and one value has one encoding only.
//!
//! The bytes read come from a peer that is not trusted: a length is compared
//! with what is there before anything is allocated for it.

use std::io::IoSlice;

use arrayvec::ArrayVec;
use smallvec::SmallVec;

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end within a value.
    #[error("the message ends within a value")]
    Truncated,
    /// They go on after the last value.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// A sequence claims more elements than the message has room for.
    #[error("a sequence claims {0} elements, more than the message holds")]
    Length(u32),
    /// An optional value's first byte is neither 0 nor 1.
    #[error("{0} is no presence byte")]
    Presence(u8),
    /// No function has this number, or it is none that travels.
    #[error("no function has number {0}")]
    Function(u16),
    /// A reserved field is not zero.
    #[error("reserved bits are set: {0:#x}")]
    Reserved(u16),
    /// A value contradicts another one, or what the connection knows.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Sequences of bytes from this length on are not copied into the message but
/// handed to the transport where they lie.
const BULK: usize = 1024;
/// Messages that need no memory of the heap: all that are posted often.
const FEW: usize = 512;

/// Builds a message.
#[derive(Debug, Default)]
pub struct Writer<'a> {
    bytes: Bytes,
    /// Borrowed pieces, and where in `bytes` each belongs; in ascending order.
    bulk: SmallVec<[(usize, &'a [u8]); 1]>,
}

/// Bytes that need no memory of the heap while they are few.
#[derive(Debug, Default)]
struct Bytes {
    /// All of them, unless they are in `many`. Then it is full, and not looked at.
    few: ArrayVec<u8, FEW>,
    many: Vec<u8>,
}

impl Bytes {
    #[inline]
    fn extend(&mut self, bytes: &[u8]) {
        if self.few.try_extend_from_slice(bytes).is_err() {
            self.extend_many(bytes);
        }
    }

    #[cold]
    fn extend_many(&mut self, bytes: &[u8]) {
        if self.many.is_empty() {
            self.many.reserve(4 * FEW + bytes.len());
            self.many.extend_from_slice(&self.few);
            let rest = self.few.remaining_capacity();
            self.few.extend(std::iter::repeat_n(0, rest));
        }
        self.many.extend_from_slice(bytes);
    }

    #[inline]
    fn len(&self) -> usize {
        self.get().len()
    }

    #[inline]
    fn get(&self) -> &[u8] {
        match self.many.is_empty() {
            true => &self.few,
            false => &self.many,
        }
    }
}

/// Pieces of a message. Few messages have more than one borrowed one.
pub type Parts<'a> = SmallVec<[IoSlice<'a>; 3]>;

impl<'a> Writer<'a> {
    /// An empty message.
    pub fn new() -> Self {
        Writer::default()
    }

    #[inline]
    fn put_bytes(&mut self, bytes: &'a [u8]) {
        if bytes.len() >= BULK {
            self.bulk.push((self.bytes.len(), bytes));
        } else {
            self.bytes.extend(bytes);
        }
    }

    /// Appends what is encoded already.
    #[inline]
    pub fn append(&mut self, bytes: &'a [u8]) {
        self.put_bytes(bytes);
    }

    /// Gives `take` the message in pieces, in order.
    #[inline]
    pub fn with_parts<T>(&self, take: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        match self.bulk.is_empty() {
            true => take(&[IoSlice::new(self.bytes.get())]),
            false => take(&self.parts()),
        }
    }

    /// The message in pieces, in order.
    pub fn parts(&self) -> Parts<'_> {
        let mut parts = Parts::new();
        let mut done = 0;
        let bytes = self.bytes.get();
        for (at, piece) in &self.bulk {
            parts.push(IoSlice::new(&bytes[done..*at]));
            parts.push(IoSlice::new(piece));
            done = *at;
        }
        parts.push(IoSlice::new(&bytes[done..]));
        parts
    }

    /// The message in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let parts = self.parts();
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}

/// Takes a message apart.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads the length of a sequence whose elements take `min` bytes each or more.
    #[inline]
    fn length(&mut self, min: usize) -> Result<usize, Malformed> {
        match u32::get(self)? {
            0 => Ok(0),
            len => self.check_length(len, min),
        }
    }

    #[inline(never)]
    fn check_length(&self, len: u32, min: usize) -> Result<usize, Malformed> {
        let fits = usize::try_from(len)
            .ok()
            .filter(|len| *len <= self.rest.len() / min.max(1));
        fits.ok_or(Malformed::Length(len))
    }

    /// Reads so many elements behind those that there are.
    #[inline(never)]
    fn elements<T: Wire<'a>, S: Extend<T>>(
        &mut self,
        len: usize,
        mut to: S,
    ) -> Result<S, Malformed> {
        for _ in 0..len {
            to.extend(Some(T::get(self)?));
        }
        Ok(to)
    }

    /// Checks that everything was read.
    #[inline]
    pub fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            len => Err(Malformed::Trailing(len)),
        }
    }
}

/// A value with an encoding.
pub trait Wire<'a>: Sized {
    /// Fewest bytes that an encoded value takes.
    const MIN: usize;
    /// Appends the value. A sequence longer than `u32::MAX` is a fault of the
    /// caller and panics.
    fn put(&self, w: &mut Writer<'a>);
    /// Reads a value.
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed>;
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl<'a> Wire<'a> for $ty {
            const MIN: usize = size_of::<$ty>();
            #[inline]
            fn put(&self, w: &mut Writer<'a>) {
                w.bytes.extend(&self.to_le_bytes());
            }
            #[inline]
            fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
                let mut bytes = [0; size_of::<$ty>()];
                bytes.copy_from_slice(r.take(size_of::<$ty>())?);
                Ok(<$ty>::from_le_bytes(bytes))
            }
        }
    )*};
}
numbers!(u8, u16, u32, i32, u64, i64);

#[inline]
fn put_length(len: usize, w: &mut Writer<'_>) {
    u32::try_from(len)
        .expect("sequences are bounded by the longest message")
        .put(w);
}

impl<'a> Wire<'a> for &'a [u8] {
    const MIN: usize = 4;
    fn put(&self, w: &mut Writer<'a>) {
        put_length(self.len(), w);
        w.put_bytes(self);
    }
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let len = r.length(1)?;
        r.take(len)
    }
}

/// A sequence that needs no memory of the heap while it is short.
pub type Few<T> = SmallVec<[T; 4]>;

macro_rules! sequences {
    ($($sequence:ident)*) => {$(
        impl<'a, T: Wire<'a>> Wire<'a> for $sequence<T> {
            const MIN: usize = 4;
            #[inline]
            fn put(&self, w: &mut Writer<'a>) {
                put_length(self.len(), w);
                self.iter().for_each(|element| element.put(w));
            }
            #[inline(always)]
            fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
                // Most are empty.
                match r.length(T::MIN)? {
                    0 => Ok($sequence::new()),
                    len => r.elements(len, $sequence::with_capacity(len)),
                }
            }
        }
    )*};
}
sequences!(Few Vec);

impl<'a, T: Wire<'a> + Copy + Default, const N: usize> Wire<'a> for [T; N] {
    const MIN: usize = N * T::MIN;
    fn put(&self, w: &mut Writer<'a>) {
        self.iter().for_each(|element| element.put(w));
    }
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut elements = [T::default(); N];
        for element in &mut elements {
            *element = T::get(r)?;
        }
        Ok(elements)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    const MIN: usize = 1;
    fn put(&self, w: &mut Writer<'a>) {
        match self {
            None => 0u8.put(w),
            Some(value) => {
                1u8.put(w);
                value.put(w);
            }
        }
    }
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        match u8::get(r)? {
            0 => Ok(None),
            1 => Ok(Some(T::get(r)?)),
            other => Err(Malformed::Presence(other)),
        }
    }
}

impl<'a, A: Wire<'a>, B: Wire<'a>> Wire<'a> for (A, B) {
    const MIN: usize = A::MIN + B::MIN;
    fn put(&self, w: &mut Writer<'a>) {
        self.0.put(w);
        self.1.put(w);
    }
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok((A::get(r)?, B::get(r)?))
    }
}
