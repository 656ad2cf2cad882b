// SPDX-License-Identifier: Apache-2.0 OR MIT
//! VMs of other processes, which can be killed: this program run again with other arguments. Their VM files are taken
//! as `wormholectl` takes QEMU's.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::process::{pidfd_getfd, pidfd_open, Pid, PidfdFlags, PidfdGetfdFlags};

use crate::device::Device;
use crate::kvm::Vm;

/// Argument: make a VM, run `OUTS` OUT instructions in it, say so, and wait for the end of standard input.
pub const VM: &str = "--vm-process";
/// Argument: as above, with two VMs, and pair them.
pub const PAIRED: &str = "--paired-process";
/// VM exits to user space of a VM process's VM.
pub const OUTS: usize = 5;

/// The other side of [`VmProcess::new`].
pub fn vm_main() {
    let vm = Vm::new();
    let _vcpu = vm.run_outs(OUTS);
    announce(vm.as_fd().as_raw_fd());
}

/// The other side of [`spawn_paired`].
pub fn paired_main() {
    let (client, server) = (Vm::new(), Vm::new());
    let device = Device::open().expect("the device opens");
    let _pairing = device
        .pair(&client, &server, "own")
        .expect("pairing its own VMs");
    announce(client.as_fd().as_raw_fd());
}

fn announce(fd: i32) {
    println!("{fd}");
    std::io::stdout().flush().expect("standard output");
    // the parent closes it, or kills this process
    let _ = std::io::stdin().read(&mut [0]);
}

fn spawn(argument: &str) -> (Child, i32) {
    let mut child = Command::new("/proc/self/exe")
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("its standard output");
    let fd = line
        .trim()
        .parse()
        .expect("the process announces a file descriptor");
    (child, fd)
}

/// A process with a VM. Killed when dropped.
pub struct VmProcess {
    child: Child,
    pub fd: OwnedFd,
    /// KVM's directory of the VM in debugfs
    pub debugfs: String,
}

impl VmProcess {
    pub fn new() -> Self {
        let (child, fd) = spawn(VM);
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open");
        Self {
            fd: pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty()).expect("pidfd_getfd"),
            debugfs: format!("/sys/kernel/debug/kvm/{}-{fd}", child.id()),
            child,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and waits until the process has gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for VmProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that holds two VMs and their pairing.
pub fn spawn_paired() -> Child {
    spawn(PAIRED).0
}
