// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moving boxes of a buffer or an image to and from the program's memory, whose
//! rows and slices have pitches of their own. By hand, since only the bytes of
//! the box travel, packed, and a read's lie apart again where they land.
//!
//! Otherwise as [`crate::transfer`]: a write is posted with its data, a read that
//! does not block lands later, and of one that is longer than [`CHUNK`] all
//! pieces but the last block.

use std::sync::Arc;

use wormhole_opencl_protocol::api::{
    ClEnqueueReadBufferRect, ClEnqueueReadImage, ClEnqueueWriteBufferRect, ClEnqueueWriteImage,
};
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::pitched::Pitched;
use wormhole_opencl_protocol::types::cl_int;

use crate::connection::{self, Landing};
use crate::object::Object;
use crate::transfer::{Wanted, CHUNK};

/// Numbers of elements, rows and slices, or of a place among them.
pub(crate) type Triple = [usize; 3];

/// What a box is a part of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whole {
    /// A buffer, as if it had rows and slices.
    Buffer {
        row_pitch: usize,
        slice_pitch: usize,
    },
    Image,
}

/// A box of a memory object, and what it is like in the program's memory.
pub(crate) struct Volume {
    pub(crate) queue: Arc<Object>,
    pub(crate) memory: Arc<Object>,
    pub(crate) whole: Whole,
    pub(crate) origin: Triple,
    pub(crate) region: Triple,
    /// Bytes of an element; those of a buffer are bytes.
    pub(crate) element: usize,
    pub(crate) host: Pitched,
}

/// A part of a box that one message carries.
struct Piece {
    /// From the box's first element.
    offset: Triple,
    region: Triple,
    last: bool,
}

/// Parts of a box of such elements that have at most `max` bytes: some slices,
/// else some rows, else some elements.
fn pieces(region: Triple, element: usize, max: usize) -> Vec<Piece> {
    let row = region[0] * element;
    let slice = row * region[1];
    let step = if slice <= max {
        [region[0], region[1], max / slice]
    } else if row <= max {
        [region[0], max / row, 1]
    } else {
        [max / element, 1, 1]
    };
    let mut pieces = Vec::new();
    for z in (0..region[2]).step_by(step[2]) {
        for y in (0..region[1]).step_by(step[1]) {
            for x in (0..region[0]).step_by(step[0]) {
                let offset = [x, y, z];
                pieces.push(Piece {
                    offset,
                    region: std::array::from_fn(|i| step[i].min(region[i] - offset[i])),
                    last: false,
                });
            }
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.last = true;
    }
    pieces
}

fn wide(triple: Triple) -> [u64; 3] {
    triple.map(|number| number as u64)
}

impl Volume {
    fn pieces(&self) -> Vec<Piece> {
        pieces(self.region, self.element, CHUNK)
    }

    /// What a piece is like in the program's memory, and where it begins there.
    fn host(&self, piece: &Piece) -> Result<(Pitched, usize), cl_int> {
        let (row_pitch, slice_pitch) = (self.host.row_pitch(), self.host.slice_pitch());
        let [elements, rows, slices] = piece.region;
        let row = elements * self.element;
        let host = Pitched::new(row, rows, slices, row_pitch, slice_pitch);
        let [x, y, z] = piece.offset;
        let start = x * self.element + y * row_pitch + z * slice_pitch;
        Ok((host.ok_or(CL_INVALID_VALUE)?, start))
    }

    fn origin(&self, piece: &Piece) -> [u64; 3] {
        wide(std::array::from_fn(|i| self.origin[i] + piece.offset[i]))
    }

    fn read_rect(
        &self,
        piece: &Piece,
        (row_pitch, slice_pitch): (usize, usize),
        read: u64,
        event_wait_list: &[Handle],
        event: Handle,
    ) -> ClEnqueueReadBufferRect {
        ClEnqueueReadBufferRect {
            command_queue: self.queue.handle(),
            buffer: self.memory.handle(),
            read,
            origin: self.origin(piece),
            region: wide(piece.region),
            row_pitch: row_pitch as u64,
            slice_pitch: slice_pitch as u64,
            event_wait_list: event_wait_list.to_vec(),
            event,
        }
    }

    fn read_image(
        &self,
        piece: &Piece,
        read: u64,
        event_wait_list: &[Handle],
        event: Handle,
    ) -> ClEnqueueReadImage {
        ClEnqueueReadImage {
            command_queue: self.queue.handle(),
            image: self.memory.handle(),
            read,
            origin: self.origin(piece),
            region: wide(piece.region),
            event_wait_list: event_wait_list.to_vec(),
            event,
        }
    }

    /// Reads the box to `pointer`, where its first byte goes.
    ///
    /// # Safety
    /// The rows of `self.host` at `pointer` are valid for writing until the read
    /// has completed.
    pub(crate) unsafe fn read(
        &self,
        pointer: *mut u8,
        blocking: bool,
        waits: &[Handle],
        event: Wanted,
    ) -> Result<(), cl_int> {
        for piece in self.pieces() {
            let (host, start) = self.host(&piece)?;
            let named = if piece.last {
                event.handle()
            } else {
                Handle::NULL
            };
            // SAFETY: within the box.
            let target = unsafe { pointer.add(start) };
            if blocking || !piece.last || !connection::may_post_read(host.len()) {
                let take = |data: &[u8]| match data.len() == host.len() {
                    true => {
                        // SAFETY: the caller promises it.
                        unsafe { host.put(data, target) };
                        Ok(())
                    }
                    false => Err(CL_OUT_OF_RESOURCES),
                };
                match self.whole {
                    Whole::Buffer {
                        row_pitch,
                        slice_pitch,
                    } => {
                        let pitches = (row_pitch, slice_pitch);
                        let request = self.read_rect(&piece, pitches, 0, waits, named);
                        connection::call(&request, |reply| take(reply.data))??;
                    }
                    Whole::Image => {
                        let request = self.read_image(&piece, 0, waits, named);
                        connection::call(&request, |reply| take(reply.data))??;
                    }
                }
                continue;
            }
            // SAFETY: the caller promises it.
            let landing = unsafe { Landing::pitched(target, host, self.queue.handle()) };
            match self.whole {
                Whole::Buffer {
                    row_pitch,
                    slice_pitch,
                } => {
                    let pitches = (row_pitch, slice_pitch);
                    let request = |read| self.read_rect(&piece, pitches, read, waits, named);
                    connection::post_transfer(landing, request)?;
                }
                Whole::Image => {
                    let request = |read| self.read_image(&piece, read, waits, named);
                    connection::post_transfer(landing, request)?;
                }
            }
        }
        event.give();
        Ok(())
    }

    /// Writes the box, whose first byte is at `pointer`.
    ///
    /// # Safety
    /// The rows of `self.host` at `pointer` are valid for reading.
    pub(crate) unsafe fn write(
        &self,
        pointer: *const u8,
        blocking: bool,
        waits: &[Handle],
        event: Wanted,
    ) -> Result<(), cl_int> {
        for piece in self.pieces() {
            let (host, start) = self.host(&piece)?;
            let named = if piece.last {
                event.handle()
            } else {
                Handle::NULL
            };
            // SAFETY: the caller promises the rows.
            let data = unsafe { host.get(pointer.add(start)) };
            let blocking = blocking || !piece.last;
            let (command_queue, memory) = (self.queue.handle(), self.memory.handle());
            let (origin, region) = (self.origin(&piece), wide(piece.region));
            match self.whole {
                Whole::Buffer {
                    row_pitch,
                    slice_pitch,
                } => connection::send(
                    &ClEnqueueWriteBufferRect {
                        command_queue,
                        buffer: memory,
                        blocking: blocking.into(),
                        origin,
                        region,
                        row_pitch: row_pitch as u64,
                        slice_pitch: slice_pitch as u64,
                        data: &data,
                        event_wait_list: waits.to_vec(),
                        event: named,
                    },
                    blocking,
                )?,
                Whole::Image => connection::send(
                    &ClEnqueueWriteImage {
                        command_queue,
                        image: memory,
                        blocking: blocking.into(),
                        origin,
                        region,
                        data: &data,
                        event_wait_list: waits.to_vec(),
                        event: named,
                    },
                    blocking,
                )?,
            }
        }
        event.give();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(region: Triple, element: usize, max: usize) -> Vec<(Triple, Triple)> {
        let pieces = pieces(region, element, max);
        assert!(pieces.iter().rev().skip(1).all(|piece| !piece.last));
        assert!(pieces.last().is_some_and(|piece| piece.last));
        let both = |piece: &Piece| (piece.offset, piece.region);
        pieces.iter().map(both).collect()
    }

    #[test]
    fn boxes_are_cut_along_their_slices_rows_or_elements() {
        assert_eq!(cut([4, 3, 2], 2, 48), [([0, 0, 0], [4, 3, 2])]);
        let slices = [([0, 0, 0], [4, 3, 2]), ([0, 0, 2], [4, 3, 1])];
        assert_eq!(cut([4, 3, 3], 2, 50), slices);
        let rows = [([0, 0, 0], [4, 2, 1]), ([0, 2, 0], [4, 1, 1])];
        assert_eq!(cut([4, 3, 1], 2, 20), rows);
        let elements = [([0, 0, 0], [3, 1, 1]), ([3, 0, 0], [1, 1, 1])];
        assert_eq!(cut([4, 1, 1], 2, 7), elements);
        assert_eq!(cut([5, 3, 2], 16, 16).len(), 30);
    }
}
