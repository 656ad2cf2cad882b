// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Another process's KVM VM.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// What `/proc/PID/fd` shows for a file that `KVM_CREATE_VM` returned.
const KVM_VM: &str = "anon_inode:kvm-vm";

/// A process that may have a VM.
pub trait Process {
    /// A duplicate of its KVM VM's file descriptor; `None` while it has no
    /// VM. It keeps the VM alive: close it soon. `ESRCH` once the process has
    /// gone, `EPERM` if we may not look into it.
    fn vm(&self) -> Result<Option<OwnedFd>, Errno>;
}

/// Where processes are found.
pub trait Processes {
    type Process: Process;

    /// The process that has `pid` now.
    fn open(&self, pid: i32) -> Result<Self::Process, Errno>;
}

/// The processes of this machine, through pidfds and `/proc`.
pub struct ProcFs;

impl Processes for ProcFs {
    type Process = PidFd;

    fn open(&self, pid: i32) -> Result<PidFd, Errno> {
        let flags: libc::c_uint = 0;
        // SAFETY: pidfd_open(2) takes two integers and no memory of ours.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) })?;
        // SAFETY: a successful call returns a new file descriptor, which
        // nobody else knows; descriptors fit RawFd.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        Ok(PidFd { pid, pidfd })
    }
}

/// A process, also after its pid was given to another one.
pub struct PidFd {
    pid: i32,
    pidfd: OwnedFd,
}

impl PidFd {
    fn is_alive(&self) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        // A pidfd becomes readable when its process ends.
        Ok(poll(&mut fds, PollTimeout::ZERO)? == 0)
    }

    /// Numbers of the descriptors that are KVM VMs, lowest first.
    fn vm_numbers(&self) -> Result<Vec<RawFd>, Errno> {
        let folder = PathBuf::from(format!("/proc/{}/fd", self.pid));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Errno::ESRCH),
            Err(error) => return Err(errno(&error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| errno(&error))?.path();
            if is_kvm_vm(&path) {
                let number = path
                    .file_name()
                    .and_then(|name| name.to_str()?.parse::<RawFd>().ok());
                numbers.extend(number);
            }
        }
        numbers.sort_unstable();
        // What was read belongs to our process only if it still has its pid.
        if self.is_alive()? {
            Ok(numbers)
        } else {
            Err(Errno::ESRCH)
        }
    }

    fn duplicate(&self, number: RawFd) -> Result<OwnedFd, Errno> {
        let flags: libc::c_uint = 0;
        // SAFETY: pidfd_getfd(2) takes three integers and no memory of ours.
        let fd = Errno::result(unsafe {
            libc::syscall(libc::SYS_pidfd_getfd, self.pidfd.as_raw_fd(), number, flags)
        })?;
        // SAFETY: a successful call returns a new file descriptor, which
        // nobody else knows; descriptors fit RawFd.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }
}

impl Process for PidFd {
    fn vm(&self) -> Result<Option<OwnedFd>, Errno> {
        for number in self.vm_numbers()? {
            let fd = match self.duplicate(number) {
                Ok(fd) => fd,
                // The process closed it meanwhile.
                Err(Errno::EBADF) => continue,
                Err(error) => return Err(error),
            };
            // The number may name another file by now.
            if is_kvm_vm(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd()))) {
                return Ok(Some(fd));
            }
        }
        Ok(None)
    }
}

fn is_kvm_vm(link: &Path) -> bool {
    // A descriptor that is closed while we look has no link.
    fs::read_link(link).is_ok_and(|target| target.as_os_str() == KVM_VM)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{ProcFs, Process, Processes};
    use nix::errno::Errno;

    #[test]
    fn a_process_without_a_vm() {
        let own = ProcFs.open(std::process::id() as i32).unwrap();
        assert!(own.vm().unwrap().is_none());
    }

    #[test]
    fn a_process_that_ended_is_gone_even_before_it_is_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = ProcFs.open(child.id() as i32).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process.vm().unwrap_err(), Errno::ESRCH);
    }

    #[test]
    fn a_duplicate_is_the_same_file() {
        let own = ProcFs.open(std::process::id() as i32).unwrap();
        let file = tempfile::tempfile().unwrap();
        let copy = own
            .duplicate(std::os::fd::AsRawFd::as_raw_fd(&file))
            .unwrap();
        let inode = |fd: &dyn std::os::fd::AsFd| nix::sys::stat::fstat(fd.as_fd()).unwrap().st_ino;
        assert_eq!(inode(&copy), inode(&file));
        assert_eq!(own.duplicate(1 << 20).unwrap_err(), Errno::EBADF);
    }

    #[test]
    fn nobody_has_pid_zero() {
        assert_eq!(ProcFs.open(0).err(), Some(Errno::EINVAL));
    }
}
