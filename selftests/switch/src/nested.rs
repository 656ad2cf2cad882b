// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client's kernel turns VMX on and runs a guest of its own (L2), on the page tables and in the process that is
//! bound: to Wormhole an L2 is no client.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::events::{end_the_loop, stop_a_call};
use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{call_regs, refused, result_of, Pair, SESSION};
use crate::vm::{segment, Event};

crate::tests! {
    calls_with_vmx_on
    vmfunc_in_a_nested_guest
    vmfunc_that_exits_to_the_hypervisor_of_a_nested_guest
    eptp_switching_of_a_nested_guest
    hypercalls_of_a_nested_guest
}

const CALL: [u64; 6] = [SERVER_DATA, 0, 0, 0, 0, 0];

const CR4_VMXE: u64 = 1 << 13;

const MSR_FEAT_CTL: u32 = 0x3a;
const LOCKED_WITH_VMXON: u64 = 0b101;
const MSR_VMX_BASIC: u32 = 0x480;
const MSR_VMX_PIN_CONTROLS: u32 = 0x481;
const MSR_VMX_PRIMARY_CONTROLS: u32 = 0x482;
const MSR_VMX_EXIT_CONTROLS: u32 = 0x483;
const MSR_VMX_ENTRY_CONTROLS: u32 = 0x484;
const MSR_VMX_SECONDARY_CONTROLS: u32 = 0x48b;

const UNCONDITIONAL_IO_EXITING: u64 = 1 << 24;
const SECONDARY_CONTROLS: u64 = 1 << 31;
const ENABLE_EPT: u64 = 1 << 1;
const ENABLE_VM_FUNCTIONS: u64 = 1 << 13;
const EPTP_SWITCHING: u64 = 1 << 0;
/// Of VM exits: the hypervisor is in 64-bit mode; of VM entries: the guest.
const LONG_MODE: u64 = 1 << 9;

// Fields of the VMCS (Intel SDM vol. 3, appendix B).
const VM_FUNCTION_CONTROLS: u64 = 0x2018;
const EPT_POINTER: u64 = 0x201a;
const EPTP_LIST: u64 = 0x2024;
const VMCS_LINK: u64 = 0x2800;
const PIN: u64 = 0x4000;
const PRIMARY: u64 = 0x4002;
const EXCEPTION_BITMAP: u64 = 0x4004;
const EXIT_CONTROLS: u64 = 0x400c;
const ENTRY_CONTROLS: u64 = 0x4012;
const SECONDARY: u64 = 0x401e;
const INSTRUCTION_ERROR: u64 = 0x4400;
const EXIT_REASON: u64 = 0x4402;
const EXIT_INTERRUPTION: u64 = 0x4404;
const GUEST_RSP: u64 = 0x681c;
const GUEST_RIP: u64 = 0x681e;
const GUEST_RFLAGS: u64 = 0x6820;

// Exit reasons (appendix C).
const EXCEPTION: u64 = 0;
const VMCALL: u64 = 18;
const IO_INSTRUCTION: u64 = 30;
const VMFUNC: u64 = 59;

// In SPARE: a page each.
const VMXON_REGION: u64 = SPARE;
const VMCS: u64 = SPARE + PAGE;
const POINTER: u64 = SPARE + 2 * PAGE;
const HOST_STACK_TOP: u64 = SPARE + 4 * PAGE;
const LIST: u64 = SPARE + 4 * PAGE;
const EPT: u64 = SPARE + 5 * PAGE;
const OTHER_EPT: u64 = SPARE + 6 * PAGE;
const EPT_DIRECTORY: u64 = SPARE + 7 * PAGE;

/// Why an L2 has left to its hypervisor, and where it was.
#[derive(Debug)]
struct Exit {
    reason: u64,
    interruption: u64,
    rip: u64,
    regs: kvm_regs,
}

/// A client whose kernel is a hypervisor, with a VMCS.
struct Hypervisor {
    pair: Pair,
    /// What it has written into the VMCS.
    written: Vec<(u64, u64)>,
}

impl Hypervisor {
    /// Nothing if KVM has no nested virtualization here.
    fn new(mut pair: Pair) -> Option<Self> {
        let vcpu = &mut pair.client.vcpu;
        if !vcpu.cpuid_bit(1, 2, 5) {
            return None;
        }
        vcpu.set_msr(MSR_FEAT_CTL, LOCKED_WITH_VMXON);
        vcpu.change_sregs(|sregs| sregs.cr4 |= CR4_VMXE);
        let revision = vcpu.msr(MSR_VMX_BASIC) & 0x7fff_ffff;
        for page in [VMXON_REGION, VMCS] {
            pair.client.memory.fill(page, PAGE, 0);
            pair.client.memory.set(page, revision);
        }
        let mut hypervisor = Self {
            pair,
            written: Vec::new(),
        };
        hypervisor.execute_on(code::guest_vmxon(), VMXON_REGION);
        hypervisor.load();
        hypervisor.write_all();
        Some(hypervisor)
    }

    /// One of the VMX instructions that take a pointer to a page.
    fn execute_on(&mut self, rip: u64, page: u64) {
        self.pair.client.memory.set(POINTER, page);
        self.execute(rip, KERNEL_BASE + POINTER, 0);
    }

    /// One that must succeed.
    #[track_caller]
    fn execute(&mut self, rip: u64, rdi: u64, rsi: u64) -> kvm_regs {
        let vcpu = &mut self.pair.client.vcpu;
        vcpu.enter_kernel(kvm_regs {
            rip,
            rdi,
            rsi,
            ..Default::default()
        });
        let stop = vcpu.run();
        assert_eq!(
            (stop.event, stop.regs.rax),
            (Event::Hypercall, 0),
            "{stop:x?}"
        );
        stop.regs
    }

    /// Makes the VMCS current, to be launched.
    fn load(&mut self) {
        self.execute_on(code::guest_vmclear(), VMCS);
        self.execute_on(code::guest_vmptrld(), VMCS);
    }

    fn read(&mut self, field: u64) -> u64 {
        self.execute(code::guest_vmread(), field, 0).rsi
    }

    fn write(&mut self, field: u64, value: u64) {
        self.execute(code::guest_vmwrite(), field, value);
        self.written.retain(|(other, _)| *other != field);
        self.written.push((field, value));
    }

    /// Controls that a capability MSR has as 1, and these.
    fn write_controls(&mut self, field: u64, msr: u32, wanted: u64) {
        let capabilities = self.pair.client.vcpu.msr(msr);
        let (fixed, allowed) = (capabilities & 0xffff_ffff, capabilities >> 32);
        assert_eq!(wanted & !allowed, 0, "{field:#x}: {capabilities:#x}");
        self.write(field, fixed | wanted);
    }

    /// A guest that is as its hypervisor is, and whose exceptions and OUT instructions exit.
    fn write_all(&mut self) {
        let sregs = self.pair.client.vcpu.sregs();
        self.write_controls(PIN, MSR_VMX_PIN_CONTROLS, 0);
        self.write_controls(PRIMARY, MSR_VMX_PRIMARY_CONTROLS, UNCONDITIONAL_IO_EXITING);
        self.write_controls(EXIT_CONTROLS, MSR_VMX_EXIT_CONTROLS, LONG_MODE);
        self.write_controls(ENTRY_CONTROLS, MSR_VMX_ENTRY_CONTROLS, LONG_MODE);
        self.write(EXCEPTION_BITMAP, 0xffff_ffff);
        for (field, value) in host_state(&sregs).into_iter().chain(guest_state(&sregs)) {
            self.write(field, value);
        }
    }

    fn write_secondary_controls(&mut self, wanted: u64) {
        let primary = UNCONDITIONAL_IO_EXITING | SECONDARY_CONTROLS;
        self.write_controls(PRIMARY, MSR_VMX_PRIMARY_CONTROLS, primary);
        self.write_controls(SECONDARY, MSR_VMX_SECONDARY_CONTROLS, wanted);
    }

    /// Runs the L2 until it exits to its hypervisor, which finds its VMCS as it was but for the L2's RIP, RSP and RFLAGS.
    #[track_caller]
    fn enter(&mut self, cpl: u16, regs: kvm_regs) -> Exit {
        self.load();
        let (cs, ss, rsp) = if cpl == 0 {
            (KERNEL_CS, KERNEL_SS, KERNEL_BASE + KERNEL_STACK_TOP)
        } else {
            (USER_CS, USER_SS, FRAME)
        };
        let cs = kvm_segment {
            l: 1,
            db: 0,
            ..segment(cs, 11)
        };
        for (field, value) in segment_state(CS, &cs)
            .into_iter()
            .chain(segment_state(SS, &segment(ss, 3)))
            .chain([(GUEST_RIP, regs.rip), (GUEST_RSP, rsp), (GUEST_RFLAGS, 2)])
        {
            self.write(field, value);
        }
        let vcpu = &mut self.pair.client.vcpu;
        vcpu.enter_kernel(kvm_regs {
            rip: code::guest_vmlaunch(),
            ..regs
        });
        let stop = vcpu.run();
        if stop.event != Event::Hypercall {
            let error = self.read(INSTRUCTION_ERROR);
            panic!("no exit of the L2: {stop:x?}, VM-instruction error {error}");
        }
        assert_eq!(stop.regs.rsp, KERNEL_BASE + HOST_STACK_TOP, "{stop:x?}");
        Exit {
            reason: self.read(EXIT_REASON),
            interruption: self.read(EXIT_INTERRUPTION),
            rip: self.read(GUEST_RIP),
            regs: stop.regs,
        }
    }

    /// But for what an L2 changes that does not change its mode.
    #[track_caller]
    fn assert_vmcs_unchanged(&mut self) {
        for (field, value) in self.written.clone() {
            if ![GUEST_RIP, GUEST_RSP, GUEST_RFLAGS].contains(&field) {
                assert_eq!(self.read(field), value, "{field:#x}");
            }
        }
    }

    fn counter(&self) -> u64 {
        self.pair.server.memory.get(SERVER_DATA_PAGES)
    }

    /// The process's calls work, and there was none since the last time.
    #[track_caller]
    fn assert_works(&mut self) {
        let before = self.counter();
        self.pair.server.memory.set(SERVER_DATA_PAGES, 0);
        assert_eq!((before, self.pair.result(CALL)), (1, 1));
    }
}

// Numbers of segment registers in the VMCS.
const CS: u64 = 1;
const SS: u64 = 2;

fn segment_state(number: u64, segment: &kvm_segment) -> [(u64, u64); 4] {
    let flags = [
        (segment.type_, 0),
        (segment.s, 4),
        (segment.dpl, 5),
        (segment.present, 7),
        (segment.avl, 12),
        (segment.l, 13),
        (segment.db, 14),
        (segment.g, 15),
        (segment.unusable, 16),
    ];
    let rights = flags.iter().fold(0, |rights, (flag, shift)| {
        rights | (u64::from(*flag) << shift)
    });
    [
        (0x800 + number * 2, segment.selector.into()),
        (0x4800 + number * 2, segment.limit.into()),
        (0x4814 + number * 2, rights),
        (0x6806 + number * 2, segment.base),
    ]
}

fn guest_state(sregs: &kvm_sregs) -> Vec<(u64, u64)> {
    let segments = [
        &sregs.es, &sregs.cs, &sregs.ss, &sregs.ds, &sregs.fs, &sregs.gs, &sregs.ldt, &sregs.tr,
    ];
    let mut state: Vec<_> = (0..)
        .zip(segments)
        .flat_map(|(number, segment)| segment_state(number, segment))
        .collect();
    state.extend([
        (VMCS_LINK, u64::MAX),
        (0x2802, 0), // IA32_DEBUGCTL
        (0x4810, sregs.gdt.limit.into()),
        (0x4812, sregs.idt.limit.into()),
        (0x4824, 0), // interruptibility
        (0x4826, 0), // active
        (0x6800, sregs.cr0),
        (0x6802, sregs.cr3),
        (0x6804, sregs.cr4),
        (0x6816, sregs.gdt.base),
        (0x6818, sregs.idt.base),
        (0x681a, 0x400), // DR7
        (0x6822, 0),     // pending debug exceptions
    ]);
    state
}

fn host_state(sregs: &kvm_sregs) -> Vec<(u64, u64)> {
    let mut state: Vec<_> = [0xc00, 0xc04, 0xc06, 0xc08, 0xc0a] // ES, SS, DS, FS, GS
        .map(|selector| (selector, KERNEL_SS.into()))
        .into();
    state.extend([
        (0xc02, KERNEL_CS.into()),
        (0xc0c, TR.into()),
        (0x6c00, sregs.cr0),
        (0x6c02, sregs.cr3),
        (0x6c04, sregs.cr4),
        (0x6c06, 0), // FS base
        (0x6c08, 0), // GS base
        (0x6c0a, sregs.tr.base),
        (0x6c0c, sregs.gdt.base),
        (0x6c0e, sregs.idt.base),
        (0x6c14, KERNEL_BASE + HOST_STACK_TOP),
        (0x6c16, code::guest_nested_exit()),
    ]);
    state
}

/// A hypervisor that has made one call.
fn hypervisor() -> Option<Hypervisor> {
    let mut pair = Pair::ready(code::guest_counter());
    assert_eq!(pair.result(CALL), 1);
    let hypervisor = Hypervisor::new(pair);
    if hypervisor.is_none() {
        crate::skip("no VMX in a VM: kvm_intel's parameter `nested` is off");
    }
    hypervisor
}

/// CR4.VMXE is one of the bits that do no harm; VMX instructions exit, as they did.
fn calls_with_vmx_on() {
    let Some(mut hypervisor) = hypervisor() else {
        return;
    };
    for _ in 0..3 {
        hypervisor.assert_works();
        hypervisor.assert_vmcs_unchanged();
    }
}

/// Where a VMFUNC could lead to a view: at the gate, and elsewhere.
fn attempts() -> Vec<(u16, kvm_regs)> {
    let enter = kvm_regs {
        rip: ENTER,
        ..call_regs(CALL)
    };
    let at_gate = (0..4).map(|index| kvm_regs {
        rip: ENTER + 7,
        rcx: index,
        ..call_regs(CALL)
    });
    let elsewhere = (0..4).map(|index| kvm_regs {
        rip: code::guest_vmfunc(),
        rcx: index,
        ..call_regs(CALL)
    });
    let all: Vec<_> = at_gate.chain(elsewhere).chain([enter]).collect();
    [3, 0]
        .into_iter()
        .flat_map(|cpl| all.iter().map(move |regs| (cpl, *regs)))
        .collect()
}

/// Where the VMFUNC of an attempt is.
fn vmfunc_of(regs: &kvm_regs) -> u64 {
    if regs.rip == ENTER {
        ENTER + 7
    } else {
        regs.rip
    }
}

/// The hypervisor has not turned VM functions on.
fn vmfunc_in_a_nested_guest() {
    const INVALID_OPCODE: u64 = (1 << 31) | (3 << 8) | 6;
    let Some(mut hypervisor) = hypervisor() else {
        return;
    };
    for (cpl, regs) in attempts() {
        let exit = hypervisor.enter(cpl, regs);
        assert_eq!(
            (exit.reason, exit.interruption, exit.rip),
            (EXCEPTION, INVALID_OPCODE, vmfunc_of(&regs)),
            "CPL {cpl}: {exit:x?}"
        );
        hypervisor.assert_vmcs_unchanged();
        hypervisor.assert_works();
    }
}

/// The hypervisor has turned VM functions on, and allows none.
fn vmfunc_that_exits_to_the_hypervisor_of_a_nested_guest() {
    let Some(mut hypervisor) = hypervisor() else {
        return;
    };
    hypervisor.write_secondary_controls(ENABLE_VM_FUNCTIONS);
    hypervisor.write(VM_FUNCTION_CONTROLS, 0);
    for (cpl, regs) in attempts() {
        let exit = hypervisor.enter(cpl, regs);
        assert_eq!(
            (exit.reason, exit.rip),
            (VMFUNC, vmfunc_of(&regs)),
            "CPL {cpl}: {exit:x?}"
        );
        hypervisor.assert_vmcs_unchanged();
        hypervisor.assert_works();
    }
}

/// The hypervisor has two EPTs and an EPTP list of its own: VMFUNC leads to these, and where its list has nothing, to it.
fn eptp_switching_of_a_nested_guest() {
    const READ_WRITE_EXECUTE: u64 = 7;
    const LARGE_WRITE_BACK: u64 = (1 << 7) | (6 << 3);
    const FOUR_LEVELS_WRITE_BACK: u64 = (3 << 3) | 6;
    let Some(mut hypervisor) = hypervisor() else {
        return;
    };
    let memory = hypervisor.pair.client.memory.clone();
    memory.fill(LIST, 4 * PAGE, 0);
    memory.set(EPT_DIRECTORY, LARGE_WRITE_BACK | READ_WRITE_EXECUTE);
    let views = [EPT, OTHER_EPT].map(|ept| {
        memory.set(ept, EPT_DIRECTORY | READ_WRITE_EXECUTE);
        ept | FOUR_LEVELS_WRITE_BACK
    });
    for (index, view) in (0..).zip(views) {
        memory.set(LIST + index * 8, view);
    }
    hypervisor.write_secondary_controls(ENABLE_EPT | ENABLE_VM_FUNCTIONS);
    hypervisor.write(VM_FUNCTION_CONTROLS, EPTP_SWITCHING);
    hypervisor.write(EPTP_LIST, LIST);
    for (cpl, regs) in attempts() {
        hypervisor.write(EPT_POINTER, views[0]);
        let exit = hypervisor.enter(cpl, regs);
        let index = if regs.rip == ENTER { 1 } else { regs.rcx };
        let case = format!("CPL {cpl}, index {index}: {exit:x?}");
        let Some(view) = views.get(index as usize) else {
            assert_eq!((exit.reason, exit.rip), (VMFUNC, regs.rip), "{case}");
            hypervisor.assert_vmcs_unchanged();
            hypervisor.assert_works();
            continue;
        };
        // On behind it, in the hypervisor's own view, to an INT instruction's handler.
        let behind = vmfunc_of(&regs) + 3;
        let vector = if behind == ENTER + 10 {
            3
        } else {
            AFTER_VMFUNC
        };
        if vector == 3 {
            assert_eq!((exit.reason, exit.rip), (EXCEPTION, behind), "{case}");
        } else {
            let handler = KERNEL_BASE + KERNEL_CODE + u64::from(vector) * 16;
            assert_eq!((exit.reason, exit.rip), (IO_INSTRUCTION, handler), "{case}");
        }
        assert_eq!(hypervisor.read(EPT_POINTER), *view, "{case}");
        hypervisor.assert_works();
    }
}

/// A nested guest's VMCALL is its hypervisor's, whatever it asks for.
fn hypercalls_of_a_nested_guest() {
    let Some(mut hypervisor) = Hypervisor::new(Pair::ready(code::guest_loop_until())) else {
        return crate::skip("no VMX in a VM: kvm_intel's parameter `nested` is off");
    };
    // A call that is stopped, so that there is one to go on with.
    let pair = &mut hypervisor.pair;
    let token = stop_a_call(pair);
    let count = pair.server.memory.get(SERVER_DATA_PAGES + 8);
    for (cpl, number, arguments) in [
        (3, uapi::WORMHOLE_HC_RESUME, [token, 0]),
        (0, uapi::WORMHOLE_HC_RESUME, [token, 0]),
        (0, uapi::WORMHOLE_HC_INFO, [0, 0]),
        (0, uapi::WORMHOLE_HC_BIND, [SESSION + 1, PML4_COPY]),
        (0, uapi::WORMHOLE_HC_UNBIND, [SESSION, 0]),
    ] {
        let rax = u64::from(uapi::WORMHOLE_HYPERCALL | number);
        let rip = if cpl == 0 {
            code::guest_kernel_hypercall()
        } else {
            code::guest_user_hypercall()
        };
        let exit = hypervisor.enter(
            cpl,
            kvm_regs {
                rip,
                rax,
                rdi: arguments[0],
                rsi: arguments[1],
                ..Default::default()
            },
        );
        assert_eq!(
            (exit.reason, exit.rip, exit.regs.rax),
            (VMCALL, rip, rax),
            "CPL {cpl}, hypercall {number}: {exit:x?}"
        );
        hypervisor.assert_vmcs_unchanged();
        let pair = &hypervisor.pair;
        assert_eq!(pair.server.memory.get(SERVER_DATA_PAGES + 8), count);
    }
    // To the process the session and the call are what they were.
    let pair = &mut hypervisor.pair;
    let bound = pair
        .client
        .hypercall(uapi::WORMHOLE_HC_BIND, [SESSION, PML4, 0]);
    assert_eq!(bound, refused(Errno::EXIST));
    end_the_loop(&pair.server.memory);
    let stop = pair
        .client
        .user_hypercall(uapi::WORMHOLE_HC_RESUME, [token, 0, 0]);
    assert_eq!(result_of(stop), 107);
}
