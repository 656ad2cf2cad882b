// SPDX-License-Identifier: GPL-2.0

//! Files without a name (`anon_inode_getfile`), with the few operations that a pairing needs.
//! The module stays loaded while one is open.

use crate::bindings as c;
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::from_err_ptr,
    fs::File,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::{aref::ARef, poll::PollTable},
    types::ForeignOwnable,
};

/// What is behind such a file. Dropped when the file is closed for good.
pub(crate) trait AnonFile: Send + Sync + Sized + 'static {
    /// As in /proc/PID/fd: `anon_inode:NAME`.
    const NAME: &'static CStr;

    /// poll(2): registers with what wakes the caller, and returns the `EPOLL*` bits. May sleep.
    fn poll(self: Pin<&Self>, file: &File, table: &PollTable<'_>) -> u32;

    /// The lines of /proc/PID/fdinfo/FD. May sleep.
    fn show_fdinfo(self: Pin<&Self>, m: &SeqFile);
}

/// Makes a file that owns `data`. ENOMEM, ENFILE.
pub(crate) fn new<T: AnonFile>(data: Pin<KBox<T>>) -> Result<ARef<File>> {
    let private = data.into_foreign();
    // SAFETY: The name and the table are valid for ever; `private` is what the table's operations
    // expect.
    let file = from_err_ptr(unsafe {
        c::anon_inode_getfile(
            T::NAME.as_char_ptr(),
            Operations::<T>::TABLE,
            private,
            bindings::O_RDWR as c_int,
        )
    });
    match file {
        // SAFETY: A new file's only reference, not yet in any file table. It is not null.
        Ok(file) => Ok(unsafe { ARef::from_raw(core::ptr::NonNull::new_unchecked(file.cast())) }),
        Err(error) => {
            // SAFETY: There is no file, so `private` is ours again.
            drop(unsafe { <Pin<KBox<T>> as ForeignOwnable>::from_foreign(private) });
            Err(error)
        }
    }
}

struct Operations<T: AnonFile>(PhantomData<T>);

impl<T: AnonFile> Operations<T> {
    const TABLE: *const c::file_operations = {
        let table: &'static bindings::file_operations = &bindings::file_operations {
            owner: this_module::<crate::LocalModule>().as_ptr(),
            release: Some(Self::release),
            poll: Some(Self::poll),
            show_fdinfo: Some(Self::show_fdinfo),
            ..pin_init::zeroed()
        };
        core::ptr::from_ref(table).cast()
    };

    /// # Safety
    ///
    /// `file` must be of this type, and valid for `'a`.
    unsafe fn data<'a>(file: *mut bindings::file) -> Pin<&'a T> {
        // SAFETY: `new()` set the private data; only `release()` takes it away.
        unsafe { <Pin<KBox<T>> as ForeignOwnable>::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// `file` must be of this type, and its last reference gone.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `new()` set the private data; nobody uses the file any more.
        drop(unsafe { <Pin<KBox<T>> as ForeignOwnable>::from_foreign((*file).private_data) });
        0
    }

    /// # Safety
    ///
    /// `file` must be of this type and valid, `table` null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The caller's promise. The file has no position.
        let (data, file, table) = unsafe {
            (
                Self::data(file),
                File::from_raw_file(file),
                PollTable::from_raw(table),
            )
        };
        data.poll(file, &table)
    }

    /// # Safety
    ///
    /// `file` must be of this type and valid, `m` valid and used by this thread alone.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The caller's promise.
        let (data, m) = unsafe { (Self::data(file), SeqFile::from_raw(m)) };
        data.show_fdinfo(m);
    }
}
