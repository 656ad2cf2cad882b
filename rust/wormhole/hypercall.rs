// SPDX-License-Identifier: GPL-2.0

//! What the VMs of a pairing ask for (`include/uapi/linux/wormhole_hypercall.h`).

use crate::{
    carrier::Token,
    guest_memory::PinnedPage,
    pairing::Role,
    registry::Found,
    session::Mapping,
    switch::Switch,
    uapi,
    vcpu::{Gpr, Vcpu},
};
use core::mem::size_of;
use kernel::{page::PAGE_SIZE, prelude::*};

/// Handles a VMCALL of ours. `client`: the pairing whose client the VM is. `named`: that in which it
/// has a role, by its key.
pub(crate) fn handle(
    vcpu: &Vcpu<'_>,
    client: Option<Found>,
    named: impl Fn(Role, u32) -> Option<Found>,
) {
    let number = vcpu.gpr(Gpr::Rax) as u32 & 0xffff;
    let user = vcpu.cpl() != 0;
    let result = match (number, client) {
        // Its pad and the server's code are 64-bit code.
        (uapi::WORMHOLE_HC_RESUME, Some(_)) if user && !vcpu.in_64_bit_code() => Err(EOPNOTSUPP),
        (uapi::WORMHOLE_HC_RESUME, Some(switch)) if user => {
            match switch.resume(vcpu, Token(vcpu.gpr(Gpr::Rdi))) {
                Some(result) => result,
                None => return,
            }
        }
        _ if user => Err(EPERM),
        // kvm_intel was loaded with ept=0.
        _ if !vcpu.has_ept() => Err(EOPNOTSUPP),
        _ => of_kernel(number, vcpu, |role| {
            // A VM reaches its own pairings alone, whatever key it gives.
            named(role, vcpu.gpr(Gpr::Rcx) as u32).ok_or(EOPNOTSUPP)
        }),
    };
    vcpu.set_gpr(Gpr::Rax, result.unwrap_or_else(negative));
    vcpu.skip_instruction();
}

/// The kernel's hypercalls. `named`: the pairing that this one names, if the VM has that role there.
fn of_kernel(number: u32, vcpu: &Vcpu<'_>, named: impl Fn(Role) -> Result<Found>) -> Result<u64> {
    match number {
        uapi::WORMHOLE_HC_INFO => {
            named(Role::Client).or_else(|_| named(Role::Server))?;
            Ok(uapi::WORMHOLE_HYPERCALL_VERSION.into())
        }
        uapi::WORMHOLE_HC_OPEN..=uapi::WORMHOLE_HC_RETIRE => {
            named(Role::Server)?.server_hypercall(number, vcpu)
        }
        uapi::WORMHOLE_HC_BIND..=uapi::WORMHOLE_HC_UNBIND => {
            named(Role::Client)?.client_hypercall(number, vcpu)
        }
        uapi::WORMHOLE_HC_RESUME => Err(EPERM),
        _ => Err(EINVAL),
    }
}

/// An error as the VMs see it.
pub(crate) fn negative(error: Error) -> u64 {
    i64::from(error.to_errno()) as u64
}

impl Switch {
    fn server_hypercall(&self, number: u32, vcpu: &Vcpu<'_>) -> Result<u64> {
        let session = vcpu.gpr(Gpr::Rdi);
        let (second, third) = (vcpu.gpr(Gpr::Rsi), vcpu.gpr(Gpr::Rdx));
        match number {
            uapi::WORMHOLE_HC_OPEN => self.open(session, second)?,
            uapi::WORMHOLE_HC_CLOSE => self.close(session)?,
            uapi::WORMHOLE_HC_MAP => return self.map_table(vcpu, session, second, third),
            uapi::WORMHOLE_HC_UNMAP => self.unmap(session, second, third)?,
            uapi::WORMHOLE_HC_CARRIER => {
                if third % PAGE_SIZE as u64 != 0 {
                    return Err(EINVAL);
                }
                self.add_carrier(session, second, self.pin(vcpu, third)?)?;
            }
            uapi::WORMHOLE_HC_RETURN => self.finish(session, second, third)?,
            uapi::WORMHOLE_HC_RETIRE => self.retire(session, second)?,
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    fn client_hypercall(&self, number: u32, vcpu: &Vcpu<'_>) -> Result<u64> {
        let session = vcpu.gpr(Gpr::Rdi);
        match number {
            uapi::WORMHOLE_HC_BIND => {
                let cr3 = vcpu.gpr(Gpr::Rsi);
                if cr3 % PAGE_SIZE as u64 != 0 {
                    return Err(EINVAL);
                }
                // EFAULT unless it is memory of the VM.
                self.host.kvm.user_address(vcpu, cr3)?;
                self.bind(session, vcpu.gpr(Gpr::Rsi), vcpu.siblings())?;
            }
            uapi::WORMHOLE_HC_UNBIND => self.unbind(session)?,
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    /// Pins a page of the VM's.
    fn pin(&self, vcpu: &Vcpu<'_>, gpa: u64) -> Result<PinnedPage> {
        PinnedPage::new(self.host.kvm.user_address(vcpu, gpa)?)
    }

    /// MAP: `count` entries at guest-physical `table`. Returns how many were registered.
    fn map_table(&self, vcpu: &Vcpu<'_>, session: u64, table: u64, count: u64) -> Result<u64> {
        const ENTRY: u64 = size_of::<uapi::wormhole_mapping>() as u64;
        let offset = table % PAGE_SIZE as u64;
        let fits = count
            .checked_mul(ENTRY)
            .and_then(|bytes| bytes.checked_add(offset))
            .is_some_and(|end| end <= PAGE_SIZE as u64);
        if count == 0 || table % 8 != 0 || !fits {
            return Err(EINVAL);
        }
        let page = self.pin(vcpu, table)?;
        let mut done = 0;
        for number in 0..count {
            let at = usize::try_from(number.saturating_mul(ENTRY).saturating_add(offset))?;
            let registered = self.map_entry(vcpu, session, &page, at);
            match registered {
                Ok(()) => done = number.saturating_add(1),
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn map_entry(&self, vcpu: &Vcpu<'_>, session: u64, table: &PinnedPage, at: usize) -> Result {
        let mapping = Mapping::new(table.read_u64(at).ok_or(EINVAL)?)?;
        let gpa = table.read_u64(at.saturating_add(8)).ok_or(EINVAL)?;
        if gpa % PAGE_SIZE as u64 != 0 {
            return Err(EINVAL);
        }
        self.map(session, &mapping, self.pin(vcpu, gpa)?)
    }
}
