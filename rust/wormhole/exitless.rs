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
    sync::{atomic::Acquire, Arc},
};

/// KVM's hooks, while pairings need them and a little longer: to take them away takes seconds, and
/// one pairing often follows another.
#[derive(Default)]
pub(crate) struct HooksInUse {
    hooks: Option<Hooks>,
    users: usize,
}

impl HooksInUse {
    /// Takes them away unless they are in use. Sleeps.
    fn detach(&mut self) {
        if self.users == 0 {
            self.hooks = None;
        }
    }
}

impl Host {
    /// For the work queue: takes the hooks away when nobody has wanted them for a second, or when
    /// the module is being unloaded.
    pub(crate) fn detach_hooks(&self) {
        const STEP_MS: u32 = 20;
        const STEPS: u32 = 50;
        for _ in 0..STEPS {
            if self.unloading.load(Acquire) || self.hooks.lock().users != 0 {
                break;
            }
            // SAFETY: Process context.
            unsafe { kernel::bindings::msleep(STEP_MS) };
        }
        self.hooks.lock().detach();
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
    /// `event`: to be signalled when a call hops home. EOPNOTSUPP: the CPU cannot; ENOENT: this KVM is none that we know; EBUSY: somebody else has
    /// hooks there; ENOSPC: too many pairings.
    pub(crate) fn start(
        host: &Arc<Host>,
        client: &Vm,
        server: &Vm,
        event: Option<EventFd>,
    ) -> Result<Self> {
        let cpu = cpu::capabilities();
        if !(cpu.eptp_switching && cpu.execute_only) {
            return Err(EOPNOTSUPP);
        }
        let switch = Switch::new(host.kvm.clone(), Setup::new()?, event)?;
        let mut in_use = host.hooks.lock();
        if in_use.hooks.is_none() {
            in_use.hooks = Some(Hooks::attach(client.vendor_module()?)?);
        }
        in_use.users = in_use.users.saturating_add(1);
        let mut exitless = Self {
            host: host.clone(),
            switch,
            enrolments: None,
        };
        let enrol = |vm: &Vm, role| Enrolment::new(vm.address(), role, exitless.switch.clone());
        let enrolments = enrol(client, Role::Client)
            .and_then(|client| Ok((client, enrol(server, Role::Server)?)));
        // `drop` takes the lock.
        let enrolments = match enrolments {
            Ok(enrolments) => enrolments,
            Err(error) => {
                drop(in_use);
                return Err(error);
            }
        };
        exitless.enrolments = Some(enrolments);
        drop(in_use);
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
        let mut in_use = self.host.hooks.lock();
        self.enrolments = None;
        in_use.users = in_use.users.saturating_sub(1);
        let unused = in_use.users == 0;
        drop(in_use);
        if unused {
            // Queued already is as good.
            let _ = self.host.queue.enqueue(self.host.clone());
        }
    }
}
