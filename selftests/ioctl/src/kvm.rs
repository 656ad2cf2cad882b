// SPDX-License-Identifier: Apache-2.0 OR MIT
//! KVM VMs, as small as they come.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use rustix::mm::{mmap_anonymous, MapFlags, ProtFlags};

use crate::device::raw;

const KVM_CREATE_VM: u64 = 0xae01;
const KVM_CREATE_VCPU: u64 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const KVM_RUN: u64 = 0xae80;
const KVM_SET_REGS: u64 = 0x4090_ae82;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_SET_SREGS: u64 = 0x4138_ae84;

/// A VM without memory or vCPUs.
pub struct Vm(OwnedFd);

impl AsFd for Vm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Vm {
    pub fn new() -> Self {
        let kvm = File::open("/dev/kvm").expect("/dev/kvm opens");
        // SAFETY: No memory is written; it returns a new file descriptor.
        let fd = unsafe {
            OwnedFd::from_raw_fd(raw(kvm, KVM_CREATE_VM, null_mut()).expect("KVM_CREATE_VM"))
        };
        Self(fd)
    }

    /// A vCPU's file.
    pub fn vcpu(&self) -> OwnedFd {
        // SAFETY: No memory is written; it returns a new file descriptor.
        unsafe {
            OwnedFd::from_raw_fd(raw(self, KVM_CREATE_VCPU, null_mut()).expect("KVM_CREATE_VCPU"))
        }
    }

    /// Runs a real-mode guest on a new vCPU that leaves to user space `count` times, by OUT. The vCPU's file is
    /// returned. The guest's memory stays mapped.
    pub fn run_outs(&self, count: usize) -> OwnedFd {
        const PAGE: usize = 4096;
        const OUT_DX_AL: u8 = 0xee;
        assert!(count < PAGE);

        // SAFETY: A new mapping.
        let memory = unsafe {
            mmap_anonymous(
                null_mut(),
                PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
            .expect("mmap")
        };
        // SAFETY: The page is ours, and `count` is less than its size.
        unsafe { memory.cast::<u8>().write_bytes(OUT_DX_AL, count) };

        // struct kvm_userspace_memory_region: slot and flags, guest address, size, address
        let mut region = [0, 0, PAGE as u64, memory as u64];
        let vcpu = self.vcpu();
        // struct kvm_sregs (312 bytes) starts with CS: base at 0, selector at 12
        let mut sregs = [0_u8; 312];
        // struct kvm_regs: 16 general ones, RIP, RFLAGS
        let mut regs = [0_u64; 18];
        regs[17] = 2;
        // SAFETY: The arguments are as long as the ioctls' numbers say. The guest can only read its page.
        unsafe {
            raw(self, KVM_SET_USER_MEMORY_REGION, region.as_mut_ptr().cast())
                .expect("KVM_SET_USER_MEMORY_REGION");
            raw(&vcpu, KVM_GET_SREGS, sregs.as_mut_ptr().cast()).expect("KVM_GET_SREGS");
            sregs[..8].fill(0);
            sregs[12..14].fill(0);
            raw(&vcpu, KVM_SET_SREGS, sregs.as_mut_ptr().cast()).expect("KVM_SET_SREGS");
            raw(&vcpu, KVM_SET_REGS, regs.as_mut_ptr().cast()).expect("KVM_SET_REGS");
            for _ in 0..count {
                raw(&vcpu, KVM_RUN, null_mut()).expect("KVM_RUN");
            }
        }
        vcpu
    }
}
