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
        Acquire,
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

/// Most devices with sessions that a VM has.
const DEVICES: usize = 64;

/// The keys of windows whose devices have sessions, plus 1; or 0.
static CLAIMED: [Atomic<u64>; DEVICES] = [const { Atomic::new(0) }; DEVICES];

/// The sessions that the key of a device's window names. Given back on drop.
pub(crate) struct Claim(u32);

impl Claim {
    /// `None`: another device has them, whose key a hostile peer has given to this one's window.
    /// What a kernel before this one may have left in them is taken away.
    pub(crate) fn new(role: Role, key: u32, channels: u32) -> Option<Self> {
        let mark = Self::mark(key);
        let mut places = CLAIMED.iter();
        let place = places.find(|place| place.cmpxchg(0, mark, Full).is_ok())?;
        // Who claims the same at the same time may see this: then neither has them.
        if CLAIMED
            .iter()
            .filter(|place| place.load(Acquire) == mark)
            .count()
            != 1
        {
            place.store(0, Release);
            return None;
        }
        let claim = Self(key);
        if check(key).is_ok() {
            for channel in 0..channels.min(uapi::WORMHOLE_MAX_SESSIONS) {
                let number = channel.into();
                let session = Session { key, number };
                let _ = match role {
                    Role::Server => session.close(),
                    Role::Client => session.unbind(),
                };
            }
        }
        Some(claim)
    }

    fn mark(key: u32) -> u64 {
        u64::from(key).wrapping_add(1)
    }

    pub(crate) fn key(&self) -> u32 {
        self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for place in &CLAIMED {
            if place.load(Relaxed) == Self::mark(self.0) {
                place.store(0, Release);
            }
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

/// Makes a hypercall to the pairing with this key.
fn call(key: u32, number: u32, first: u64, second: u64, third: u64) -> Result<u64> {
    check_hypervisor()?;
    let mut rax = u64::from(uapi::WORMHOLE_HYPERCALL | number);
    // SAFETY: KVM answers VMCALL, just checked, and changes RAX alone. What the host writes to
    // memory of this VM, be it on its own behalf or the client's, is user memory.
    unsafe {
        asm!(
            "vmcall",
            inout("rax") rax,
            in("rcx") u64::from(key),
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

/// INFO: `EOPNOTSUPP` if the host cannot do exitless calls, or not the ones that we know.
fn check(key: u32) -> Result {
    let version = call(key, uapi::WORMHOLE_HC_INFO, 0, 0, 0)?;
    if version != u64::from(uapi::WORMHOLE_HYPERCALL_VERSION) {
        return Err(EOPNOTSUPP);
    }
    Ok(())
}

/// A channel's session.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    key: u32,
    number: u64,
}

impl Session {
    /// `key`: of the channel's window. `EOPNOTSUPP` if there are not so many.
    pub(crate) fn new(key: u32, channel: usize) -> Result<Self> {
        if channel >= uapi::WORMHOLE_MAX_SESSIONS as usize {
            return Err(EOPNOTSUPP);
        }
        let number = channel as u64;
        Ok(Self { key, number })
    }

    /// `EOPNOTSUPP` if the host cannot do exitless calls for it.
    pub(crate) fn check(self) -> Result {
        check(self.key)
    }

    fn call(self, number: u32, second: u64, third: u64) -> Result<u64> {
        call(self.key, number, self.number, second, third)
    }

    /// Asks the host to take something away. It has gone if this succeeds.
    fn take_away(self, number: u32, second: u64, third: u64) -> Result {
        let mut tries = PATIENCE;
        loop {
            match self.call(number, second, third) {
                Ok(_) => return Ok(()),
                // No such session, or no pairing any more.
                Err(error) if error == ENOENT || error == EOPNOTSUPP => return Ok(()),
                Err(error) if error == ENOMEM && tries > 0 => tries = tries.saturating_sub(1),
                Err(error) => return Err(error),
            }
        }
    }

    /// OPEN. A session of that number that is there already was left by a kernel before this one,
    /// as the channel is its opener's alone: it is closed.
    pub(crate) fn open(self, entry: u64) -> Result {
        let open = || self.call(uapi::WORMHOLE_HC_OPEN, entry, 0).map(|_| ());
        match open() {
            Err(error) if error == EEXIST => {
                self.close()?;
                open()
            }
            outcome => outcome,
        }
    }

    /// CLOSE. If this succeeds, the host uses no memory of the session any more.
    pub(crate) fn close(self) -> Result {
        self.take_away(uapi::WORMHOLE_HC_CLOSE, 0, 0)
    }

    /// MAP: `count` entries at guest-physical `table`, which lie in one page. Returns how many were
    /// registered, at most `count`.
    pub(crate) fn map(self, table: u64, count: usize) -> Result<usize> {
        let done = self.call(uapi::WORMHOLE_HC_MAP, table, count as u64)?;
        Ok(usize::try_from(done)?.min(count))
    }

    /// UNMAP, of pages of the lower half. If this succeeds, the host does not use them any more.
    pub(crate) fn unmap(self, address: usize, pages: usize) -> Result {
        self.take_away(uapi::WORMHOLE_HC_UNMAP, address as u64, pages as u64)
    }

    /// CARRIER. `context`: guest-physical address of its `wormhole_carrier`.
    pub(crate) fn carrier(self, index: u32, context: u64) -> Result {
        self.call(uapi::WORMHOLE_HC_CARRIER, index.into(), context)
            .map(|_| ())
    }

    /// RETURN.
    pub(crate) fn finish(self, index: u32, result: u64) -> Result {
        self.call(uapi::WORMHOLE_HC_RETURN, index.into(), result)
            .map(|_| ())
    }

    /// RETIRE.
    pub(crate) fn retire(self, index: u32) -> Result {
        self.call(uapi::WORMHOLE_HC_RETIRE, index.into(), 0)
            .map(|_| ())
    }

    /// BIND. If something is bound to the session already, that was left by a kernel before this
    /// one, see [`Self::open`].
    pub(crate) fn bind(self, cr3: u64) -> Result {
        let bind = || self.call(uapi::WORMHOLE_HC_BIND, cr3, 0).map(|_| ());
        match bind() {
            Err(error) if error == EEXIST => {
                self.unbind()?;
                bind()
            }
            outcome => outcome,
        }
    }

    /// UNBIND. If this succeeds, the host does not know the address space any more.
    pub(crate) fn unbind(self) -> Result {
        self.take_away(uapi::WORMHOLE_HC_UNBIND, 0, 0)
    }
}
