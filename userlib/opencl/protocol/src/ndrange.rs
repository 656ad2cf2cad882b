// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The index space of a launch (OpenCL 1.2, 3.2 and 5.8).
//!
//! On the wire: a byte, which is the number of dimensions, with [`OFFSET`] and [`LOCAL`] added if
//! these are given; then, a `u64` for each dimension, the global size, the offset and the local
//! size.

use crate::wire::{Malformed, Reader, Wire, Writer};

/// There is a global offset.
pub const OFFSET: u8 = 1 << 2;
/// There is a local size.
pub const LOCAL: u8 = 1 << 3;

/// Most dimensions.
pub const DIMENSIONS: usize = 3;

const WORD: usize = size_of::<u64>();

/// Most sizes of an index space.
pub const SIZES: usize = 3 * DIMENSIONS;

/// Room for the sizes of an index space.
pub type Room = [u8; SIZES * WORD];

/// An index space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NdRange<'a> {
    /// As on the wire.
    first: u8,
    /// As on the wire; so many as [`len`] says.
    sizes: &'a [u8],
}

/// Number of dimensions.
#[inline]
fn dimensions(first: u8) -> usize {
    (first & !(OFFSET | LOCAL)).into()
}

/// How many bytes the sizes take.
#[inline]
fn len(first: u8) -> usize {
    let given = |flag| usize::from(first & flag != 0);
    dimensions(first) * (1 + given(OFFSET) + given(LOCAL)) * WORD
}

impl<'a> NdRange<'a> {
    /// An index space of as many dimensions as `global` has, and the others have, too. `None` if
    /// these are not 1 to 3.
    #[inline(always)]
    pub fn new(
        room: &'a mut Room,
        global: &[usize],
        offset: Option<&[usize]>,
        local: Option<&[usize]>,
    ) -> Option<Self> {
        let dimensions = global.len();
        let fits = |given: Option<&[usize]>| given.is_none_or(|given| given.len() == dimensions);
        if !(1..=DIMENSIONS).contains(&dimensions) || !fits(offset) || !fits(local) {
            return None;
        }
        let flag = |given: bool, flag| if given { flag } else { 0 };
        let first =
            dimensions as u8 | flag(offset.is_some(), OFFSET) | flag(local.is_some(), LOCAL);
        let mut at = 0;
        for given in [Some(global), offset, local] {
            for size in given.unwrap_or_default() {
                room[at..at + WORD].copy_from_slice(&(*size as u64).to_le_bytes());
                at += WORD;
            }
        }
        let sizes = &room[..at];
        Some(NdRange { first, sizes })
    }

    /// 1 to 3.
    #[inline]
    pub fn dimensions(&self) -> u32 {
        dimensions(self.first) as u32
    }

    /// All sizes, at most [`SIZES`], in the order of the wire.
    #[inline]
    pub fn sizes(&self) -> impl Iterator<Item = u64> + use<'a> {
        let words = self.sizes.chunks_exact(WORD);
        words.map(|word| u64::from_le_bytes(word.first_chunk().copied().unwrap_or_default()))
    }

    /// Of sizes in the order of the wire those that are the global size, in work-items, the
    /// global offset, if there is one, and the size of a work-group, unless that is left to the
    /// device.
    #[inline(always)]
    pub fn parts<'s, T>(
        &self,
        sizes: &'s [T; SIZES],
    ) -> (&'s [T], Option<&'s [T]>, Option<&'s [T]>) {
        let dimensions = dimensions(self.first);
        let (global, rest) = sizes.split_at(dimensions);
        let part = |flag, at: usize| (self.first & flag != 0).then(|| &rest[at..at + dimensions]);
        let offset = part(OFFSET, 0);
        let local = part(LOCAL, offset.map_or(0, <[T]>::len));
        (global, offset, local)
    }
}

impl<'a> Wire<'a> for NdRange<'a> {
    const MIN: usize = 1 + WORD;

    #[inline]
    fn put(&self, w: &mut Writer<'a>) {
        self.first.put(w);
        w.append(self.sizes);
    }

    #[inline]
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let first = u8::get(r)?;
        if !(1..=DIMENSIONS).contains(&dimensions(first)) {
            return Err(Malformed::Contradiction("no such index space"));
        }
        let sizes = r.take(len(first))?;
        Ok(NdRange { first, sizes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<NdRange<'_>, Malformed> {
        let mut r = Reader::new(bytes);
        let range = NdRange::get(&mut r)?;
        r.finish()?;
        Ok(range)
    }

    #[test]
    fn there_and_back() {
        let (some, others) = ([1, 2, usize::MAX], [7, 8, 9]);
        for dimensions in 1..=DIMENSIONS {
            let sizes = &some[..dimensions];
            for given in 0..4 {
                let offset = (given & 1 != 0).then_some(&others[..dimensions]);
                let local = (given & 2 != 0).then_some(sizes);
                let mut room = [0; SIZES * WORD];
                let range = NdRange::new(&mut room, sizes, offset, local).unwrap();
                let mut w = Writer::new();
                range.put(&mut w);
                let bytes = w.to_vec();
                assert_eq!(read(&bytes), Ok(range));
                assert_eq!(read(&bytes[..bytes.len() - 1]), Err(Malformed::Truncated));
                assert_eq!(range.dimensions() as usize, dimensions);
                let mut native = [0; SIZES];
                for (native, size) in native.iter_mut().zip(range.sizes()) {
                    *native = size as usize;
                }
                assert_eq!(range.parts(&native), (sizes, offset, local));
            }
        }
        let mut room = [0; SIZES * WORD];
        for (global, offset, local) in [
            (&[][..], None, None),
            (&[1; 4], None, None),
            (&[1; 2], Some(&[1][..]), None),
            (&[1; 2], None, Some(&[1; 3][..])),
        ] {
            assert_eq!(NdRange::new(&mut room, global, offset, local), None);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for first in [0, 16 | 1, OFFSET, LOCAL | OFFSET, 128 | 2] {
            let mut bytes = vec![first];
            bytes.resize(1 + 9 * WORD, 0);
            assert!(
                matches!(read(&bytes), Err(Malformed::Contradiction(_))),
                "{first}"
            );
        }
    }
}
