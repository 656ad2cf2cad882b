// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boxes of bytes in memory, as rectangular transfers and images have them. On
//! the wire they are packed: no byte between rows travels.

use std::borrow::Cow;

/// Rows of bytes that begin `row_pitch` bytes apart, in slices that begin
/// `slice_pitch` bytes apart. None of its numbers is 0, and it fits into an
/// address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pitched {
    row: usize,
    rows: usize,
    slices: usize,
    row_pitch: usize,
    slice_pitch: usize,
}

impl Pitched {
    /// A box; with a pitch of 0 there is nothing between its rows or slices.
    /// `None` if it is empty, rows or slices overlap, or it does not fit.
    pub fn new(
        row: usize,
        rows: usize,
        slices: usize,
        row_pitch: usize,
        slice_pitch: usize,
    ) -> Option<Self> {
        let row_pitch = if row_pitch == 0 { row } else { row_pitch };
        let slice = row_pitch.checked_mul(rows)?;
        let slice_pitch = if slice_pitch == 0 { slice } else { slice_pitch };
        slice_pitch.checked_mul(slices)?;
        let good = row > 0 && rows > 0 && slices > 0 && row_pitch >= row && slice_pitch >= slice;
        good.then_some(Pitched {
            row,
            rows,
            slices,
            row_pitch,
            slice_pitch,
        })
    }

    /// Distance of two rows.
    pub fn row_pitch(&self) -> usize {
        self.row_pitch
    }

    /// Distance of two slices.
    pub fn slice_pitch(&self) -> usize {
        self.slice_pitch
    }

    /// Bytes in all rows.
    pub fn len(&self) -> usize {
        self.row * self.rows * self.slices
    }

    /// Never: a box has a byte at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Bytes from the first to the last one, both included.
    pub fn span(&self) -> usize {
        (self.slices - 1) * self.slice_pitch + (self.rows - 1) * self.row_pitch + self.row
    }

    /// Bytes from the first one to the end of the last slice.
    pub fn extent(&self) -> usize {
        self.slices * self.slice_pitch
    }

    /// Where each row begins.
    fn starts(&self) -> impl Iterator<Item = usize> {
        let Pitched {
            rows,
            slices,
            row_pitch,
            slice_pitch,
            ..
        } = *self;
        (0..slices)
            .flat_map(move |slice| (0..rows).map(move |row| slice * slice_pitch + row * row_pitch))
    }

    /// Puts packed bytes into the box at `to`.
    ///
    /// # Panics
    /// If there are not as many as it has.
    ///
    /// # Safety
    /// The rows of the box at `to` are valid for writing, and `data` is elsewhere.
    pub unsafe fn put(&self, data: &[u8], to: *mut u8) {
        assert_eq!(data.len(), self.len());
        if self.span() == self.len() {
            // SAFETY: there is nothing between the rows.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
            return;
        }
        for (row, start) in data.chunks_exact(self.row).zip(self.starts()) {
            // SAFETY: the caller promises the row.
            unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), to.add(start), row.len()) };
        }
    }

    /// Packed bytes of the box at `from`: as they lie if nothing is between its rows.
    ///
    /// # Safety
    /// The rows of the box at `from` are valid for reading while the result lives.
    pub unsafe fn get<'a>(&self, from: *const u8) -> Cow<'a, [u8]> {
        if self.span() == self.len() {
            // SAFETY: the caller promises it.
            return Cow::Borrowed(unsafe { std::slice::from_raw_parts(from, self.len()) });
        }
        let mut data = Vec::with_capacity(self.len());
        for start in self.starts() {
            // SAFETY: the caller promises the row.
            data.extend_from_slice(unsafe {
                std::slice::from_raw_parts(from.add(start), self.row)
            });
        }
        Cow::Owned(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_where_they_are_taken_from() {
        let memory: Vec<u8> = (0..100).collect();
        let pitched = Pitched::new(3, 2, 2, 5, 20).unwrap();
        assert_eq!((pitched.len(), pitched.span()), (12, 28));
        // SAFETY: 28 bytes from the tenth on.
        let packed = unsafe { pitched.get(memory[10..].as_ptr()) };
        assert_eq!(*packed, [10, 11, 12, 15, 16, 17, 30, 31, 32, 35, 36, 37]);
        let mut target = vec![0; 28];
        // SAFETY: as long as the span.
        unsafe { pitched.put(&packed, target.as_mut_ptr()) };
        assert_eq!(target[..9], [10, 11, 12, 0, 0, 15, 16, 17, 0]);
        assert_eq!(target[20..], [30, 31, 32, 0, 0, 35, 36, 37]);
    }

    #[test]
    fn a_packed_box_is_taken_as_it_lies() {
        let memory: Vec<u8> = (0..24).collect();
        for pitched in [(0, 0), (4, 12), (4, 0), (0, 12)]
            .map(|(row, slice)| Pitched::new(4, 3, 2, row, slice).unwrap())
        {
            // SAFETY: the memory has 24 bytes.
            let packed = unsafe { pitched.get(memory.as_ptr()) };
            assert!(matches!(packed, Cow::Borrowed(bytes) if bytes == memory));
        }
    }

    #[test]
    fn what_is_no_box_is_refused() {
        let max = usize::MAX;
        for (row, rows, slices, row_pitch, slice_pitch) in [
            (0, 1, 1, 0, 0),
            (1, 0, 1, 0, 0),
            (1, 1, 0, 0, 0),
            (4, 2, 1, 3, 0),
            (4, 2, 2, 4, 7),
            (max, 2, 1, 0, 0),
            (2, 1, max, 0, 0),
            (1, 1, 2, 1, max),
        ] {
            let pitched = Pitched::new(row, rows, slices, row_pitch, slice_pitch);
            assert_eq!(pitched, None, "{row} {rows} {slices}");
        }
    }
}
