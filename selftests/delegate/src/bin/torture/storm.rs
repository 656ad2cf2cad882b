// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A thread of the server that takes memory away which calls use: pages are unmapped, lose the right to be written, are
//! made copy-on-write by fork().

use std::ffi::c_void;
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::functions::{
    calls, fill, map, BROKEN, BUFFER, BUFFER_SIZE, CHANGING, COUNTER, FORK, PAGE, POISON, PROTECT,
    STORM_COUNTS, UNMAP,
};
use crate::random::Random;

/// Pages that are filled with poison after one was freed, which is probably among them.
const POISONED: usize = 4;
/// Before the next look for calls.
const IDLE: Duration = Duration::from_millis(5);
/// How often a forked process looks whether somebody writes to its memory.
const LOOKS: u32 = 2000;

pub fn start() {
    thread::spawn(|| {
        let mut storm = match Storm::new() {
            Ok(storm) => storm,
            Err(error) => return broken(&format!("no storm: {error}")),
        };
        let mut random = Random::new();
        let mut seen = calls().load(SeqCst);
        loop {
            // While nobody calls there is nothing to disturb but the rest of the machine.
            let now = calls().load(SeqCst);
            if now == seen {
                thread::sleep(IDLE);
                continue;
            }
            seen = now;
            let (kind, done) = match random.below(4) {
                0 => (UNMAP, storm.replace_by_private()),
                1 => (UNMAP, storm.replace_by_shared()),
                2 => (PROTECT, storm.protect()),
                _ => (FORK, fork()),
            };
            if let Err(error) = done {
                return broken(&format!("storm {kind}: {error}"));
            }
            STORM_COUNTS[kind].fetch_add(1, SeqCst);
            thread::sleep(Duration::from_micros(random.below(2000)));
        }
    });
}

fn broken(text: &str) {
    println!("BROKEN {text}");
    BROKEN.store(1, SeqCst);
}

fn check(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

struct Storm {
    /// Two pages of shared memory, of which one may be the changing page.
    shared: [*mut AtomicU64; 2],
    file: i32,
    /// Which.
    mapped: Option<usize>,
    writable: bool,
}

impl Storm {
    fn new() -> io::Result<Self> {
        // SAFETY: A name.
        let file = unsafe { libc::memfd_create(c"storm".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: A file of ours.
        check(unsafe { libc::ftruncate(file, 2 * PAGE as i64) })?;
        let mut shared = [null_mut(); 2];
        for (slot, place) in shared.iter_mut().enumerate() {
            *place = map_shared(null_mut(), file, slot)?;
        }
        Ok(Storm {
            shared,
            file,
            mapped: None,
            writable: true,
        })
    }

    /// By a page that is moved there.
    fn replace_by_private(&mut self) -> io::Result<()> {
        let generation = CHANGING.newest.load(SeqCst) + 1;
        let page = map(PAGE, libc::MAP_PRIVATE);
        fill(page, generation);
        CHANGING.newest.store(generation, SeqCst);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let place = CHANGING.words.load(SeqCst);
        // SAFETY: Moves a page that nobody uses to where calls expect one.
        let moved = unsafe { libc::mremap(page.cast(), PAGE, PAGE, flags, place) };
        if moved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        CHANGING.oldest.store(generation, SeqCst);
        self.mapped = None;
        self.poison();
        Ok(())
    }

    /// By the page of shared memory that is not there.
    fn replace_by_shared(&mut self) -> io::Result<()> {
        let generation = CHANGING.newest.load(SeqCst) + 1;
        let slot = self.mapped.map_or(0, |slot| 1 - slot);
        fill(self.shared[slot], generation);
        CHANGING.newest.store(generation, SeqCst);
        map_shared(CHANGING.words.load(SeqCst), self.file, slot)?;
        CHANGING.oldest.store(generation, SeqCst);
        self.mapped = Some(slot);
        self.poison();
        Ok(())
    }

    /// Makes pages unfit that calls should not see any more.
    fn poison(&self) {
        for (slot, page) in self.shared.iter().enumerate() {
            if self.mapped != Some(slot) {
                fill(*page, POISON);
            }
        }
        let pages = map(POISONED * PAGE, libc::MAP_PRIVATE);
        for page in 0..POISONED {
            // SAFETY: Within what was just mapped.
            fill(unsafe { pages.byte_add(page * PAGE) }, POISON);
        }
        // SAFETY: Ours, and not used any more.
        unsafe { libc::munmap(pages.cast(), POISONED * PAGE) };
    }

    /// Takes the right to write away, or gives it back.
    fn protect(&mut self) -> io::Result<()> {
        self.writable = !self.writable;
        let protection = match self.writable {
            true => libc::PROT_READ | libc::PROT_WRITE,
            false => libc::PROT_READ,
        };
        let place = CHANGING.words.load(SeqCst);
        let buffer = BUFFER.load(SeqCst);
        // SAFETY: Both stay readable, which is all that calls need.
        unsafe {
            check(libc::mprotect(place.cast::<c_void>(), PAGE, protection))?;
            check(libc::mprotect(
                buffer.cast::<c_void>(),
                BUFFER_SIZE,
                protection,
            ))
        }
    }
}

/// Maps a page of shared memory at `place`, or anywhere.
fn map_shared(place: *mut AtomicU64, file: i32, slot: usize) -> io::Result<*mut AtomicU64> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let fixed = if place.is_null() { 0 } else { libc::MAP_FIXED };
    let offset = (slot * PAGE) as i64;
    // SAFETY: At a place of the kernel's choice, or instead of the changing page.
    let page = unsafe {
        libc::mmap(
            place.cast(),
            PAGE,
            protection,
            libc::MAP_SHARED | fixed,
            file,
            offset,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(page.cast())
}

/// The new process has a copy of all private memory: what clients write afterwards must not get there.
fn fork() -> io::Result<()> {
    // SAFETY: The new process reads an atomic and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let before = COUNTER.load(SeqCst);
        let changed = (0..LOOKS).any(|_| COUNTER.load(SeqCst) != before);
        // SAFETY: Ends it without running anything.
        unsafe { libc::_exit(changed.into()) };
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut status = 0;
    // SAFETY: A child of ours that was not waited for.
    if unsafe { libc::waitpid(pid, &mut status, 0) } != pid {
        return Err(io::Error::last_os_error());
    }
    match status {
        0 => Ok(()),
        _ => Err(io::Error::other(
            "a call wrote to the copy that fork() made",
        )),
    }
}
