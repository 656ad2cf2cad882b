// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The window's memory: a sealed memfd, mapped. Two VMs write to it all the
//! time, so every access here is to one word, atomic, or by a copy, and trusts nothing.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{fallocate, fcntl, FallocateFlags, FcntlArg, SealFlag};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};
use nix::sys::uio::pread;
use nix::unistd::ftruncate;
use wormhole_window::{FunctionCounts, Header, Layout, Link, Role, COUNTED_FUNCTIONS, COUNTS_SIZE};

use crate::error::Error;
use crate::status::ChannelStatus;

const WORD: usize = size_of::<u32>();

/// The window of one pairing.
///
/// # Invariants
/// `base` is the page-aligned start of a shared, writable mapping of `length`
/// bytes of `fd`, which lasts as long as `self`. The file can never shrink, so
/// no access ends in SIGBUS. `length` is `header.layout.size()`.
pub struct WindowMemory {
    fd: Arc<OwnedFd>,
    base: NonNull<c_void>,
    length: usize,
    header: Header,
}

// SAFETY: the mapping belongs to no thread, and all access to it is atomic.
unsafe impl Send for WindowMemory {}

impl WindowMemory {
    /// A new window, zeroed but for its header.
    pub fn new(header: Header) -> Result<WindowMemory, Error> {
        let memory = WindowMemory::map(header).map_err(|errno| {
            Error::os(
                format!("no window of {} bytes", header.layout.size()),
                errno,
            )
        })?;
        memory.write_header();
        Ok(memory)
    }

    fn map(header: Header) -> Result<WindowMemory, Errno> {
        let size = header.layout.size();
        let length = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
        let fd = create_memfd()?;
        ftruncate(&fd, i64::try_from(size).map_err(|_| Errno::EFBIG)?)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        // SAFETY: a new mapping at an address of the kernel's choice replaces
        // nothing.
        let base = unsafe {
            mmap(
                None,
                NonZeroUsize::new(length).ok_or(Errno::EINVAL)?,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                &fd,
                0,
            )
        }?;
        Ok(WindowMemory {
            fd: Arc::new(fd),
            base,
            length,
            header,
        })
    }

    /// The shared memory's file.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// What names the window to the host.
    pub fn key(&self) -> u32 {
        self.header.key
    }

    /// The window's layout.
    pub fn layout(&self) -> Layout {
        self.header.layout
    }

    /// Writes the header anew, but for `link[]`: a VM may have spoilt it.
    pub fn write_header(&self) {
        let bytes = self.header.format();
        let end = self.layout().link_offset(Role::Server) as usize;
        for (index, word) in bytes[..end].chunks_exact(WORD).enumerate() {
            let mut value = [0; WORD];
            value.copy_from_slice(word);
            self.word((index * WORD) as u64)
                .store(u32::from_ne_bytes(value), Ordering::Relaxed);
        }
    }

    /// Writes `link[role]`, after all that was written before.
    pub fn write_link(&self, role: Role, link: Link) {
        self.word(self.layout().link_offset(role))
            .store(link.0.to_le(), Ordering::Release);
    }

    /// Closes every channel on `role`'s behalf.
    pub fn close_channels(&self, role: Role) {
        let layout = self.layout();
        for offset in (0..layout.channels()).filter_map(|i| layout.state_offset(i, role)) {
            self.word(offset).store(0, Ordering::Release);
        }
    }

    /// Makes all channels read as zeros again and gives their memory back.
    pub fn clear_channels(&self) -> Result<(), Errno> {
        let start = self.layout().channel_size();
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // Both are at most 2^36.
        fallocate(
            &self.fd,
            flags,
            start as i64,
            (self.layout().size() - start) as i64,
        )
    }

    /// The channels that are not closed on both sides.
    pub fn open_channels(&self) -> Vec<ChannelStatus> {
        let layout = self.layout();
        let load = |offset: Option<u64>| {
            offset.map_or(0, |offset| {
                u32::from_le(self.word(offset).load(Ordering::Relaxed))
            })
        };
        (0..layout.channels())
            .map(|channel| ChannelStatus {
                channel,
                state_server: load(layout.state_offset(channel, Role::Server)),
                state_client: load(layout.state_offset(channel, Role::Client)),
                event_server: load(layout.event_offset(channel, Role::Server)),
                event_client: load(layout.event_offset(channel, Role::Client)),
            })
            .filter(|status| (status.state_server, status.state_client) != (0, 0))
            .collect()
    }

    /// How the requests of each function went, over all channels: over a closed one's last
    /// connection, too. As the VMs say.
    pub fn function_counts(&self) -> Result<Vec<FunctionCounts>, Errno> {
        let layout = self.layout();
        let mut sums = vec![FunctionCounts::default(); COUNTED_FUNCTIONS + 1];
        let mut bytes = [0; COUNTS_SIZE];
        for offset in (0..layout.channels()).filter_map(|i| layout.counts_offset(i)) {
            // Not by the mapping: that would allocate what was never used. It is all there, as the
            // file does not shrink, and at most 2^36.
            pread(&self.fd, &mut bytes, offset as i64)?;
            for (sum, row) in sums.iter_mut().zip(FunctionCounts::rows(&bytes)) {
                *sum = sum.saturating_add(row);
            }
        }
        Ok(sums)
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        let offset = offset as usize;
        assert!(offset % WORD == 0 && offset < self.length);
        // SAFETY: by the invariants and the check above the word lies in the
        // mapping (whose length is a multiple of a word) and is aligned. The
        // reference does not outlive `self`. Within this process it is only
        // accessed atomically; the VMs' accesses are outside of Rust's model,
        // and whatever they write is a valid u32.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().byte_add(offset).cast()) }
    }
}

impl Drop for WindowMemory {
    fn drop(&mut self) {
        // SAFETY: by the invariants this is our own mapping, and no reference
        // into it outlives `self`.
        if let Err(errno) = unsafe { munmap(self.base, self.length) } {
            log::error!("munmap: {}", errno.desc());
        }
    }
}

fn create_memfd() -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create(c"wormhole-window", flags | no_exec) {
        // Linux before 6.3
        Err(Errno::EINVAL) => memfd_create(c"wormhole-window", flags),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::WindowMemory;
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use wormhole_window::{
        Count, Header, Layout, Link, Name, Role, COUNTED_FUNCTIONS, COUNTS_SIZE,
    };

    fn window() -> (WindowMemory, File) {
        let header = Header {
            layout: Layout::new(1 << 20, 1 << 18).unwrap(),
            name: Name::new("w").unwrap(),
            key: 7,
        };
        let window = WindowMemory::new(header).unwrap();
        let file = File::from(window.fd.try_clone().unwrap());
        (window, file)
    }

    #[test]
    fn header_and_links() {
        let (window, file) = window();
        let mut bytes = [0; 136];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(Header::parse(&bytes, 1 << 20), Ok(window.header));
        file.write_all_at(&[0xff; 128], 0).unwrap();
        window.write_link(Role::Client, Link(7));
        window.write_header();
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(Header::parse(&bytes, 1 << 20), Ok(window.header));
        assert_eq!(Link::from_header(&bytes, Role::Client), Link(7));
        assert_eq!(Link::from_header(&bytes, Role::Server), Link(0));
    }

    #[test]
    fn closing_one_side_leaves_the_other() {
        let (window, file) = window();
        let layout = window.layout();
        for role in Role::ALL {
            let at = layout.state_offset(2, role).unwrap();
            file.write_all_at(&9u32.to_le_bytes(), at).unwrap();
        }
        window.close_channels(Role::Client);
        let open = window.open_channels();
        assert_eq!(open.len(), 1);
        assert_eq!(
            (open[0].channel, open[0].state_server, open[0].state_client),
            (2, 9, 0)
        );
        window.clear_channels().unwrap();
        assert!(window.open_channels().is_empty());
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, 0).unwrap();
        assert_eq!(&magic, b"WORMHOLE");
    }

    #[test]
    fn counts_of_all_channels_are_summed_whatever_they_are() {
        let (window, file) = window();
        let unused = file.metadata().unwrap().blocks();
        assert!(window
            .function_counts()
            .unwrap()
            .iter()
            .all(|f| f.is_zero()));
        assert_eq!(file.metadata().unwrap().blocks(), unused);
        let counts = |channel| window.layout().counts_offset(channel).unwrap();
        let put = |channel, count: Count, value: u64| {
            let at = counts(channel) + count.offset(9) as u64;
            file.write_all_at(&value.to_le_bytes(), at).unwrap();
        };
        put(0, Count::Posted, 3);
        put(2, Count::Posted, 4);
        put(1, Count::Memory, 1);
        let functions = window.function_counts().unwrap();
        let of = |count| functions[9].get(count);
        assert_eq!((of(Count::Posted), of(Count::Memory)), (7, 1));
        assert_eq!(functions.iter().filter(|f| !f.is_zero()).count(), 1);
        for channel in 0..3 {
            file.write_all_at(&[0xff; COUNTS_SIZE], counts(channel))
                .unwrap();
        }
        let functions = window.function_counts().unwrap();
        assert_eq!(functions.len(), COUNTED_FUNCTIONS + 1);
        for function in functions {
            assert!(Count::ALL
                .iter()
                .all(|count| function.get(*count) == u64::MAX));
        }
    }

    #[test]
    fn its_size_is_sealed() {
        let (_window, file) = window();
        assert!(file.set_len(4096).is_err());
        assert!(file.set_len(2 << 20).is_err());
    }
}
