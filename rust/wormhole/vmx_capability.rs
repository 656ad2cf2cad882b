// SPDX-License-Identifier: GPL-2.0

//! What a CPU's VMX capability MSRs say (Intel SDM vol. 3, appendix A).
//!
//! Pure decoding, without the kernel crate: `rustc --test` on this file runs its tests.

use core::ops::BitAnd;

/// A capability MSR as a type: its index, and what its value means.
pub(crate) trait Register: Sized {
    /// The MSR's index, for RDMSR.
    const INDEX: u32;

    /// Wraps the value that RDMSR returned.
    fn from_value(value: u64) -> Self;
}

/// Where MSRs are read: a CPU, or a table in a test.
pub(crate) trait ReadMsr {
    /// The value of MSR `index`, or `None` if reading it faults.
    fn read(&self, index: u32) -> Option<u64>;

    /// Reads the register that `R` describes.
    fn register<R: Register>(&self) -> Option<R> {
        self.read(R::INDEX).map(R::from_value)
    }
}

macro_rules! register {
    ($(#[$doc:meta])* $name:ident = $index:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(u64);

        impl Register for $name {
            const INDEX: u32 = $index;

            fn from_value(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

register! {
    /// `IA32_FEATURE_CONTROL` (vol. 3, 24.7): firmware's switch for VMX.
    FeatureControl = 0x3a
}

impl FeatureControl {
    /// VMXON works outside SMX operation: the MSR is locked with that bit set.
    fn vmx_enabled(self) -> bool {
        const LOCK: u64 = 1 << 0;
        const VMX_OUTSIDE_SMX: u64 = 1 << 2;

        self.0 & (LOCK | VMX_OUTSIDE_SMX) == LOCK | VMX_OUTSIDE_SMX
    }
}

register! {
    /// `IA32_VMX_BASIC` (A.1).
    Basic = 0x480
}

impl Basic {
    /// The `IA32_VMX_TRUE_*_CTLS` MSRs exist.
    fn true_controls(self) -> bool {
        self.0 & 1 << 55 != 0
    }
}

/// The capability MSR of a control field of the VMCS (A.3 to A.5).
trait Controls: Register {
    /// Whether `control` may be 1: bits 63:32 say so. (Bits 31:0 say what may be 0.)
    fn may_be_set(self, control: u32) -> bool;
}

macro_rules! controls {
    ($(#[$doc:meta])* $name:ident = $index:literal) => {
        register! {
            $(#[$doc])*
            $name = $index
        }

        impl Controls for $name {
            fn may_be_set(self, control: u32) -> bool {
                (self.0 >> 32) & u64::from(control) != 0
            }
        }
    };
}

controls! {
    /// `IA32_VMX_PINBASED_CTLS` (A.3.1).
    PinBased = 0x481
}

controls! {
    /// `IA32_VMX_TRUE_PINBASED_CTLS` (A.3.1).
    TruePinBased = 0x48d
}

/// Pin-based VM-execution control "process posted interrupts" (25.6.1).
const PROCESS_POSTED_INTERRUPTS: u32 = 1 << 7;

controls! {
    /// `IA32_VMX_PROCBASED_CTLS` (A.3.2).
    ProcessorBased = 0x482
}

controls! {
    /// `IA32_VMX_TRUE_PROCBASED_CTLS` (A.3.2).
    TrueProcessorBased = 0x48e
}

/// Primary processor-based control "activate secondary controls" (25.6.2).
const ACTIVATE_SECONDARY: u32 = 1 << 31;

controls! {
    /// `IA32_VMX_EXIT_CTLS` (A.4.1).
    Exit = 0x483
}

controls! {
    /// `IA32_VMX_TRUE_EXIT_CTLS` (A.4.1).
    TrueExit = 0x48f
}

/// Primary VM-exit control "acknowledge interrupt on exit" (25.7.1), without which posted
/// interrupts may not be on (27.2.1.1).
const ACKNOWLEDGE_INTERRUPT: u32 = 1 << 15;

controls! {
    /// `IA32_VMX_PROCBASED_CTLS2` (A.3.3).
    SecondaryProcessorBased = 0x48b
}

/// Secondary processor-based control "enable EPT" (25.6.2).
const ENABLE_EPT: u32 = 1 << 1;
/// Secondary processor-based control "virtual-interrupt delivery".
const VIRTUAL_INTERRUPT_DELIVERY: u32 = 1 << 9;
/// Secondary processor-based control "enable VM functions".
const ENABLE_VM_FUNCTIONS: u32 = 1 << 13;

register! {
    /// `IA32_VMX_EPT_VPID_CAP` (A.10).
    EptVpid = 0x48c
}

impl EptVpid {
    /// EPT entries may allow instruction fetch alone.
    fn execute_only(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// What every view is built as: four levels, write-back.
    fn four_level_write_back(self) -> bool {
        const FOUR_LEVELS: u64 = 1 << 6;
        const WRITE_BACK: u64 = 1 << 14;

        self.0 & (FOUR_LEVELS | WRITE_BACK) == FOUR_LEVELS | WRITE_BACK
    }
}

register! {
    /// `IA32_VMX_VMFUNC` (A.11).
    VmFunctions = 0x491
}

impl VmFunctions {
    /// VM function 0.
    fn eptp_switching(self) -> bool {
        self.0 & 1 << 0 != 0
    }
}

/// Whether `control` may be 1, according to the "true" MSR where that exists (A.2).
fn may_be_set<True: Controls, Plain: Controls>(msrs: &impl ReadMsr, control: u32) -> bool {
    if msrs.register::<Basic>().is_some_and(Basic::true_controls) {
        msrs.register::<True>()
            .is_some_and(|msr| msr.may_be_set(control))
    } else {
        msrs.register::<Plain>()
            .is_some_and(|msr| msr.may_be_set(control))
    }
}

/// What a CPU can do, as far as Wormhole cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// CPUID reports VMX.
    pub(crate) vmx_reported: bool,
    /// CPUID reports VMX and firmware left it on.
    pub(crate) vmx: bool,
    /// Extended page tables, four levels, write-back.
    pub(crate) ept: bool,
    /// EPT entries that allow instruction fetch alone.
    pub(crate) execute_only: bool,
    /// VM functions with EPTP switching.
    pub(crate) eptp_switching: bool,
    /// Posted-interrupt processing and what it needs.
    pub(crate) posted_interrupts: bool,
}

impl Capabilities {
    /// Everything: the neutral element of `&`.
    pub(crate) const ALL: Self = Self {
        vmx_reported: true,
        vmx: true,
        ept: true,
        execute_only: true,
        eptp_switching: true,
        posted_interrupts: true,
    };

    const NONE: Self = Self {
        vmx_reported: false,
        vmx: false,
        ept: false,
        execute_only: false,
        eptp_switching: false,
        posted_interrupts: false,
    };

    /// Decodes the MSRs of a CPU of which CPUID says that it has VMX (`vmx_reported`,
    /// CPUID.1:ECX bit 5). They are not touched where it has not, or where it is switched off.
    /// An MSR that cannot be read counts as zero.
    pub(crate) fn decode(vmx_reported: bool, msrs: &impl ReadMsr) -> Self {
        let off = Self {
            vmx_reported,
            ..Self::NONE
        };
        if !vmx_reported
            || !msrs
                .register::<FeatureControl>()
                .is_some_and(FeatureControl::vmx_enabled)
        {
            return off;
        }

        let secondary = may_be_set::<TrueProcessorBased, ProcessorBased>(msrs, ACTIVATE_SECONDARY)
            // This MSR exists only with that control, and those further down only with theirs.
            .then(|| msrs.register::<SecondaryProcessorBased>())
            .flatten();
        let secondary = |control| secondary.is_some_and(|msr| msr.may_be_set(control));
        let ept_vpid = secondary(ENABLE_EPT)
            .then(|| msrs.register::<EptVpid>())
            .flatten();
        let ept = ept_vpid.is_some_and(EptVpid::four_level_write_back);

        Self {
            vmx_reported,
            vmx: true,
            ept,
            execute_only: ept && ept_vpid.is_some_and(EptVpid::execute_only),
            eptp_switching: ept
                && secondary(ENABLE_VM_FUNCTIONS)
                && msrs
                    .register::<VmFunctions>()
                    .is_some_and(VmFunctions::eptp_switching),
            posted_interrupts: secondary(VIRTUAL_INTERRUPT_DELIVERY)
                && may_be_set::<TruePinBased, PinBased>(msrs, PROCESS_POSTED_INTERRUPTS)
                && may_be_set::<TrueExit, Exit>(msrs, ACKNOWLEDGE_INTERRUPT),
        }
    }

    /// What is lacking and what follows from it, one sentence each, for the kernel log.
    pub(crate) fn shortcomings(&self) -> impl Iterator<Item = &'static str> {
        const NO_EXITLESS: [&str; 5] = [
            "CPU lacks VMX: exitless calls are unavailable, the ring transport works",
            "firmware has switched VMX off (IA32_FEATURE_CONTROL): exitless calls are unavailable",
            "CPU lacks EPT: exitless calls are unavailable, the ring transport works",
            "CPU lacks VM functions (EPTP switching): exitless calls are unavailable, the ring transport works",
            "CPU lacks execute-only EPT pages: exitless calls are unavailable, the ring transport works",
        ];
        let first = match self {
            Self {
                vmx_reported: false,
                ..
            } => Some(NO_EXITLESS[0]),
            Self { vmx: false, .. } => Some(NO_EXITLESS[1]),
            Self { ept: false, .. } => Some(NO_EXITLESS[2]),
            Self {
                eptp_switching: false,
                ..
            } => Some(NO_EXITLESS[3]),
            Self {
                execute_only: false,
                ..
            } => Some(NO_EXITLESS[4]),
            _ => None,
        };
        let second = (self.vmx && !self.posted_interrupts)
            .then_some("CPU lacks posted interrupts: each notification costs the VM an exit");

        first.into_iter().chain(second)
    }
}

/// What both CPUs can do.
impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self {
            vmx_reported: self.vmx_reported & other.vmx_reported,
            vmx: self.vmx & other.vmx,
            ept: self.ept & other.ept,
            execute_only: self.execute_only & other.execute_only,
            eptp_switching: self.eptp_switching & other.eptp_switching,
            posted_interrupts: self.posted_interrupts & other.posted_interrupts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, collections::HashMap};

    /// MSRs by index; remembers which were asked for.
    struct Table {
        values: HashMap<u32, u64>,
        asked: RefCell<Vec<u32>>,
    }

    impl ReadMsr for Table {
        fn read(&self, index: u32) -> Option<u64> {
            self.asked.borrow_mut().push(index);
            self.values.get(&index).copied()
        }
    }

    const fn allowed(controls: u32) -> u64 {
        (controls as u64) << 32
    }

    /// A CPU with everything, "true" controls included.
    fn full() -> Table {
        Table {
            values: HashMap::from([
                (0x3a, 0b101),
                (0x480, 1 << 55),
                (0x48d, allowed(PROCESS_POSTED_INTERRUPTS)),
                (0x48e, allowed(ACTIVATE_SECONDARY)),
                (0x48f, allowed(ACKNOWLEDGE_INTERRUPT)),
                (
                    0x48b,
                    allowed(ENABLE_EPT | VIRTUAL_INTERRUPT_DELIVERY | ENABLE_VM_FUNCTIONS),
                ),
                (0x48c, 1 << 0 | 1 << 6 | 1 << 14),
                (0x491, 1),
            ]),
            asked: RefCell::default(),
        }
    }

    fn with(changes: &[(u32, u64)]) -> Capabilities {
        let mut table = full();
        table.values.extend(changes.iter().copied());
        Capabilities::decode(true, &table)
    }

    #[test]
    fn everything() {
        assert_eq!(with(&[]), Capabilities::ALL);
        assert_eq!(Capabilities::ALL.shortcomings().count(), 0);
    }

    #[test]
    fn no_msr_is_read_without_vmx() {
        let table = full();
        assert_eq!(Capabilities::decode(false, &table), Capabilities::NONE);
        assert!(table.asked.borrow().is_empty());
    }

    #[test]
    fn only_feature_control_is_read_where_firmware_says_no() {
        // unlocked; locked without VMX; VMX in SMX operation only
        for value in [0b100, 0b001, 0b011, 0] {
            let mut table = full();
            table.values.insert(0x3a, value);
            let found = Capabilities::decode(true, &table);
            assert!(found.vmx_reported && !found.vmx && !found.ept);
            assert_eq!(*table.asked.borrow(), [0x3a]);
            let said: Vec<_> = found.shortcomings().collect();
            assert_eq!(said.len(), 1);
            assert!(said[0].contains("firmware"));
        }
    }

    #[test]
    fn plain_controls_are_used_where_true_ones_are_absent() {
        let mut table = full();
        for (true_index, index) in [(0x48d, 0x481), (0x48e, 0x482), (0x48f, 0x483)] {
            let value = table.values.remove(&true_index).unwrap();
            table.values.insert(index, value);
        }
        table.values.insert(0x480, 0);
        assert_eq!(Capabilities::decode(true, &table), Capabilities::ALL);
    }

    #[test]
    fn settings_that_must_be_one_do_not_count_as_allowed() {
        // Bits 31:0 name the settings that may be 0.
        let low = u64::from(ENABLE_EPT | VIRTUAL_INTERRUPT_DELIVERY | ENABLE_VM_FUNCTIONS);
        let found = with(&[(0x48b, low)]);
        assert!(found.vmx && !found.ept && !found.eptp_switching && !found.posted_interrupts);
    }

    #[test]
    fn no_secondary_controls() {
        let mut table = full();
        table.values.insert(0x48e, 0);
        let found = Capabilities::decode(true, &table);
        assert!(found.vmx && !found.ept && !found.eptp_switching && !found.posted_interrupts);
        for index in [0x48b, 0x48c, 0x491] {
            assert!(!table.asked.borrow().contains(&index));
        }
    }

    #[test]
    fn vm_functions_without_eptp_switching() {
        let found = with(&[(0x491, 0b10)]);
        assert!(found.ept && !found.eptp_switching);
        assert!(found.shortcomings().next().unwrap().contains("EPTP"));
    }

    #[test]
    fn ept_needs_four_levels_and_write_back() {
        assert!(!with(&[(0x48c, 1 << 0 | 1 << 14)]).ept);
        assert!(!with(&[(0x48c, 1 << 0 | 1 << 6)]).ept);
        let found = with(&[(0x48c, 1 << 6 | 1 << 14)]);
        assert!(found.ept && found.eptp_switching && !found.execute_only);
        assert!(found
            .shortcomings()
            .next()
            .unwrap()
            .contains("execute-only"));
    }

    #[test]
    fn posted_interrupts_need_all_three_controls() {
        assert!(!with(&[(0x48d, 0)]).posted_interrupts);
        assert!(!with(&[(0x48f, 0)]).posted_interrupts);
        let found = with(&[(0x48b, allowed(ENABLE_EPT | ENABLE_VM_FUNCTIONS))]);
        assert!(found.eptp_switching && !found.posted_interrupts);
        assert_eq!(found.shortcomings().count(), 1);
    }

    #[test]
    fn an_msr_that_faults_is_a_missing_feature() {
        for index in full().values.keys() {
            let mut table = full();
            table.values.remove(index);
            let found = Capabilities::decode(true, &table);
            assert_ne!(found, Capabilities::ALL, "MSR {index:#x}");
        }
    }

    #[test]
    fn all_cpus_count() {
        let lacking = with(&[(0x491, 0)]);
        assert_eq!(Capabilities::ALL & lacking, lacking);
        assert_eq!(lacking & Capabilities::NONE, Capabilities::NONE);
    }
}
