// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Notifications between paired VMs: an eventfd that is signalled on one CPU is an interrupt of a vCPU that runs on another.
//! Where the CPU posts interrupts, that vCPU does not leave guest mode for it.

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm_bindings::{
    kvm_irq_routing_entry, kvm_irq_routing_msi, kvm_regs, KvmIrqRouting, KVM_IRQ_ROUTING_MSI,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;

use crate::concurrent::one_cpu;
use crate::guest_code as code;
use crate::layout::*;
use crate::pair::Pair;
use crate::vm::set_handler;

crate::tests! {
    a_running_vcpu_is_notified_without_an_exit
    notified_of_what_was_taken_over
}

/// Makes an eventfd an interrupt of the VM, as QEMU does with a doorbell's.
pub fn device_event(vm: &VmFd) -> EventFd {
    const GSI: u32 = 24;
    let mut entry = kvm_irq_routing_entry {
        gsi: GSI,
        type_: KVM_IRQ_ROUTING_MSI,
        ..Default::default()
    };
    entry.u.msi = kvm_irq_routing_msi {
        address_lo: 0xfee0_0000,
        data: DEVICE.into(),
        ..Default::default()
    };
    let routing = KvmIrqRouting::from_entries(&[entry]).expect("one entry");
    vm.set_gsi_routing(&routing).expect("KVM_SET_GSI_ROUTING");
    let event = EventFd::new(0).expect("eventfd");
    vm.register_irqfd(&event, GSI).expect("KVM_IRQFD");
    event
}

/// All exits of a VM of this process so far, as KVM counts them: those for the host's interrupts too, as the one that
/// takes a vCPU out of guest mode for a notification is one of these.
fn exits(vm: &VmFd) -> u64 {
    let directory = format!("{}-{}", std::process::id(), vm.as_raw_fd());
    let path = format!("/sys/kernel/debug/kvm/{directory}/exits");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.trim().parse().expect("a number")
}

/// The client's process does what is at `rip` while its VM is sent `interrupts`, each when the one before has been counted.
/// Gives the exits meanwhile. Any other vector would leave to the test.
fn exits_while_notified(rip: u64, interrupts: u64) -> u64 {
    let mut pair = Pair::ready(code::guest_counter());
    let (vm, memory) = (pair.client.vm.clone(), pair.client.memory.clone());
    set_handler(&memory, DEVICE, code::guest_count_device());
    let event = device_event(&vm);
    pair.client.vcpu.enter_user(kvm_regs {
        rip,
        rsp: FRAME,
        ..Default::default()
    });
    let done = AtomicBool::new(false);
    let (seen, caused) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let seen = || memory.get(COUNTS);
            let until = |count: u64| {
                let start = Instant::now();
                while seen() < count {
                    assert!(start.elapsed() < Duration::from_secs(8), "lost: {count}");
                    std::hint::spin_loop();
                }
            };
            // The first finds the vCPU on its way into guest mode.
            event.write(1).expect("eventfd");
            until(1);
            let before = exits(&vm);
            for sent in 2..=interrupts + 1 {
                // At another moment of what the vCPU does over and over
                for _ in 0..sent % 1_000 {
                    std::hint::spin_loop();
                }
                event.write(1).expect("eventfd");
                until(sent);
            }
            let caused = exits(&vm) - before;
            done.store(true, Ordering::SeqCst);
            (seen() - 1, caused)
        });
        while !done.load(Ordering::SeqCst) && !sender.is_finished() {
            let stop = pair.client.vcpu.run_until(Duration::from_millis(200));
            assert!(stop.is_none(), "{stop:x?}");
        }
        sender.join().expect("the sender")
    });
    println!("# {seen} interrupts, {caused} exits");
    assert_eq!(seen, interrupts);
    caused
}

/// With APIC virtualization there are none but a few; without it there is one for each at least, which also shows that they
/// would be counted.
fn a_running_vcpu_is_notified_without_an_exit() {
    const INTERRUPTS: u64 = 1_000;
    if one_cpu() {
        return crate::skip("on one CPU the vCPU does not run while it is notified: needs two");
    }
    let caused = exits_while_notified(code::guest_spin(), INTERRUPTS);
    let posted = fs::read_to_string("/sys/module/kvm_intel/parameters/enable_apicv");
    match posted.expect("kvm_intel's parameters").trim() {
        // For ticks of the host.
        "Y" => assert!(caused < INTERRUPTS / 10, "{caused} exits"),
        _ => assert!(caused >= INTERRUPTS, "{caused} exits"),
    }
}

/// KVM takes what was posted over at each VM entry. The notification comes all the same, and finds nothing: it must not be
/// an interrupt of its own.
fn notified_of_what_was_taken_over() {
    const INTERRUPTS: u64 = 10_000;
    if one_cpu() {
        return crate::skip("on one CPU the vCPU does not run while it is notified: needs two");
    }
    let caused = exits_while_notified(code::guest_exits(), INTERRUPTS);
    assert!(caused >= INTERRUPTS, "{caused} exits");
}
