// SPDX-License-Identifier: GPL-2.0

//! The vector and x87 registers of a call that is stopped (Intel SDM vol. 1, chapter 13).

use crate::uapi;
use core::arch::asm;

/// State components that a carrier may use: x87, SSE, AVX and AVX-512. The rest (PKRU aside, which is
/// the client's) may not be enabled in a client's XCR0, so that no call can leave any there.
pub(crate) const CARRIER_COMPONENTS: u64 = 0xe7;
/// PKRU.
const PKRU: u64 = 1 << 9;

/// Whether a guest's XCR0 is one that calls can be made with.
pub(crate) fn supported(xcr0: u64) -> bool {
    // SSE's registers are there whether or not XCR0 has it, but XSAVE would leave them out.
    const X87_AND_SSE: u64 = 0b11;
    xcr0 & !(CARRIER_COMPONENTS | PKRU) == 0 && xcr0 & X87_AND_SSE == X87_AND_SSE
}

const MXCSR_AT: usize = 24;
const MXCSR_RESET: u32 = 0x1f80;
const XSTATE_BV_AT: usize = 512;

/// An XSAVE area in the standard format, which holds [`CARRIER_COMPONENTS`].
#[repr(C, align(64))]
pub(crate) struct XsaveArea([u8; uapi::WORMHOLE_XSAVE_SIZE as usize]);

impl XsaveArea {
    /// All components in their initial state.
    pub(crate) const INITIAL: Self = {
        let mut bytes = [0; uapi::WORMHOLE_XSAVE_SIZE as usize];
        let mxcsr = MXCSR_RESET.to_le_bytes();
        bytes[MXCSR_AT] = mxcsr[0];
        bytes[MXCSR_AT + 1] = mxcsr[1];
        Self(bytes)
    };

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// XSTATE_BV: the components that are not in their initial state.
    fn components(&self) -> u64 {
        self.0
            .get(XSTATE_BV_AT..XSTATE_BV_AT + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }

    /// A guest with this XCR0 has all components that are not in their initial state.
    pub(crate) fn fits(&self, xcr0: u64) -> bool {
        self.components() & !(xcr0 & CARRIER_COMPONENTS) == 0
    }

    /// Saves the CPU's registers.
    ///
    /// # Safety
    ///
    /// The CPU's registers must be the guest's, and interrupts off. `xcr0`: a subset of the CPU's
    /// XCR0.
    pub(crate) unsafe fn save(&mut self, xcr0: u64) {
        let mask = xcr0 & CARRIER_COMPONENTS;
        // XSAVE leaves the header's bits of what it does not save.
        self.0 = Self::INITIAL.0;
        // SAFETY: The area is aligned and holds what the mask names; the caller's promise.
        unsafe {
            asm!("xsave64 [{area}]", area = in(reg) self.0.as_mut_ptr(),
                 in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(nostack));
        }
    }

    /// Loads the CPU's registers. `false`: the area has components that the guest has not enabled.
    ///
    /// # Safety
    ///
    /// The CPU's registers must be the guest's to load, and interrupts off. `xcr0`: a subset of the
    /// CPU's XCR0, and the guest's.
    pub(crate) unsafe fn restore(&self, xcr0: u64) -> bool {
        if !self.fits(xcr0) {
            return false;
        }
        let mask = xcr0 & CARRIER_COMPONENTS;
        // SAFETY: The area is aligned, was written by `save` or is the initial one, and has no
        // component that is not enabled; the caller's promise.
        unsafe {
            asm!("xrstor64 [{area}]", area = in(reg) self.0.as_ptr(),
                 in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(nostack));
        }
        true
    }
}

/// See [`scrub`].
static INITIAL: XsaveArea = XsaveArea::INITIAL;

/// Puts the CPU's registers into their initial state.
///
/// # Safety
///
/// As for [`XsaveArea::restore`].
pub(crate) unsafe fn scrub(xcr0: u64) {
    // SAFETY: The caller's promise.
    unsafe { INITIAL.restore(xcr0) };
}
