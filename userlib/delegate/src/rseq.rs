// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Restartable sequences (rseq(2)), which a carrier must not have: their kernel is the server VM's,
//! which neither keeps the CPU's number up to date nor restarts a sequence while a call runs on a
//! client's vCPU. Two such calls would take each other's per-CPU data for their own.

use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;

/// RSEQ_FLAG_UNREGISTER
const UNREGISTER: libc::c_int = 1;
/// RSEQ_SIG of x86.
const SIGNATURE: libc::c_uint = 0x5305_3053;
/// Bytes that glibc registers at least, whatever the kernel's features need.
const INITIAL_SIZE: libc::c_uint = 32;
/// Place of `cpu_id` in `struct rseq`.
const CPU_ID: isize = 4;
/// RSEQ_CPU_ID_REGISTRATION_FAILED: who finds this does without, and registers nothing.
pub(crate) const NONE: i32 = -2;

/// Takes this thread out of what glibc has registered it for, if it has.
///
/// # Errors
/// The kernel's, if the area is not glibc's after all.
pub(crate) fn leave() -> Result<(), Errno> {
    let Some((area, size)) = area() else {
        return Ok(());
    };
    // SAFETY: of this thread's own area, which stays; the kernel refuses what it does not know.
    let left = unsafe { libc::syscall(libc::SYS_rseq, area, size, UNREGISTER, SIGNATURE) };
    if left != 0 {
        let errno = std::io::Error::last_os_error().raw_os_error();
        return Err(Errno::from_raw_os_error(errno.unwrap_or(libc::EINVAL)));
    }
    cpu_id(area).store(NONE, Ordering::Relaxed);
    Ok(())
}

/// This thread's area and the size that it was registered with; glibc has that since 2.35.
fn area() -> Option<(*mut u8, libc::c_uint)> {
    // SAFETY: both are constants once the program runs, an offset and a number.
    let (offset, size) = unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr());
        if offset.is_null() || size.is_null() {
            return None;
        }
        (
            offset.cast::<isize>().read(),
            size.cast::<libc::c_uint>().read(),
        )
    };
    // 0: the kernel has none, or the program wants none.
    (size > 0).then(|| {
        let area = (crate::cpu::fs_base() as *mut u8).wrapping_offset(offset);
        (area, size.max(INITIAL_SIZE))
    })
}

fn cpu_id(area: *mut u8) -> &'static AtomicI32 {
    // SAFETY: aligned, and as long as the thread, which is all that uses it.
    unsafe { AtomicI32::from_ptr(area.wrapping_offset(CPU_ID).cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_left_has_no_cpu() {
        std::thread::spawn(|| {
            let Some((area, _)) = area() else {
                // Not by a macro: the harness would keep it.
                let line =
                    b"skipped: a_thread_that_has_left_has_no_cpu: no restartable sequences here\n";
                let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
                return;
            };
            assert!(cpu_id(area).load(Ordering::Relaxed) >= 0);
            leave().unwrap();
            assert_eq!(cpu_id(area).load(Ordering::Relaxed), NONE);
            assert_eq!(leave(), Err(Errno::INVAL), "it is registered no more");
            // SAFETY: no arguments; glibc asks the kernel now.
            assert!(unsafe { libc::sched_getcpu() } >= 0);
            assert_eq!(cpu_id(area).load(Ordering::Relaxed), NONE);
        })
        .join()
        .unwrap();
    }
}
