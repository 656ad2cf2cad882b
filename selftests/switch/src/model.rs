// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the CPU itself would add on hardware, by figures that others have published: a model, and no measurement. On the
//! emulated host an exit takes no more than the instructions around it, and VMFUNC is one.
//!
//! What comes with an exit but is not the exit is missing: misses in caches and TLBs, and the time until an interrupt
//! has reached another CPU.

/// Cycles of an exit and the entry after it. ELISA (ASPLOS 2023) has 707 ns for a VMCALL and back, which is 1,400 cycles
/// at 2 GHz; the most recent CPUs take less.
const EXIT: [f64; 2] = [1000.0, 2000.0];

/// Cycles of VMFUNC, near to the 134 of SkyBridge (EuroSys 2019).
const VMFUNC: f64 = 140.0;

pub const SOURCES: &str = "an exit 1,000 to 2,000 cycles (ELISA, ASPLOS 2023: 707 ns), \
    VMFUNC 140 (SkyBridge, EuroSys 2019: 134)";

/// What happened while something was done once.
#[derive(Clone, Copy)]
pub struct Transitions {
    pub exits: f64,
    pub vmfuncs: f64,
}

impl Transitions {
    /// The least and the most cycles.
    pub fn cycles(self) -> [f64; 2] {
        EXIT.map(|exit| self.exits * exit + self.vmfuncs * VMFUNC)
    }
}
