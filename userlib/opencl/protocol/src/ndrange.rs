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

/// One number for each dimension; those that are not used are 0.
pub type Sizes = [u64; DIMENSIONS];

/// An index space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NdRange {
    dimensions: u8,
    global: Sizes,
    offset: Option<Sizes>,
    local: Option<Sizes>,
}

impl NdRange {
    /// An index space of as many dimensions as `global` has, and the others have, too. `None` if
    /// these are not 1 to 3.
    #[inline]
    pub fn new(
        global: &[usize],
        offset: Option<&[usize]>,
        local: Option<&[usize]>,
    ) -> Option<Self> {
        if !(1..=DIMENSIONS).contains(&global.len()) {
            return None;
        }
        let sizes = |from: &[usize]| {
            let mut sizes = Sizes::default();
            for (size, from) in sizes.iter_mut().zip(from) {
                *size = *from as u64;
            }
            sizes
        };
        Some(NdRange {
            dimensions: global.len() as u8,
            global: sizes(global),
            offset: offset.map(sizes),
            local: local.map(sizes),
        })
    }

    /// 1 to 3.
    pub fn dimensions(&self) -> u32 {
        self.dimensions.into()
    }

    /// Work-items.
    pub fn global(&self) -> &Sizes {
        &self.global
    }

    /// Global identifiers begin there, or at 0.
    pub fn offset(&self) -> Option<&Sizes> {
        self.offset.as_ref()
    }

    /// Work-items of a work-group, unless that is left to the device.
    pub fn local(&self) -> Option<&Sizes> {
        self.local.as_ref()
    }
}

impl<'a> Wire<'a> for NdRange {
    const MIN: usize = 1 + WORD;

    #[inline]
    fn put(&self, w: &mut Writer<'a>) {
        let flag = |given: bool, flag| if given { flag } else { 0 };
        let first = self.dimensions
            | flag(self.offset.is_some(), OFFSET)
            | flag(self.local.is_some(), LOCAL);
        first.put(w);
        let mut put = |sizes: &Sizes| {
            let sizes = sizes.iter().take(self.dimensions.into());
            sizes.for_each(|size| size.put(w));
        };
        put(&self.global);
        self.offset.iter().for_each(&mut put);
        self.local.iter().for_each(&mut put);
    }

    #[inline]
    fn get(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let first = u8::get(r)?;
        let dimensions = first & !(OFFSET | LOCAL);
        if !(1..=DIMENSIONS).contains(&usize::from(dimensions)) {
            return Err(Malformed::Contradiction("no such index space"));
        }
        let mut sizes = || -> Result<Sizes, Malformed> {
            let mut sizes = Sizes::default();
            let bytes = r.take(usize::from(dimensions) * WORD)?;
            for (size, bytes) in sizes.iter_mut().zip(bytes.chunks_exact(WORD)) {
                *size = u64::from_le_bytes(*bytes.first_chunk().ok_or(Malformed::Truncated)?);
            }
            Ok(sizes)
        };
        Ok(NdRange {
            dimensions,
            global: sizes()?,
            offset: (first & OFFSET != 0).then(&mut sizes).transpose()?,
            local: (first & LOCAL != 0).then(&mut sizes).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<NdRange, Malformed> {
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
                let range = NdRange::new(sizes, offset, local).unwrap();
                let mut w = Writer::new();
                range.put(&mut w);
                let bytes = w.to_vec();
                assert_eq!(read(&bytes), Ok(range));
                assert_eq!(read(&bytes[..bytes.len() - 1]), Err(Malformed::Truncated));
                assert_eq!(range.dimensions() as usize, dimensions);
                assert_eq!(range.offset().is_some(), offset.is_some());
                assert_eq!(
                    range.global()[..dimensions],
                    sizes.iter().map(|s| *s as u64).collect::<Vec<_>>()
                );
            }
        }
        assert_eq!(NdRange::new(&[], None, None), None);
        assert_eq!(NdRange::new(&[1; 4], None, None), None);
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
