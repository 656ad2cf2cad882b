// SPDX-License-Identifier: GPL-2.0

//! Exitless calls of a pairing, from when its VMs are paired until it ends.

use crate::{
    cpu,
    eventfd::EventFd,
    hook::Hooks,
    host::Host,
    kvm::Vm,
    pairing::Role,
    registry::Enrolment,
    session::Setup,
    switch::{Counts, Switch},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Full},
        Arc,
    },
};

impl Host {
    /// For the work queue: takes the hooks away when nobody has wanted them for a second, or when
    /// the module is being unloaded.
    pub(crate) fn detach_hooks(&self) {
        const STEP_MS: u32 = 20;
        const STEPS: u32 = 50;
        for _ in 0..STEPS {
            if self.unloading.load(Acquire) || self.hook_users.load(Acquire) != 0 {
                break;
            }
            // SAFETY: Process context.
            unsafe { kernel::bindings::msleep(STEP_MS) };
        }
        let mut hooks = self.hooks.lock();
        // Users come under the lock alone.
        if self.hook_users.load(Acquire) == 0 {
            *hooks = None;
        }
    }
}

/// The calls of one pairing. Dropping the value has all vCPUs leave the views, and sleeps until no
/// hook uses it any more.
pub(crate) struct Exitless {
    host: Arc<Host>,
    switch: Arc<Switch>,
    enrolments: Option<(Enrolment, Enrolment)>,
}

impl Exitless {
    /// `id`, `key`: the pairing's. `event`: to be signalled when a call hops home. EOPNOTSUPP: the CPU
    /// cannot; ENOENT: this KVM is none that we know; EBUSY: somebody else has hooks there; ENOSPC:
    /// too many pairings.
    pub(crate) fn start(
        host: &Arc<Host>,
        id: u64,
        key: u32,
        client: &Vm,
        server: &Vm,
        event: Option<EventFd>,
    ) -> Result<Self> {
        let cpu = cpu::capabilities();
        if !(cpu.eptp_switching && cpu.execute_only) {
            return Err(EOPNOTSUPP);
        }
        let switch = Switch::new(host.clone(), id, Setup::new()?, event)?;
        {
            let mut hooks = host.hooks.lock();
            if hooks.is_none() {
                *hooks = Some(Hooks::attach(client.vendor_module()?)?);
            }
            host.hook_users.fetch_add(1, Full);
        }
        let mut exitless = Self {
            host: host.clone(),
            switch,
            enrolments: None,
        };
        let enrol =
            |vm: &Vm, role| Enrolment::new(vm.address(), role, key, exitless.switch.clone());
        let enrolments = {
            let _members = host.members.lock();
            enrol(client, Role::Client)
                .and_then(|client| Ok((client, enrol(server, Role::Server)?)))?
        };
        exitless.enrolments = Some(enrolments);
        Ok(exitless)
    }

    /// What has happened so far.
    pub(crate) fn counts(&self) -> Counts {
        self.switch.counts()
    }
}

impl Drop for Exitless {
    fn drop(&mut self) {
        self.switch.end();
        // Their threads are on the way, and do not sleep before.
        while self.switch.answers_due() {
            // SAFETY: Process context.
            unsafe { kernel::bindings::msleep(1) };
        }
        {
            let _members = self.host.members.lock();
            self.enrolments = None;
        }
        if self.host.hook_users.fetch_sub(1, Full) == 1 {
            // Queued already is as good.
            let _ = self.host.queue.enqueue(self.host.clone());
        }
    }
}
