// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory that the other side can change at any time. The only module that
//! touches it: by atomics for words, by copies for everything else, and never
//! through a reference to its bytes.

use std::collections::TryReserveError;
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{fence, AtomicU64, Ordering};
use std::sync::Arc;

use rustix::mm::{MapFlags, ProtFlags};

use super::word::Word;
use crate::Error;

/// A shared mapping of a file.
///
/// # Invariants
/// `base` points to `len` bytes, mapped readable and writable until the drop.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: all access is by atomics or by copies that tolerate other writers.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: by the invariants this is our mapping; whoever holds an
        // address in it also holds the `Arc` around it, so there is no such.
        // A failure would leave the pages mapped, which is harmless.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A part of a shared mapping.
///
/// # Invariants
/// `offset + len <= mapping.len`.
#[derive(Clone)]
pub(super) struct Region {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl Region {
    /// Maps the first `len` bytes of `file`.
    ///
    /// The file must not become shorter while it is mapped: an access beyond
    /// its end raises SIGBUS.
    pub(super) fn map(file: impl AsFd, len: u64) -> Result<Self, Error> {
        let len = usize::try_from(len)
            .ok()
            .filter(|&len| len > 0 && isize::try_from(len).is_ok())
            .ok_or(Error::Protocol("a channel of impossible size"))?;
        // SAFETY: a new mapping, at an address that the kernel chooses,
        // replaces no memory that Rust knows of.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        let base =
            NonNull::new(base.cast::<u8>()).ok_or(Error::Misuse("a mapping at address 0"))?;
        Ok(Region {
            mapping: Arc::new(Mapping { base, len }),
            offset: 0,
            len,
        })
    }

    /// The part of `len` bytes at `offset`.
    ///
    /// # Panics
    /// If it is not within this region: places never come from the other side.
    pub(super) fn part(&self, offset: u64, len: u64) -> Region {
        let (offset, len) = self.bounds(offset, len);
        Region {
            mapping: Arc::clone(&self.mapping),
            offset: self.offset + offset,
            len,
        }
    }

    /// The word at `offset`.
    ///
    /// # Panics
    /// If it is not aligned or not within this region.
    pub(super) fn word(&self, offset: u64) -> SharedWord {
        SharedWord {
            place: NonNull::from(self.atomic(offset)),
            _mapping: Arc::clone(&self.mapping),
        }
    }

    /// As [`word`](Self::word), as it lies there.
    ///
    /// # Panics
    /// As there.
    #[inline]
    pub(super) fn atomic(&self, offset: u64) -> &AtomicU64 {
        let (offset, _) = self.bounds(offset, size_of::<AtomicU64>() as u64);
        // SAFETY: `bounds` found it within the region.
        let place = unsafe { self.address().add(offset) }.cast::<AtomicU64>();
        assert!(place.is_aligned(), "a shared word is aligned");
        // SAFETY: by the invariants it is mapped as long as this region; an atomic may change
        // behind a shared reference.
        unsafe { place.as_ref() }
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// If they do not fit into this region.
    #[inline]
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        let (offset, len) = self.bounds(offset, bytes.len() as u64);
        // SAFETY: `bounds` found both ends within the region, which by the
        // invariants is mapped; `bytes` is memory of that length. It is no part of
        // this region, to which nothing gives out references.
        unsafe { copy(bytes.as_ptr(), self.address().as_ptr().add(offset), len) }
    }

    /// Copies from `offset` into all of `bytes`.
    ///
    /// # Panics
    /// If they are not all within this region.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) {
        let (offset, len) = self.bounds(offset, bytes.len() as u64);
        // SAFETY: as in `write`, the other way.
        unsafe { copy(self.address().as_ptr().add(offset), bytes.as_mut_ptr(), len) }
    }

    /// Copies the `len` bytes at `offset` to `target`.
    ///
    /// # Panics
    /// If they are not all within this region.
    ///
    /// # Safety
    /// `len` bytes at `target` are valid for writing, and apart from those.
    pub(super) unsafe fn read_to(&self, offset: u64, len: u64, target: *mut u8) {
        let (offset, len) = self.bounds(offset, len);
        // SAFETY: as in `write`, the other way; the caller vouches for `target`.
        unsafe { copy(self.address().as_ptr().add(offset), target, len) }
    }

    /// Appends the `len` bytes at `offset` to `bytes`.
    ///
    /// # Panics
    /// If they are not all within this region.
    #[inline]
    pub(super) fn append_to(
        &self,
        offset: u64,
        len: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), TryReserveError> {
        let (offset, len) = self.bounds(offset, len);
        if bytes.capacity() - bytes.len() < len {
            more_room(bytes, len)?;
        }
        let spare = bytes.spare_capacity_mut();
        // SAFETY: as in `write`, the other way; there are at least `len` bytes of spare capacity.
        unsafe {
            copy(
                self.address().as_ptr().add(offset),
                spare.as_mut_ptr().cast::<u8>(),
                len,
            );
        }
        let filled = bytes.len() + len;
        // SAFETY: the first `len` bytes of the spare capacity were just written.
        unsafe { bytes.set_len(filled) };
        Ok(())
    }

    /// Where it is mapped.
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.address().addr().get();
        start..start + self.len
    }

    pub(super) fn address(&self) -> NonNull<u8> {
        // SAFETY: by the invariants the offset is within the mapping, or at its end.
        unsafe { self.mapping.base.add(self.offset) }
    }

    #[inline]
    fn bounds(&self, offset: u64, len: u64) -> (usize, usize) {
        let within = offset
            .checked_add(len)
            .is_some_and(|end| end <= self.len as u64);
        assert!(within, "an access within the region");
        // Both are at most `self.len`, so neither is truncated.
        (offset as usize, len as usize)
    }
}

/// Most of what is read is short, and has its room already.
#[cold]
fn more_room(bytes: &mut Vec<u8>, len: usize) -> Result<(), TryReserveError> {
    bytes.try_reserve(len)
}

/// A word of a shared mapping, little-endian.
///
/// # Invariants
/// `place` points to an aligned word in the mapping that is held with it, and
/// which is accessed as a whole word and atomically only.
pub(super) struct SharedWord {
    place: NonNull<AtomicU64>,
    _mapping: Arc<Mapping>,
}

// SAFETY: the mapping belongs to the process, and it is held.
unsafe impl Send for SharedWord {}
// SAFETY: all access is by atomics.
unsafe impl Sync for SharedWord {}

impl SharedWord {
    fn atomic(&self) -> &AtomicU64 {
        // SAFETY: valid and aligned by the invariants; an atomic may change
        // behind a shared reference.
        unsafe { self.place.as_ref() }
    }
}

impl Word for SharedWord {
    fn load(&self, order: Ordering) -> u64 {
        u64::from_le(self.atomic().load(order))
    }

    fn store(&self, value: u64, order: Ordering) {
        self.atomic().store(value.to_le(), order);
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// Copies `len` bytes of which the other side may be writing (or, if it breaks
/// the rules, reading) some: then their values are unspecified.
///
/// The compiler knows nothing of the instructions but that they may touch any
/// memory, so it can assume nothing of values that change meanwhile.
///
/// # Safety
/// Both ranges must be mapped, `from` readable and `to` writable, and apart.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    use core::arch::asm;

    /// What a turn of the first loop copies. Not by string instructions, which take their
    /// time to start, and of which an emulated CPU makes a turn for each byte.
    const BLOCK: usize = 64;

    let blocks = len / BLOCK;
    for i in 0..blocks {
        // SAFETY: the caller vouches for both ranges, of which this is a part.
        unsafe {
            asm!(
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                "movups [{to} + 32], {c}",
                "movups [{to} + 48], {d}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                from = in(reg) from.add(BLOCK * i),
                to = in(reg) to.add(BLOCK * i),
                options(nostack, preserves_flags),
            );
        }
    }
    let mut at = blocks * BLOCK;
    // What is left has a part of each of these sizes or none: no loop, since most is short.
    macro_rules! part {
        ($size:literal, $class:ident, $register:literal, $move:literal) => {
            if len & $size != 0 {
                // SAFETY: as above.
                unsafe {
                    asm!(
                        concat!($move, " ", $register, ", [{from}]"),
                        concat!($move, " [{to}], ", $register),
                        part = out($class) _,
                        from = in(reg) from.add(at),
                        to = in(reg) to.add(at),
                        options(nostack, preserves_flags),
                    );
                }
                at += $size;
            }
        };
    }
    if len & 32 != 0 {
        // SAFETY: as above.
        unsafe {
            asm!(
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                from = in(reg) from.add(at),
                to = in(reg) to.add(at),
                options(nostack, preserves_flags),
            );
        }
        at += 32;
    }
    part!(16, xmm_reg, "{part}", "movups");
    part!(8, reg, "{part}", "mov");
    part!(4, reg, "{part:e}", "mov");
    part!(2, reg, "{part:x}", "mov");
    part!(1, reg_byte, "{part}", "mov");
    debug_assert_eq!(at, len);
}

/// Copies `len` bytes of which the other side may be writing (or, if it breaks
/// the rules, reading) some: then their values are unspecified.
///
/// # Safety
/// Both ranges must be mapped, `from` readable and `to` writable, and apart.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    for i in 0..len {
        // SAFETY: the caller vouches for both ranges; volatile accesses are
        // not merged, repeated or reasoned about.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(len: u64) -> Region {
        let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, len).unwrap();
        Region::map(file, len).unwrap()
    }

    #[test]
    fn copies_are_exact_at_every_length_and_alignment() {
        let region = region(4096);
        let bytes: Vec<u8> = (0..400u16).map(|i| (i % 251) as u8 + 1).collect();
        for len in (0..40).chain(60..140).chain([255, 256, 300]) {
            for offset in 0..17 {
                region.write(0, &[0; 400]);
                region.write(offset, &bytes[..len]);
                let mut around = [9; 400];
                region.read(0, &mut around);
                let (before, rest) = around.split_at(offset as usize);
                let (middle, after) = rest.split_at(len);
                assert!(before.iter().chain(after).all(|&byte| byte == 0));
                assert_eq!(middle, &bytes[..len]);
                let mut grown = vec![1, 2];
                region.append_to(offset, len as u64, &mut grown).unwrap();
                assert_eq!(grown[2..], bytes[..len]);
            }
        }
    }

    #[test]
    fn words_are_little_endian_and_of_the_same_memory() {
        let region = region(4096).part(64, 128);
        region
            .word(8)
            .store(0x0102_0304_0506_0708, Ordering::SeqCst);
        let mut bytes = [0; 8];
        region.read(8, &mut bytes);
        assert_eq!(bytes, [8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn nothing_reaches_beyond_a_region() {
        let region = region(4096).part(64, 128);
        for (offset, len) in [(0, 129), (128, 1), (129, 0), (u64::MAX, 1), (1, u64::MAX)] {
            let reach = std::panic::AssertUnwindSafe(|| region.part(offset, len));
            assert!(std::panic::catch_unwind(reach).is_err(), "{offset} {len}");
        }
        assert!(Region::map(std::io::stdin(), 0).is_err());
        assert!(Region::map(std::io::stdin(), u64::MAX).is_err());
    }
}
