// SPDX-License-Identifier: GPL-2.0

//! Which VM is in which pairing, as the hooks look it up: without locks, with interrupts off.

use crate::{hook, pairing::Role, switch::Switch};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        rcu, Arc,
    },
};

/// A VM's part in a pairing.
pub(crate) struct Member {
    /// The address of its `struct kvm`.
    kvm: usize,
    role: Role,
    /// The pairing's.
    key: u32,
    switch: Arc<Switch>,
}

/// A member that stays while this value lives.
pub(crate) struct Found(Arc<Switch>);

impl core::ops::Deref for Found {
    type Target = Switch;

    fn deref(&self) -> &Switch {
        &self.0
    }
}

/// VMs in pairings, at most. Each holds `KBox::into_raw` of a [`Member`], or 0.
static MEMBERS: [Atomic<usize>; 64] = [const { Atomic::new(0) }; 64];

/// A VM's parts of this role.
fn members(kvm: usize, role: Role, _guard: &rcu::Guard) -> impl Iterator<Item = &Member> {
    MEMBERS.iter().filter_map(move |slot| {
        let pointer = slot.load(Acquire) as *const Member;
        // SAFETY: Members are freed a grace period after they were taken out of their slot.
        let member = unsafe { pointer.as_ref() }?;
        (member.kvm == kvm && member.role == role).then_some(member)
    })
}

/// Runs `f` on the switch of the pairing whose client a VM is. Within an RCU read-side section, so
/// `f` must not sleep.
pub(crate) fn with_client<R>(kvm: usize, f: impl FnOnce(&Arc<Switch>) -> R) -> Option<R> {
    let guard = rcu::read_lock();
    let member = members(kvm, Role::Client, &guard).next()?;
    Some(f(&member.switch))
}

/// Runs `f` on the switches of all pairings in which a VM has this role. As [`with_client`].
pub(crate) fn with_each(kvm: usize, role: Role, f: impl Fn(&Arc<Switch>)) {
    let guard = rcu::read_lock();
    members(kvm, role, &guard).for_each(|member| f(&member.switch));
}

/// Whether a VM is the server of any pairing.
pub(crate) fn is_server(kvm: usize) -> bool {
    let guard = rcu::read_lock();
    let found = members(kvm, Role::Server, &guard).next().is_some();
    found
}

/// The switch of the pairing whose client a VM is, to keep.
pub(crate) fn client(kvm: usize) -> Option<Found> {
    with_client(kvm, |switch| Found(switch.clone()))
}

/// The switch of the pairing with this key in which a VM has this role, to keep.
pub(crate) fn named(kvm: usize, role: Role, key: u32) -> Option<Found> {
    let guard = rcu::read_lock();
    let member = members(kvm, role, &guard).find(|member| member.key == key)?;
    Some(Found(member.switch.clone()))
}

/// A member's place in the registry. Dropping it sleeps until no hook uses the member.
///
/// The caller must not add or drop two at once: there is one lock for all, `Host::members`.
pub(crate) struct Enrolment(usize);

impl Enrolment {
    /// ENOSPC if there are too many.
    pub(crate) fn new(kvm: usize, role: Role, key: u32, switch: Arc<Switch>) -> Result<Self> {
        let index = MEMBERS
            .iter()
            .position(|slot| slot.load(Relaxed) == 0)
            .ok_or(ENOSPC)?;
        let member = Member {
            kvm,
            role,
            key,
            switch,
        };
        let member = KBox::new(member, GFP_KERNEL)?;
        if let Some(slot) = MEMBERS.get(index) {
            slot.store(KBox::into_raw(member) as usize, Release);
        }
        update_filter();
        Ok(Self(index))
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        let Some(slot) = MEMBERS.get(self.0) else {
            return;
        };
        let member = slot.load(Relaxed) as *mut Member;
        slot.store(0, Release);
        update_filter();
        rcu::synchronize_rcu();
        // SAFETY: From `KBox::into_raw` in `new`, and out of the slot for a grace period.
        drop(unsafe { KBox::from_raw(member) });
    }
}

fn update_filter() {
    let bits = MEMBERS.iter().fold(0, |bits, slot| {
        let member = slot.load(Relaxed) as *const Member;
        // SAFETY: Under the lock that `Enrolment` names, members stay.
        match unsafe { member.as_ref() } {
            Some(member) => bits | hook::filter_bit(member.kvm),
            None => bits,
        }
    });
    hook::set_filter(bits);
}
