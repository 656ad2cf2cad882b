// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest's memory, which guest, kernel and test change at the same time.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};

use rustix::mm::{mmap_anonymous, munmap, MapFlags, ProtFlags};

/// All addresses are guest-physical, and must be in the memory.
pub struct Memory {
    address: *mut c_void,
    size: u64,
}

// SAFETY: The mapping is the process's, and is accessed with atomic operations only.
unsafe impl Send for Memory {}
// SAFETY: As above.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn new(size: u64) -> Self {
        // SAFETY: A new mapping.
        let address = unsafe {
            mmap_anonymous(
                null_mut(),
                size as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .expect("mmap");
        Self { address, size }
    }

    pub fn host_address(&self) -> u64 {
        self.address.expose_provenance() as u64
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    fn byte(&self, gpa: u64) -> &AtomicU8 {
        assert!(gpa < self.size, "{gpa:#x} is not memory");
        // SAFETY: The byte is in the mapping, which is as old as `self`, and is accessed atomically by all.
        unsafe { AtomicU8::from_ptr(self.address.cast::<u8>().add(gpa as usize)) }
    }

    /// The aligned 64-bit word at `gpa`.
    pub fn word(&self, gpa: u64) -> &AtomicU64 {
        assert!(
            gpa % 8 == 0 && gpa < self.size,
            "{gpa:#x} is not a word of memory"
        );
        // SAFETY: As for `byte()`; the mapping's size is a multiple of 8.
        unsafe { AtomicU64::from_ptr(self.address.cast::<u8>().add(gpa as usize).cast::<u64>()) }
    }

    pub fn get(&self, gpa: u64) -> u64 {
        self.word(gpa).load(Ordering::SeqCst)
    }

    pub fn set(&self, gpa: u64, value: u64) {
        self.word(gpa).store(value, Ordering::SeqCst);
    }

    pub fn write(&self, gpa: u64, bytes: &[u8]) {
        for (at, byte) in (gpa..).zip(bytes) {
            self.byte(at).store(*byte, Ordering::SeqCst);
        }
    }

    pub fn read(&self, gpa: u64, length: u64) -> Vec<u8> {
        (gpa..gpa + length)
            .map(|at| self.byte(at).load(Ordering::SeqCst))
            .collect()
    }

    pub fn fill(&self, gpa: u64, length: u64, byte: u8) {
        for at in gpa..gpa + length {
            self.byte(at).store(byte, Ordering::SeqCst);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: Our mapping; a VM that still has it as its memory copes.
        unsafe { munmap(self.address, self.size as usize) }.expect("munmap");
    }
}
