// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory with a fence: each block ends where a page does, behind which there is none, and is
//! gone once it is freed. So whoever reads or writes too far, or too late, is stopped by a
//! SIGSEGV. Also, no more than so much is given at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: usize = 4096;
/// Addresses that only fenced memory has, as far as the kernel places nothing there by itself.
const START: usize = 0x1000_0000_0000;
const END: usize = 0x2000_0000_0000;

/// For `#[global_allocator]`.
pub struct Fence;

static NEXT: AtomicUsize = AtomicUsize::new(START);

thread_local! {
    /// Bytes that this thread may still have within [`fenced`]; `None` outside.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Gives fenced memory, of `most` bytes at once, to what `work` asks for in this thread. More than
/// that fails, which ends the process.
pub fn fenced<T>(most: usize, work: impl FnOnce() -> T) -> T {
    struct Outside;
    impl Drop for Outside {
        fn drop(&mut self) {
            LEFT.set(None);
        }
    }
    LEFT.set(Some(most));
    let _outside = Outside;
    work()
}

/// Bytes that this thread may still have; `None` outside of [`fenced`].
pub fn left() -> Option<usize> {
    LEFT.get()
}

fn pages(size: usize) -> usize {
    size.div_ceil(PAGE) * PAGE
}

/// New memory that ends at the end of a page, but for what `layout` wants to be aligned.
fn map(layout: Layout) -> *mut u8 {
    let size = layout.pad_to_align().size();
    let len = pages(size);
    if layout.align() > PAGE {
        return null_mut();
    }
    loop {
        // A page stays free behind it.
        let at = NEXT.fetch_add(len + PAGE, Ordering::Relaxed);
        if at + len >= END {
            NEXT.store(START, Ordering::Relaxed);
            continue;
        }
        // SAFETY: new memory, where there is none.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::without_provenance_mut(at),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        if mapped != libc::MAP_FAILED {
            // SAFETY: `size` is not more than `len`.
            return unsafe { mapped.cast::<u8>().add(len - size) };
        }
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::EEXIST) {
            return null_mut();
        }
    }
}

// SAFETY: memory comes from the kernel or from `System`, whose each is freed as it was made:
// addresses tell them apart.
unsafe impl GlobalAlloc for Fence {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has none of its own left.
        match LEFT.try_with(Cell::get) {
            Ok(Some(left)) => {
                let Some(left) = left.checked_sub(layout.size()) else {
                    return null_mut();
                };
                let memory = map(layout);
                if !memory.is_null() {
                    LEFT.set(Some(left));
                }
                memory
            }
            // SAFETY: the caller's promises are the same.
            _ => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !(START..END).contains(&memory.addr()) {
            // SAFETY: it was made there.
            return unsafe { System.dealloc(memory, layout) };
        }
        let size = layout.pad_to_align().size();
        let len = pages(size);
        // SAFETY: these pages are this block's alone.
        unsafe { libc::munmap(memory.sub(len - size).cast(), len) };
        if let Ok(Some(left)) = LEFT.try_with(Cell::get) {
            LEFT.set(Some(left.saturating_add(layout.size())));
        }
    }
}
