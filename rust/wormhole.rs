// SPDX-License-Identifier: GPL-2.0

//! Wormhole's host module: `/dev/wormhole`, on which two KVM VMs are paired.
//!
//! # Lock order
//!
//! From outermost to innermost; none is held while user memory is copied, a VM's reference or an
//! address space's is dropped, or an MMU notifier is registered or unregistered.
//!
//! 1. `Host::pairings` (mutex)
//! 2. `Pairing::slots` (mutex)
//! 3. `Pairing::state` (spin lock; also taken from the MMU notifier)
//! 4. `Switch::setup` (mutex)
//! 5. `Switch::calls` (spin lock; also taken with interrupts off, never in an interrupt)
//!
//! `Pairing::apart` (mutex) comes before all of them, and is held while VMs and notifiers are dropped.
//! Within `Switch::calls` are the locks of an eventfd's waiters (KVM's irqfd) and of a work queue.
//!
//! `Host::hooks` (mutex) and `Host::members` (mutex) are taken with none of them held; while they are,
//! hooks are waited for, and so whoever is in a hypercall, who takes 4 and 5.

use kernel::{debugfs, fmt, prelude::*, sync::Arc};

#[path = "wormhole/anon_file.rs"]
mod anon_file;
#[path = "wormhole/bindings.rs"]
mod bindings;
#[path = "wormhole/carrier.rs"]
mod carrier;
#[path = "wormhole/cpu.rs"]
mod cpu;
#[path = "wormhole/device.rs"]
mod device;
#[path = "wormhole/ept.rs"]
mod ept;
#[path = "wormhole/eventfd.rs"]
mod eventfd;
#[path = "wormhole/exit.rs"]
mod exit;
#[path = "wormhole/exitless.rs"]
mod exitless;
#[path = "wormhole/ftrace_direct.rs"]
mod ftrace_direct;
#[path = "wormhole/gate.rs"]
mod gate;
#[path = "wormhole/guest_memory.rs"]
mod guest_memory;
#[path = "wormhole/hook.rs"]
mod hook;
#[path = "wormhole/host.rs"]
mod host;
#[path = "wormhole/hypercall.rs"]
mod hypercall;
#[path = "wormhole/ioctl.rs"]
mod ioctl;
#[path = "wormhole/kvm.rs"]
mod kvm;
#[path = "wormhole/mmu_notifier.rs"]
mod mmu_notifier;
#[path = "wormhole/name.rs"]
mod name;
#[path = "wormhole/paging.rs"]
mod paging;
#[path = "wormhole/pairing.rs"]
mod pairing;
#[path = "wormhole/pairing_file.rs"]
mod pairing_file;
#[path = "wormhole/registry.rs"]
mod registry;
#[path = "wormhole/session.rs"]
mod session;
#[path = "wormhole/statistics.rs"]
mod statistics;
#[path = "wormhole/switch.rs"]
mod switch;
#[path = "wormhole/table.rs"]
mod table;
#[path = "wormhole/table_page.rs"]
mod table_page;
#[path = "wormhole/tlb.rs"]
mod tlb;
#[path = "wormhole/tracepoint.rs"]
mod tracepoint;
mod uapi;
#[path = "wormhole/vcpu.rs"]
mod vcpu;
#[path = "wormhole/view.rs"]
mod view;
#[path = "wormhole/vmcs.rs"]
mod vmcs;
#[path = "wormhole/vmx_capability.rs"]
mod vmx_capability;
#[path = "wormhole/workqueue.rs"]
mod workqueue;
#[path = "wormhole/xsave.rs"]
mod xsave;

use device::Device;
use host::{Host, HostOwner};
use kvm::Kvm;

module! {
    type: Wormhole,
    name: "wormhole",
    authors: ["The Wormhole authors"],
    description: "Pairs KVM VMs for inter-VM calls",
    license: "GPL",
}

/// The loaded module. The fields are dropped in this order.
#[pin_data]
struct Wormhole {
    #[pin]
    device: Device,
    /// /sys/kernel/debug/wormhole/pairings
    #[pin]
    pairings: debugfs::File<Arc<Host>>,
    host: HostOwner,
}

impl kernel::InPlaceModule for Wormhole {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let kvm = Kvm::new().inspect_err(|_| {
                pr_err!("KVM is not loaded (or lacks what is needed): load kvm_intel first\n");
            })?;
            report(&kvm);
            let host = HostOwner::new(kvm)?;
            Ok(try_pin_init!(Self {
                pairings <- host.debugfs.read_callback_file(
                    c"pairings",
                    host.clone(),
                    &|host: &Arc<Host>, f: &mut fmt::Formatter<'_>| host.write_table(f),
                ),
                device <- Device::register(host.clone()),
                host,
            }))
        })
    }
}

/// Says what this machine lacks, one line each.
fn report(kvm: &Kvm) {
    let cpu = cpu::capabilities();
    for shortcoming in cpu.shortcomings() {
        pr_warn!("{}\n", shortcoming);
    }
    if !kvm.vendor_module_loaded() {
        pr_warn!("there are no VMs to pair until kvm_intel (or kvm_amd) is loaded\n");
    } else if cpu.posted_interrupts && !kvm.apicv() {
        pr_warn!("kvm_intel has enable_apicv=N: each notification costs the VM an exit\n");
    }
}
