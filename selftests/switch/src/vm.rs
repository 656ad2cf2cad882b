// SPDX-License-Identifier: Apache-2.0 OR MIT
//! VMs with a vCPU or more in 64-bit mode and no operating system.
//!
//! The guest's handlers only leave to the test, so whatever happens in the guest, [`Vcpu::run`] returns it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use kvm_bindings::{
    kvm_debugregs, kvm_dtable, kvm_mp_state, kvm_msi, kvm_msr_entry, kvm_regs, kvm_segment,
    kvm_sregs, kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcrs, kvm_xsave, CpuId, Msrs,
    KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use wormhole_uapi as uapi;

use crate::deadline::Deadline;
use crate::guest_code as code;
use crate::layout::*;
use crate::memory::Memory;
use crate::paging::Tables;

const CR0: u64 = (1 << 31) | (1 << 16) | (1 << 5) | (1 << 4) | (1 << 1) | 1; // PG WP NE ET MP PE
const CR4: u64 = (1 << 18) | (1 << 16) | (1 << 10) | (1 << 9) | (1 << 5); // OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PAE
const EFER: u64 = (1 << 11) | (1 << 10) | (1 << 8) | 1; // NXE LMA LME SCE
/// x87, SSE, AVX and AVX-512, where there are any.
const XCR0: u64 = 0xe7;
const RFLAGS: u64 = 1 << 1;
pub const RFLAGS_USER: u64 = (1 << 9) | RFLAGS; // interrupts on

const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_SFMASK: u32 = 0xc000_0084;
const X2APIC_SPURIOUS: u32 = 0x80f;
const X2APIC_TIMER: u32 = 0x832;
const X2APIC_INITIAL_COUNT: u32 = 0x838;
const X2APIC_DIVIDE: u32 = 0x83e;

/// What a run may take, on an emulated CPU too.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Why the guest left to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel's hypercall is done.
    Hypercall,
    Syscall,
    /// An exception, interrupt or INT instruction.
    Vector(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Stop {
    pub event: Event,
    /// Of an exception that has one.
    pub error_code: u64,
    /// Of what the event interrupted.
    pub regs: kvm_regs,
    pub cs: u64,
}

impl Stop {
    pub fn is(&self, vector: u8) -> bool {
        self.event == Event::Vector(vector)
    }

    /// Fails unless it is this vector.
    #[track_caller]
    pub fn expect(self, vector: u8) -> Self {
        assert!(self.is(vector), "not vector {vector:#x} but {self:x?}");
        self
    }
}

pub struct Vcpu {
    fd: VcpuFd,
    memory: Arc<Memory>,
    /// Its number in its VM.
    number: u64,
}

/// The fields are dropped in this order.
pub struct Guest {
    pub vcpu: Vcpu,
    pub vm: Arc<VmFd>,
    pub memory: Arc<Memory>,
    pub tables: Tables,
    /// Of the pairing that its kernel's hypercalls are for.
    pub key: u32,
}

impl Guest {
    pub fn new() -> Self {
        let kvm = Kvm::new().expect("/dev/kvm");
        let vm = kvm.create_vm().expect("KVM_CREATE_VM");
        vm.create_irq_chip().expect("KVM_CREATE_IRQCHIP");
        let memory = Arc::new(Memory::new(MEMORY_SIZE));
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: memory.size(),
            userspace_addr: memory.host_address(),
        };
        // SAFETY: The memory is mapped for as long as the VM is open, and no Rust reference to its bytes exists.
        unsafe { vm.set_user_memory_region(region) }.expect("KVM_SET_USER_MEMORY_REGION");
        let tables = Tables::new(&memory);
        write_descriptors(&memory);
        memory.write(KERNEL_CODE, code::kernel());
        memory.write(USER_CODE, code::user());

        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .expect("KVM_GET_SUPPORTED_CPUID");
        let fd = vm.create_vcpu(0).expect("KVM_CREATE_VCPU");
        set_up(&fd, &cpuid, 0);
        Self {
            vcpu: Vcpu {
                fd,
                memory: Arc::clone(&memory),
                number: 0,
            },
            vm: Arc::new(vm),
            memory,
            tables,
            key: 0,
        }
    }

    /// A second vCPU, with a kernel stack of its own.
    pub fn second_vcpu(&self) -> Vcpu {
        self.another_vcpu(1)
    }

    /// A vCPU of this number, with a kernel stack of its own.
    pub fn another_vcpu(&self, number: u64) -> Vcpu {
        assert!(number < VCPUS);
        let apic = number as u32;
        let cpuid = self.vcpu.fd.get_cpuid2(KVM_MAX_CPUID_ENTRIES);
        let mut cpuid = cpuid.expect("KVM_GET_CPUID2");
        for entry in cpuid.as_mut_slice() {
            match entry.function {
                1 => entry.ebx |= apic << 24, // APIC ID
                0xb | 0x1f => entry.edx = apic,
                _ => {}
            }
        }
        let fd = self.vm.create_vcpu(number).expect("KVM_CREATE_VCPU");
        set_up(&fd, &cpuid, number);
        let state = kvm_mp_state {
            mp_state: KVM_MP_STATE_RUNNABLE,
        };
        fd.set_mp_state(state).expect("KVM_SET_MP_STATE");
        Vcpu {
            fd,
            memory: Arc::clone(&self.memory),
            number,
        }
    }

    /// Gives the VM more memory, in another slot than 0, which must be there for as long as the VM is.
    pub fn add_memory(&self, slot: u32, gpa: u64, memory: &Memory) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: gpa,
            memory_size: memory.size(),
            userspace_addr: memory.host_address(),
        };
        // SAFETY: As in `new`.
        unsafe { self.vm.set_user_memory_region(region) }.expect("KVM_SET_USER_MEMORY_REGION");
    }

    /// The VM's file descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        vm_fd(&self.vm)
    }

    /// A hypercall by the kernel.
    pub fn hypercall(&mut self, number: u32, arguments: [u64; 3]) -> i64 {
        let regs = kvm_regs {
            rip: code::guest_kernel_hypercall(),
            rcx: self.key.into(),
            ..hypercall_regs(number, arguments)
        };
        self.vcpu.enter_kernel(regs);
        let stop = self.vcpu.run();
        assert_eq!(stop.event, Event::Hypercall, "{stop:x?}");
        stop.regs.rax as i64
    }

    /// A hypercall by the process.
    pub fn user_hypercall(&mut self, number: u32, arguments: [u64; 3]) -> Stop {
        self.vcpu.user_hypercall(number, arguments)
    }
}

fn hypercall_regs(number: u32, [rdi, rsi, rdx]: [u64; 3]) -> kvm_regs {
    kvm_regs {
        rax: u64::from(uapi::WORMHOLE_HYPERCALL | number),
        rdi,
        rsi,
        rdx,
        ..Default::default()
    }
}

pub fn vm_fd(vm: &VmFd) -> BorrowedFd<'_> {
    // SAFETY: It is open for as long as `vm` is borrowed.
    unsafe { BorrowedFd::borrow_raw(vm.as_raw_fd()) }
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// An interrupt from a device; `data` as in an MSI: the vector, and 0x400 for an NMI.
pub fn signal(vm: &VmFd, data: u32) {
    signal_to(vm, 0, data);
}

/// To a vCPU other than the first.
pub fn signal_to(vm: &VmFd, vcpu: u32, data: u32) {
    let delivered = vm
        .signal_msi(kvm_msi {
            address_lo: 0xfee0_0000 | (vcpu << 12),
            data,
            ..Default::default()
        })
        .expect("KVM_SIGNAL_MSI");
    // 0: it was pending already
    assert!((0..=1).contains(&delivered), "{delivered}");
}

impl Vcpu {
    /// A hypercall by the process.
    pub fn user_hypercall(&mut self, number: u32, arguments: [u64; 3]) -> Stop {
        self.enter_user(kvm_regs {
            rip: code::guest_user_hypercall(),
            rsp: FRAME,
            ..hypercall_regs(number, arguments)
        });
        self.run()
    }

    /// What comes next is at CPL 0. The guest is at CPL 0 whenever it has left to the test.
    pub fn enter_kernel(&mut self, regs: kvm_regs) {
        self.fd
            .set_regs(&kvm_regs {
                rsp: KERNEL_BASE + kernel_stack(self.number),
                rflags: RFLAGS,
                ..regs
            })
            .expect("KVM_SET_REGS");
    }

    /// What comes next is at CPL 3, with interrupts on.
    pub fn enter_user(&mut self, regs: kvm_regs) {
        let frame = [
            regs.rip,
            USER_CS.into(),
            RFLAGS_USER,
            regs.rsp,
            USER_SS.into(),
        ];
        let iret_frame = IRET_FRAME + self.number * 0x100;
        for (at, value) in (iret_frame..).step_by(8).zip(frame) {
            self.memory.set(at, value);
        }
        self.fd
            .set_regs(&kvm_regs {
                rip: code::guest_iretq(),
                rsp: KERNEL_BASE + iret_frame,
                rflags: RFLAGS,
                ..regs
            })
            .expect("KVM_SET_REGS");
    }

    /// Has what was prepared by `enter_user` begin at another address of the kernel's.
    pub fn begin_at(&mut self, rip: u64) {
        let regs = self.regs();
        self.set_regs(&kvm_regs { rip, ..regs });
    }

    /// Runs until the guest leaves to the test.
    #[track_caller]
    pub fn run(&mut self) -> Stop {
        let stop = self.run_until(LIMIT);
        stop.unwrap_or_else(|| panic!("it does not end; {:x?}", self.regs()))
    }

    /// Nothing if the guest has not left to the test in this time.
    #[track_caller]
    pub fn run_until(&mut self, time: Duration) -> Option<Stop> {
        let port = self.run_to_port(time)?;
        Some(self.stop(port))
    }

    /// The port that the guest has left to the test by: for one that is not in 64-bit mode.
    #[track_caller]
    pub fn run_to_port(&mut self, time: Duration) -> Option<u16> {
        let deadline = Deadline::new(time);
        let port = match self.fd.run() {
            Ok(VcpuExit::IoOut(port, _)) => port,
            Ok(exit) => {
                let exit = format!("{exit:x?}");
                panic!("{exit}; {:x?}", self.regs());
            }
            Err(error) if error.errno() == libc::EINTR => return None,
            Err(error) => panic!("KVM_RUN: {error}"),
        };
        drop(deadline);
        Some(port)
    }

    /// Runs until KVM lets it go for whatever reason, or this time is up. No event is left to be delivered.
    pub fn run_to_any_end(&mut self, time: Duration) -> String {
        let deadline = Deadline::new(time);
        let end = format!("{:x?}", self.fd.run());
        drop(deadline);
        let none = kvm_vcpu_events::default();
        self.fd.set_vcpu_events(&none).expect("KVM_SET_VCPU_EVENTS");
        end
    }

    /// Runs until it accesses what is not memory, which reads as 0x5a bytes, or leaves to the test.
    pub fn access(&mut self) -> (Access, Option<Stop>) {
        let deadline = Deadline::new(LIMIT);
        let exit = self.fd.run().expect("KVM_RUN");
        let access = match exit {
            VcpuExit::MmioRead(address, data) => {
                data.fill(0x5a);
                Access::Read(address)
            }
            VcpuExit::MmioWrite(address, _) => Access::Write(address),
            VcpuExit::IoOut(port, _) => {
                drop(deadline);
                return (Access::Stop, Some(self.stop(port)));
            }
            exit => panic!("{exit:x?}"),
        };
        (access, None)
    }

    /// What comes next, in whatever mode KVM_SET_SREGS has put the vCPU.
    pub fn set_regs(&mut self, regs: &kvm_regs) {
        self.fd.set_regs(regs).expect("KVM_SET_REGS");
    }

    /// DR0 to DR3, and DR7.
    pub fn set_breakpoints(&mut self, addresses: [u64; 4], dr7: u64) {
        let registers = kvm_debugregs {
            db: addresses,
            dr6: 0xffff_0ff0,
            dr7,
            ..Default::default()
        };
        self.fd
            .set_debug_regs(&registers)
            .expect("KVM_SET_DEBUGREGS");
    }

    /// Changes what KVM_SET_SREGS does.
    pub fn change_sregs(&mut self, change: impl FnOnce(&mut kvm_sregs)) {
        let mut sregs = self.sregs();
        change(&mut sregs);
        self.fd.set_sregs(&sregs).expect("KVM_SET_SREGS");
    }

    pub fn set_msr(&mut self, index: u32, data: u64) {
        set_msrs(&self.fd, &[(index, data)]);
    }

    pub fn msr(&self, index: u32) -> u64 {
        let mut msrs = Msrs::from_entries(&[kvm_msr_entry {
            index,
            ..Default::default()
        }])
        .expect("not too many");
        assert_eq!(self.fd.get_msrs(&mut msrs), Ok(1), "KVM_GET_MSRS");
        msrs.as_slice()[0].data
    }

    /// Of what enter_user has prepared.
    pub fn set_user_flags(&mut self, rflags: u64) {
        self.memory
            .set(IRET_FRAME + self.number * 0x100 + 16, rflags);
    }

    /// Whether its CPUID has this bit of a register (EAX, EBX, ECX, EDX) of this leaf.
    pub fn cpuid_bit(&self, leaf: u32, register: usize, bit: u32) -> bool {
        let cpuid = self.fd.get_cpuid2(KVM_MAX_CPUID_ENTRIES);
        cpuid
            .expect("KVM_GET_CPUID2")
            .as_slice()
            .iter()
            .find(|entry| entry.function == leaf && entry.index == 0)
            .is_some_and(|entry| {
                [entry.eax, entry.ebx, entry.ecx, entry.edx][register] & (1 << bit) != 0
            })
    }

    fn stop(&self, port: u16) -> Stop {
        let mut stop = Stop {
            event: Event::Hypercall,
            error_code: 0,
            regs: self.regs(),
            cs: KERNEL_CS.into(),
        };
        match u8::try_from(port) {
            Ok(PORT_HYPERCALL) => {}
            Ok(PORT_SYSCALL) => stop.event = Event::Syscall,
            Ok(PORT_VECTOR) => {
                // RIP is at the OUT or behind it, in the vector's 16 bytes.
                let vector = (stop.regs.rip - KERNEL_BASE - KERNEL_CODE) / 16;
                let vector = u8::try_from(vector)
                    .unwrap_or_else(|_| panic!("RIP is in no stub: {:x?}", stop.regs));
                stop.event = Event::Vector(vector);
                let mut frame = stop.regs.rsp - KERNEL_BASE;
                if matches!(vector, 8 | 10..=14 | 17 | 21) {
                    stop.error_code = self.memory.get(frame);
                    frame += 8;
                }
                stop.regs.rip = self.memory.get(frame);
                stop.cs = self.memory.get(frame + 8);
                stop.regs.rflags = self.memory.get(frame + 16);
                stop.regs.rsp = self.memory.get(frame + 24);
            }
            _ => panic!("OUT to port {port:#x}"),
        }
        stop
    }

    pub fn regs(&self) -> kvm_regs {
        self.fd.get_regs().expect("KVM_GET_REGS")
    }

    pub fn sregs(&self) -> kvm_sregs {
        self.fd.get_sregs().expect("KVM_GET_SREGS")
    }

    /// Sets the FS and GS base.
    pub fn set_bases(&mut self, fs: u64, gs: u64) {
        let mut sregs = self.sregs();
        sregs.fs.base = fs;
        sregs.gs.base = gs;
        self.fd.set_sregs(&sregs).expect("KVM_SET_SREGS");
    }

    /// A breakpoint of the guest's own, at an instruction.
    pub fn set_breakpoint(&mut self, address: u64) {
        let mut registers = self.fd.get_debug_regs().expect("KVM_GET_DEBUGREGS");
        registers.db[0] = address;
        registers.dr7 |= 0b10; // G0
        let set = self.fd.set_debug_regs(&registers);
        set.expect("KVM_SET_DEBUGREGS");
    }

    pub fn set_cr3(&mut self, cr3: u64) {
        let mut sregs = self.sregs();
        sregs.cr3 = cr3;
        self.fd.set_sregs(&sregs).expect("KVM_SET_SREGS");
    }

    /// XCR0.
    pub fn features(&self) -> u64 {
        self.fd.get_xcrs().expect("KVM_GET_XCRS").xcrs[0].value
    }

    /// Sets XCR0.
    pub fn set_features(&mut self, features: u64) {
        set_xcr0(&self.fd, features);
    }

    /// The XSAVE area, in the standard format.
    pub fn xsave(&self) -> Vec<u8> {
        let xsave = self.fd.get_xsave().expect("KVM_GET_XSAVE");
        xsave
            .region
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    pub fn set_xsave(&mut self, bytes: &[u8]) {
        let mut xsave = kvm_xsave::default();
        for (word, bytes) in xsave.region.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        }
        // SAFETY: No feature has been enabled that would make the area larger than the structure.
        unsafe { self.fd.set_xsave(&xsave) }.expect("KVM_SET_XSAVE");
    }

    /// A timer that interrupts with vector TIMER each `nanoseconds`; none if that is 0.
    pub fn set_timer(&mut self, nanoseconds: u32) {
        const PERIODIC: u64 = 1 << 17;
        const MASKED: u64 = 1 << 16;
        let mode = if nanoseconds == 0 { MASKED } else { PERIODIC };
        set_msrs(
            &self.fd,
            &[
                (X2APIC_TIMER, u64::from(TIMER) | mode),
                (X2APIC_DIVIDE, 0b1011), // by 1, of 1 GHz
                (X2APIC_INITIAL_COUNT, nanoseconds.into()),
            ],
        );
    }
}

fn set_up(fd: &VcpuFd, cpuid: &CpuId, number: u64) {
    fd.set_cpuid2(cpuid).expect("KVM_SET_CPUID2");

    let mut sregs = fd.get_sregs().expect("KVM_GET_SREGS");
    let data = segment(USER_SS, 3);
    sregs.cs = kvm_segment {
        l: 1,
        db: 0,
        ..segment(KERNEL_CS, 11)
    };
    sregs.ss = segment(KERNEL_SS, 3);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs) = (data, data, data, data);
    sregs.tr = kvm_segment {
        base: KERNEL_BASE + TSS + number * DESCRIPTORS,
        limit: 103,
        s: 0,
        g: 0,
        db: 0,
        ..segment(TR, 11)
    };
    sregs.ldt = kvm_segment {
        unusable: 1,
        ..Default::default()
    };
    sregs.gdt = kvm_dtable {
        base: KERNEL_BASE + GDT + number * DESCRIPTORS,
        limit: 7 * 8 - 1,
        ..Default::default()
    };
    sregs.idt = kvm_dtable {
        base: KERNEL_BASE + IDT,
        limit: 256 * 16 - 1,
        ..Default::default()
    };
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (CR0, PML4, CR4, EFER);
    sregs.apic_base |= 0b11 << 10; // x2APIC mode
    fd.set_sregs(&sregs).expect("KVM_SET_SREGS");

    let supported = cpuid
        .as_slice()
        .iter()
        .find(|entry| entry.function == 0xd && entry.index == 0)
        .map_or(1, |entry| u64::from(entry.eax));
    set_xcr0(fd, XCR0 & supported);

    set_msrs(
        fd,
        &[
            (
                MSR_STAR,
                (u64::from(KERNEL_SS) << 48) | (u64::from(KERNEL_CS) << 32),
            ),
            (MSR_LSTAR, code::guest_syscall()),
            (MSR_SFMASK, 0x4_7700),
            (X2APIC_SPURIOUS, 0x1ff), // APIC on
        ],
    );
}

fn set_xcr0(fd: &VcpuFd, value: u64) {
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..Default::default()
    };
    xcrs.xcrs[0].value = value;
    fd.set_xcrs(&xcrs).expect("KVM_SET_XCRS");
}

fn set_msrs(fd: &VcpuFd, values: &[(u32, u64)]) {
    let entries: Vec<_> = values
        .iter()
        .map(|&(index, data)| kvm_msr_entry {
            index,
            data,
            ..Default::default()
        })
        .collect();
    let msrs = Msrs::from_entries(&entries).expect("not too many");
    let count = fd.set_msrs(&msrs).expect("KVM_SET_MSRS");
    assert_eq!(count, entries.len(), "KVM_SET_MSRS refuses one");
}

/// A flat segment; its privilege level is the selector's.
pub fn segment(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: (selector & 3) as u8,
        db: 1,
        s: 1,
        l: 0,
        g: 1,
        ..Default::default()
    }
}

/// As many as there is room for descriptors, stacks and frames.
pub const VCPUS: u64 = 4;

/// Where the second vCPU's GDT and TSS are, after the first one's, and so on.
const DESCRIPTORS: u64 = 0x200;

fn kernel_stack(vcpu: u64) -> u64 {
    KERNEL_STACK_TOP - vcpu * 0x800
}

/// GDT and TSS of all vCPUs, and IDT.
fn write_descriptors(memory: &Memory) {
    for vcpu in 0..VCPUS {
        let tss_at = TSS + vcpu * DESCRIPTORS;
        let tss = KERNEL_BASE + tss_at;
        let gdt = [
            0,
            0x00af_9b00_0000_ffff, // KERNEL_CS
            0x00cf_9300_0000_ffff, // KERNEL_SS
            0x00cf_f300_0000_ffff, // USER_SS
            0x00af_fb00_0000_ffff, // USER_CS
            103 | ((tss & 0xff_ffff) << 16) | (0x8b << 40) | (((tss >> 24) & 0xff) << 56),
            tss >> 32,
        ];
        for (at, value) in (GDT + vcpu * DESCRIPTORS..).step_by(8).zip(gdt) {
            memory.set(at, value);
        }
        let stack = (KERNEL_BASE + kernel_stack(vcpu)).to_le_bytes();
        memory.write(tss_at + 4, &stack); // RSP0
        memory.write(tss_at + 0x24, &stack); // IST1
        memory.write(tss_at + 102, &104_u16.to_le_bytes()); // no I/O permission bitmap
    }

    // Interrupt gates of DPL 3 with IST1: a handler runs whatever RSP was, and INT n is for everybody.
    for vector in 0..256 {
        let handler = KERNEL_BASE + KERNEL_CODE + vector * 16;
        let low = handler & 0xffff
            | (u64::from(KERNEL_CS) << 16)
            | (1 << 32)
            | (0xee << 40)
            | (((handler >> 16) & 0xffff) << 48);
        memory.set(IDT + vector * 16, low);
        memory.set(IDT + vector * 16 + 8, handler >> 32);
    }
}

/// Another handler of a vector.
pub fn set_handler(memory: &Memory, vector: u8, handler: u64) {
    let at = IDT + u64::from(vector) * 16;
    let low = memory.get(at) & !0xffff_0000_0000_ffff;
    let low = low | handler & 0xffff | (((handler >> 16) & 0xffff) << 48);
    memory.set(at, low);
    memory.set(at + 8, handler >> 32);
}

/// An exit to this program that is not by a port.
#[allow(dead_code, reason = "the benchmark needs none")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No memory is there.
    Read(u64),
    Write(u64),
    Stop,
}
