// SPDX-License-Identifier: GPL-2.0

//! Calls where VMFUNC is no instruction: the VMs are not paired any more.
//!
//! Pure: no `kernel::` imports, so that `rustc --test vmfunc.rs` runs the tests below.

/// `__USER_CS`: 64-bit code of user mode.
pub(crate) const USER_CS: u16 = 0x33;
/// Where a bound process calls, `WORMHOLE_GATE_ADDRESS` and offsets.
pub(crate) const GATE: u64 = 0x6f5a_5234_5000;
pub(crate) const ENTER: u64 = 0x1d0;
pub(crate) const PAD: u64 = 0x380;
/// `WORMHOLE_PAD_ERROR`
pub(crate) const PAD_ERROR: u64 = 3;
/// Of `xor eax, eax; mov ecx, 1`, which come before the VMFUNC.
const BEFORE_VMFUNC: u64 = 7;
/// `ENOENT`: the call was not made, and is to be made in another way.
const NO_SESSION: u64 = 2;
/// RFLAGS with IF and the bit that is always set.
const FLAGS: u64 = 1 << 9 | 1 << 1;

/// A process's registers at PAD, but for RSP, which stays. All others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtPad {
    pub(crate) ip: u64,
    pub(crate) flags: u64,
    pub(crate) ax: u64,
    pub(crate) di: u64,
}

/// Where a bound process goes on whose instruction at `ip` was invalid. `None`: that was no call.
pub(crate) fn answer(cs: u16, ip: u64) -> Option<AtPad> {
    if cs != USER_CS || ip.wrapping_sub(GATE) != ENTER + BEFORE_VMFUNC {
        return None;
    }
    Some(AtPad {
        ip: GATE + PAD,
        flags: FLAGS,
        ax: PAD_ERROR,
        di: NO_SESSION,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_put_at_pad() {
        let answer = answer(USER_CS, 0x6f5a_5234_51d7).unwrap();
        assert_eq!(
            answer,
            AtPad {
                ip: 0x6f5a_5234_5380,
                flags: 0x202,
                ax: 3,
                di: 2,
            }
        );
    }

    #[test]
    fn nothing_else_is() {
        const VMFUNC: u64 = 0x6f5a_5234_51d7;
        // The kernel's code, and 32-bit code.
        for cs in [0, 0x10, 0x23, 0x30] {
            assert_eq!(answer(cs, VMFUNC), None);
        }
        for ip in [
            0,
            GATE,
            GATE + ENTER,
            VMFUNC - 1,
            VMFUNC + 1,
            VMFUNC + 3,
            GATE + PAD,
            VMFUNC & 0xffff_ffff,
            VMFUNC | 1 << 63,
            u64::MAX,
        ] {
            assert_eq!(answer(USER_CS, ip), None);
        }
    }
}
