// SPDX-License-Identifier: GPL-2.0

//! What this VM asks of the host module (`include/uapi/linux/wormhole_hypercall.h`).
//!
//! All of it is callable from any context: the host does not wait for anything of this VM.

use crate::{
    geometry::Role,
    uapi, //
};
use core::arch::{
    asm,
    x86_64::__cpuid, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed,
        Release, //
    }, //
};

/// KVM's own answer to a hypercall that it does not know.
const KVM_ENOSYS: i64 = 1000;

/// Largest error number that the kernel knows.
const MAX_ERRNO: i64 = 4095;

/// How often the host is asked again to take something away, when it had no memory for that.
const PATIENCE: u32 = 16;

/// By role: a device has the sessions.
static CLAIMED: [Atomic<bool>; 2] = [Atomic::new(false), Atomic::new(false)];

/// The sessions of a role, which a VM has once, however many devices it has: they are the first
/// one's. Given back on drop.
pub(crate) struct Claim(Role);

impl Claim {
    /// `None`: another device has them. What a kernel before this one may have left in them is
    /// taken away.
    pub(crate) fn new(role: Role, channels: u32) -> Option<Self> {
        if CLAIMED.get(role.index())?.xchg(true, Full) {
            return None;
        }
        let claim = Self(role);
        if check().is_ok() {
            for session in 0..u64::from(channels.min(uapi::WORMHOLE_MAX_SESSIONS)) {
                let _ = match role {
                    Role::Server => close(session),
                    Role::Client => unbind(session),
                };
            }
        }
        Some(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(claimed) = CLAIMED.get(self.0.index()) {
            claimed.store(false, Release);
        }
    }
}

/// Of [`AVAILABLE`].
const UNKNOWN: u32 = 0;
const YES: u32 = 1;
const NO: u32 = 2;

/// Whether VMCALL reaches KVM on an Intel CPU.
static AVAILABLE: Atomic<u32> = Atomic::new(UNKNOWN);

/// `EOPNOTSUPP` unless hypercalls can be made: elsewhere VMCALL is another hypervisor's, or an
/// invalid instruction.
fn check_hypervisor() -> Result {
    if AVAILABLE.load(Relaxed) == UNKNOWN {
        let available = if is_kvm_on_intel() { YES } else { NO };
        AVAILABLE.store(available, Relaxed);
    }
    if AVAILABLE.load(Relaxed) == YES {
        Ok(())
    } else {
        Err(EOPNOTSUPP)
    }
}

fn is_kvm_on_intel() -> bool {
    const VENDOR: u32 = 0;
    const FEATURES: u32 = 1;
    const HYPERVISOR: u32 = 0x4000_0000;
    const IN_A_VM: u32 = 1 << 31;

    fn word(text: &[u8; 4]) -> u32 {
        u32::from_le_bytes(*text)
    }

    // SAFETY: Every x86-64 CPU has CPUID and these leaves.
    let (vendor, features) = unsafe { (__cpuid(VENDOR), __cpuid(FEATURES)) };
    if [vendor.ebx, vendor.edx, vendor.ecx] != [word(b"Genu"), word(b"ineI"), word(b"ntel")]
        || features.ecx & IN_A_VM == 0
    {
        return false;
    }
    // SAFETY: As above; a VM has this leaf too, by its feature bit.
    let hypervisor = unsafe { __cpuid(HYPERVISOR) };
    [hypervisor.ebx, hypervisor.ecx, hypervisor.edx]
        == [word(b"KVMK"), word(b"VMKV"), word(b"M\0\0\0")]
}

/// Makes a hypercall.
fn call(number: u32, first: u64, second: u64, third: u64) -> Result<u64> {
    check_hypervisor()?;
    let mut rax = u64::from(uapi::WORMHOLE_HYPERCALL | number);
    // SAFETY: KVM answers VMCALL, just checked, and changes RAX alone. What the host writes to
    // memory of this VM, be it on its own behalf or the client's, is user memory.
    unsafe {
        asm!(
            "vmcall",
            inout("rax") rax,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            options(nostack),
        )
    };
    match rax as i64 {
        0.. => Ok(rax),
        error if error == -KVM_ENOSYS => Err(EOPNOTSUPP),
        error if error >= -MAX_ERRNO => Err(Error::from_errno(error as c_int)),
        _ => Err(EIO),
    }
}

/// Asks the host to take something away. It has gone if this succeeds.
fn take_away(number: u32, first: u64, second: u64, third: u64) -> Result {
    let mut tries = PATIENCE;
    loop {
        match call(number, first, second, third) {
            Ok(_) => return Ok(()),
            // No such session, or no pairing any more.
            Err(error) if error == ENOENT || error == EOPNOTSUPP => return Ok(()),
            Err(error) if error == ENOMEM && tries > 0 => tries = tries.saturating_sub(1),
            Err(error) => return Err(error),
        }
    }
}

/// INFO: `EOPNOTSUPP` if the host cannot do exitless calls, or not the ones that we know.
pub(crate) fn check() -> Result {
    if call(uapi::WORMHOLE_HC_INFO, 0, 0, 0)? != u64::from(uapi::WORMHOLE_HYPERCALL_VERSION) {
        return Err(EOPNOTSUPP);
    }
    Ok(())
}

/// The number of a channel's session. `EOPNOTSUPP` if there are not so many.
pub(crate) fn session(channel: usize) -> Result<u64> {
    if channel >= uapi::WORMHOLE_MAX_SESSIONS as usize {
        return Err(EOPNOTSUPP);
    }
    Ok(channel as u64)
}

/// OPEN. A session of that number that is there already was left by a kernel before this one, as
/// the channel is its opener's alone: it is closed.
pub(crate) fn open(session: u64, entry: u64) -> Result {
    let open = || call(uapi::WORMHOLE_HC_OPEN, session, entry, 0).map(|_| ());
    match open() {
        Err(error) if error == EEXIST => {
            close(session)?;
            open()
        }
        outcome => outcome,
    }
}

/// CLOSE. If this succeeds, the host uses no memory of the session any more.
pub(crate) fn close(session: u64) -> Result {
    take_away(uapi::WORMHOLE_HC_CLOSE, session, 0, 0)
}

/// MAP: `count` entries at guest-physical `table`, which lie in one page. Returns how many were
/// registered, at most `count`.
pub(crate) fn map(session: u64, table: u64, count: usize) -> Result<usize> {
    let done = call(uapi::WORMHOLE_HC_MAP, session, table, count as u64)?;
    Ok(usize::try_from(done)?.min(count))
}

/// UNMAP, of pages of the lower half. If this succeeds, the host does not use them any more.
pub(crate) fn unmap(session: u64, address: usize, pages: usize) -> Result {
    let (address, pages) = (address as u64, pages as u64);
    take_away(uapi::WORMHOLE_HC_UNMAP, session, address, pages)
}

/// CARRIER. `context`: guest-physical address of its `wormhole_carrier`.
pub(crate) fn carrier(session: u64, index: u32, context: u64) -> Result {
    call(uapi::WORMHOLE_HC_CARRIER, session, index.into(), context).map(|_| ())
}

/// RETURN.
pub(crate) fn finish(session: u64, index: u32, result: u64) -> Result {
    call(uapi::WORMHOLE_HC_RETURN, session, index.into(), result).map(|_| ())
}

/// BIND. If something is bound to the session already, that was left by a kernel before this one,
/// see [`open`].
pub(crate) fn bind(session: u64, cr3: u64) -> Result {
    let bind = || call(uapi::WORMHOLE_HC_BIND, session, cr3, 0).map(|_| ());
    match bind() {
        Err(error) if error == EEXIST => {
            unbind(session)?;
            bind()
        }
        outcome => outcome,
    }
}

/// UNBIND. If this succeeds, the host does not know the address space any more.
pub(crate) fn unbind(session: u64) -> Result {
    take_away(uapi::WORMHOLE_HC_UNBIND, session, 0, 0)
}
