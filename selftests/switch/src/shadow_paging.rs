// SPDX-License-Identifier: Apache-2.0 OR MIT
//! kvm_intel with its parameter `ept` off: the CPU has EPT, its VMs do without. VM entry would fail if VM functions were
//! on in such a VM, and there is no EPT that a view could stand in for.

use std::fs;

use rustix::io::Errno;
use wormhole_uapi as uapi;

use crate::device::Device;
use crate::guest_code as code;
use crate::layout::*;
use crate::pair::{call_regs, map_gate, refused, write_gate, SESSION};
use crate::vm::Guest;

crate::tests! {
    no_calls_without_ept
}

/// The VMs can be paired, for what needs no exitless calls; they run on, and have no VMFUNC.
fn no_calls_without_ept() {
    const KVM_ENOSYS: i64 = 1000;
    let ept = fs::read_to_string("/sys/module/kvm_intel/parameters/ept").expect("kvm_intel");
    if ept.trim() != "N" {
        return crate::skip(
            "kvm_intel uses EPT: selftests/e2e/host/exitless.sh also loads it without",
        );
    }
    let (mut client, mut server) = (Guest::new(), Guest::new());
    let device = Device::open().expect("/dev/wormhole opens");
    let pairing = device.pair(&client, &server, "no-ept").expect("PAIR");
    let no_calls = [-KVM_ENOSYS, refused(Errno::OPNOTSUPP)];
    let opened = server.hypercall(uapi::WORMHOLE_HC_OPEN, [SESSION, code::guest_counter(), 0]);
    assert!(no_calls.contains(&opened), "OPEN: {opened}");
    map_gate(&mut client);
    write_gate(&client.memory, code::guest_home(), code::guest_pad());
    let bound = client.hypercall(uapi::WORMHOLE_HC_BIND, [SESSION, PML4, 0]);
    assert!(no_calls.contains(&bound), "BIND: {bound}");
    for _ in 0..2 {
        client
            .vcpu
            .enter_user(call_regs([SERVER_DATA, 0, 0, 0, 0, 0]));
        let stop = client.vcpu.run().expect(6);
        assert_eq!(stop.regs.rip, ENTER + 7);
    }
    drop(pairing);
    client
        .vcpu
        .enter_user(call_regs([SERVER_DATA, 0, 0, 0, 0, 0]));
    client.vcpu.run().expect(6);
}
