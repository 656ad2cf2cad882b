// SPDX-License-Identifier: GPL-2.0

//! The file that `WORMHOLE_IOC_PAIR` returns. Closing it unpairs.

use crate::{
    anon_file::{self, AnonFile},
    bindings,
    pairing::{Handle, Pairing},
    statistics,
};
use kernel::{
    debugfs,
    fs::{
        file::{flags, FileDescriptorReservation},
        File,
    },
    prelude::*,
    seq_file::SeqFile,
    str::CString,
    sync::{poll::PollTable, Arc},
};

/// What is behind the file.
#[pin_data]
pub(crate) struct PairingFile {
    // Removed first: waits for those who read it, with no lock held.
    #[pin]
    _debugfs: debugfs::Scope<Arc<Pairing>>,
    handle: Handle,
}

impl PairingFile {
    /// Gives the calling process a file descriptor that owns `handle`. EMFILE, ENFILE, ENOMEM.
    pub(crate) fn install(handle: Handle) -> Result<u32> {
        let reservation = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
        let fd = reservation.reserved_fd();
        let pairing = handle.pairing().clone();
        let name = CString::try_from_fmt(fmt!("{}", pairing.id()))?;
        let data = KBox::try_pin_init(
            try_pin_init!(Self {
                _debugfs <- pairing.host().debugfs.scope(
                    pairing.clone(),
                    &name,
                    statistics::populate,
                ),
                handle,
            }? Error),
            GFP_KERNEL,
        )?;
        reservation.fd_install(anon_file::new(data)?);
        Ok(fd)
    }
}

impl AnonFile for PairingFile {
    const NAME: &'static CStr = c"[wormhole-pairing]";

    fn poll(self: Pin<&Self>, file: &File, table: &PollTable<'_>) -> u32 {
        let pairing = self.get_ref().handle.pairing();
        table.register_wait(file, pairing.hang_up());
        if pairing.hung_up() {
            bindings::EPOLLHUP
        } else {
            0
        }
    }

    fn show_fdinfo(self: Pin<&Self>, m: &SeqFile) {
        let pairing = self.get_ref().handle.pairing();
        pairing.statistics().write_fdinfo(m);
    }
}
