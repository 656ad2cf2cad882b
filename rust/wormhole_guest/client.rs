// SPDX-License-Identifier: GPL-2.0

//! The client's half of a session of exitless calls: which address space may make them.

use crate::{
    hypercall::Session,
    mmu_notifier::{
        MmuNotifier,
        Watcher, //
    },
    user_memory, //
};
use core::arch::asm;
use kernel::{
    bindings,
    mm::MmWithUser,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    }, //
};

/// An address space that is bound to a session, until its end.
pub(crate) struct Binding {
    session: Session,
    bound: Atomic<bool>,
}

/// A binding that is told of that end.
pub(crate) type Client = MmuNotifier<Binding>;

impl Binding {
    /// Whether it has ended.
    pub(crate) fn ended(&self) -> bool {
        !self.bound.load(Acquire)
    }
}

impl Watcher for Binding {
    const INVALIDATIONS: bool = false;

    fn released(&self) {
        if !self.bound.xchg(false, Full) {
            return;
        }
        if let Err(error) = self.session.unbind() {
            pr_err!("the host does not unbind an address space: {:?}\n", error);
        }
    }
}

/// Binds the calling process, whose address space is `mm`.
pub(crate) fn bind(mm: &MmWithUser, session: Session) -> Result<Pin<KBox<Client>>> {
    session.check()?;
    check_process()?;
    let client = MmuNotifier::new(
        mm,
        Ok(Binding {
            session,
            bound: Atomic::new(false),
        }),
    )?;
    session.bind(user_cr3(mm))?;
    client.bound.store(true, Release);
    Ok(client)
}

/// EOPNOTSUPP if the calling process has what the server's view has not: page tables of five
/// levels, a shadow stack.
fn check_process() -> Result {
    const CR4_LA57: u64 = 1 << 12;

    let cr4: u64;
    // SAFETY: The kernel may read CR4, which changes nothing.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    if cr4 & CR4_LA57 != 0 {
        return Err(EOPNOTSUPP);
    }
    #[cfg(CONFIG_X86_USER_SHADOW_STACK)]
    {
        /// `ARCH_SHSTK_SHSTK`
        const SHADOW_STACK: c_ulong = 1 << 0;

        // SAFETY: The calling task's own, which no other task writes.
        let features = unsafe { (*kernel::current!().as_ptr()).thread.features };
        if features & SHADOW_STACK != 0 {
            return Err(EOPNOTSUPP);
        }
    }
    Ok(())
}

/// CR3 of an address space as user mode has it, without PCID.
fn user_cr3(mm: &MmWithUser) -> u64 {
    /// `PTI_USER_PGTABLE_BIT`
    const USER_HALF: u64 = 1 << kernel::page::PAGE_SHIFT;

    // SAFETY: The mm is valid; its PGD is made with it and does not change.
    let pgd = unsafe { (*mm.as_raw()).__bindgen_anon_1.pgd };
    let kernel = user_memory::gpa_of_kernel(pgd as usize);
    if page_table_isolation() {
        kernel | USER_HALF
    } else {
        kernel
    }
}

/// `boot_cpu_has(X86_FEATURE_PTI)`
fn page_table_isolation() -> bool {
    const WORD: usize = bindings::X86_FEATURE_PTI as usize / 32;
    const BIT: u32 = 1 << (bindings::X86_FEATURE_PTI % 32);

    // SAFETY: Valid for ever. Read by a raw pointer, so nothing is said of the rest.
    let word = unsafe {
        (&raw const bindings::boot_cpu_data.__bindgen_anon_3.x86_capability)
            .cast::<u32>()
            .add(WORD)
            .read_volatile()
    };
    word & BIT != 0
}
