// SPDX-License-Identifier: GPL-2.0

//! What a VM exit out of a view means, and what becomes of the call (Intel SDM vol. 3, appendix C
//! and 26.9.2, 26.9.3).
//!
//! Pure: no `kernel::` imports, so that `rustc --test exit.rs` runs the tests below.

/// The basic exit reason, bits 15:0 of the exit-reason field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reason(pub(crate) u16);

impl Reason {
    pub(crate) const EXCEPTION_OR_NMI: Self = Self(0);
    pub(crate) const EXTERNAL_INTERRUPT: Self = Self(1);
    pub(crate) const INIT: Self = Self(3);
    pub(crate) const SIPI: Self = Self(4);
    pub(crate) const IO_SMI: Self = Self(5);
    pub(crate) const OTHER_SMI: Self = Self(6);
    pub(crate) const INTERRUPT_WINDOW: Self = Self(7);
    pub(crate) const NMI_WINDOW: Self = Self(8);
    pub(crate) const VMCALL: Self = Self(18);
    pub(crate) const CR_ACCESS: Self = Self(28);
    pub(crate) const MACHINE_CHECK_AT_ENTRY: Self = Self(41);
    pub(crate) const TPR_BELOW_THRESHOLD: Self = Self(43);
    pub(crate) const GDTR_OR_IDTR: Self = Self(46);
    pub(crate) const LDTR_OR_TR: Self = Self(47);
    pub(crate) const EPT_VIOLATION: Self = Self(48);
    pub(crate) const PREEMPTION_TIMER: Self = Self(52);
    pub(crate) const VMFUNC: Self = Self(59);
    pub(crate) const PML_FULL: Self = Self(62);
    pub(crate) const BUS_LOCK: Self = Self(74);
    pub(crate) const NOTIFY: Self = Self(75);
}

/// Whether the exit qualification of a control-register access (table 30-3) is that of MOV to CR3.
pub(crate) fn is_mov_to_cr3(qualification: u64) -> bool {
    const CR3: u64 = 3;
    const MOV_TO_CR: u64 = 0 << 4;
    qualification & 0x3f == MOV_TO_CR | CR3
}

/// The kind of an event, bits 10:8 of an interruption-information field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Interrupt,
    Nmi,
    /// An exception, be it of the hardware's or of an instruction's (INT n, INT3, INTO, INT1).
    Exception,
}

/// An interruption-information or IDT-vectoring-information field that is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    pub(crate) vector: u8,
}

impl Event {
    /// `None` if the field is not valid (bit 31).
    pub(crate) fn from_field(field: u32) -> Option<Self> {
        if field & 1 << 31 == 0 {
            return None;
        }
        Some(Self {
            kind: match field >> 8 & 7 {
                0 => EventKind::Interrupt,
                2 => EventKind::Nmi,
                _ => EventKind::Exception,
            },
            vector: (field & 0xff) as u8,
        })
    }
}

/// Machine-check exception.
const MACHINE_CHECK: u8 = 18;

/// Who deals with an exit that came while a vCPU was in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The host's own business, and KVM's to handle, whatever the guest was doing.
    Host,
    /// An event of the client's was on its way to it; KVM has queued it again.
    ClientEvent,
    /// The code in the view caused it. KVM must not see it, nor the event that it has queued.
    Guest(GuestCause),
}

/// What the code in a view did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestCause {
    Exception,
    SystemCall,
    Memory,
    Instruction,
    /// A VMFUNC that was refused.
    VmFunction,
}

/// What is known of an exit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) reason: Reason,
    /// The exit's own event (for exceptions and NMIs).
    pub(crate) event: Option<Event>,
    /// The event during whose delivery it came.
    pub(crate) vectoring: Option<Event>,
    /// RIP is the client's LSTAR, at CPL 0.
    pub(crate) at_system_call: bool,
}

impl Exit {
    /// Whose exit it is. What is in doubt is the guest's: KVM would handle it with the client's
    /// memory and the server's registers.
    pub(crate) fn cause(&self) -> Cause {
        match self.vectoring.map(|event| event.kind) {
            Some(EventKind::Interrupt | EventKind::Nmi) => return Cause::ClientEvent,
            Some(EventKind::Exception) => return Cause::Guest(exception(self.vectoring)),
            None => (),
        }
        match self.reason {
            Reason::EXTERNAL_INTERRUPT
            | Reason::INIT
            | Reason::SIPI
            | Reason::IO_SMI
            | Reason::OTHER_SMI
            | Reason::INTERRUPT_WINDOW
            | Reason::NMI_WINDOW
            | Reason::MACHINE_CHECK_AT_ENTRY
            | Reason::TPR_BELOW_THRESHOLD
            | Reason::PREEMPTION_TIMER
            | Reason::PML_FULL
            | Reason::BUS_LOCK
            | Reason::NOTIFY => Cause::Host,
            Reason::EXCEPTION_OR_NMI => match self.event {
                Some(Event {
                    kind: EventKind::Nmi | EventKind::Interrupt,
                    ..
                }) => Cause::Host,
                Some(Event {
                    vector: MACHINE_CHECK,
                    ..
                }) => Cause::Host,
                event => Cause::Guest(exception(event)),
            },
            Reason::EPT_VIOLATION if self.at_system_call => Cause::Guest(GuestCause::SystemCall),
            Reason::EPT_VIOLATION => Cause::Guest(GuestCause::Memory),
            Reason::VMFUNC => Cause::Guest(GuestCause::VmFunction),
            _ => Cause::Guest(GuestCause::Instruction),
        }
    }
}

/// A page fault is one of memory: the views' page tables have what is registered.
fn exception(event: Option<Event>) -> GuestCause {
    const PAGE_FAULT: u8 = 14;
    match event {
        Some(Event {
            vector: PAGE_FAULT, ..
        }) => GuestCause::Memory,
        _ => GuestCause::Exception,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(reason: Reason) -> Exit {
        Exit {
            reason,
            event: None,
            vectoring: None,
            at_system_call: false,
        }
    }

    fn vectoring(field: u32) -> Cause {
        Exit {
            vectoring: Event::from_field(field),
            ..exit(Reason::EPT_VIOLATION)
        }
        .cause()
    }

    #[test]
    fn events_on_their_way() {
        // Seen on the emulated host: a posted interrupt, #UD, #PF.
        assert_eq!(vectoring(0x8000_0040), Cause::ClientEvent);
        assert_eq!(vectoring(0x8000_0202), Cause::ClientEvent);
        for exception in [0x8000_0306, 0x8000_0480, 0x8000_0603, 0x8000_0501] {
            assert_eq!(vectoring(exception), Cause::Guest(GuestCause::Exception));
        }
        assert_eq!(vectoring(0x8000_0b0e), Cause::Guest(GuestCause::Memory));
        assert_eq!(vectoring(0x0000_0040), Cause::Guest(GuestCause::Memory));
    }

    #[test]
    fn exceptions_and_nmis() {
        let cause = |field| {
            Exit {
                event: Event::from_field(field),
                ..exit(Reason::EXCEPTION_OR_NMI)
            }
            .cause()
        };
        assert_eq!(cause(0x8000_0202), Cause::Host);
        assert_eq!(cause(0x8000_0312), Cause::Host);
        assert_eq!(cause(0x8000_0306), Cause::Guest(GuestCause::Exception));
        assert_eq!(cause(0), Cause::Guest(GuestCause::Exception));
    }

    #[test]
    fn mov_to_cr3() {
        // Bits 11:8 name the register that is its source.
        assert!(is_mov_to_cr3(0x003) && is_mov_to_cr3(0x703));
        // To CR4, from CR3, CLTS, LMSW.
        for other in [0x004, 0x013, 0x020, 0x030] {
            assert!(!is_mov_to_cr3(other));
        }
    }

    #[test]
    fn system_call() {
        let exit = Exit {
            at_system_call: true,
            ..exit(Reason::EPT_VIOLATION)
        };
        assert_eq!(exit.cause(), Cause::Guest(GuestCause::SystemCall));
    }

    #[test]
    fn kvm_gets_what_no_guest_can_cause() {
        // Appendix C: CPUID, HLT, INVLPG, RDPMC, RDTSC, VMCALL, CR, DR, I/O, MSR, PAUSE, XSETBV, ...
        for reason in [
            2, 9, 10, 12, 14, 15, 16, 18, 28, 29, 30, 31, 32, 40, 49, 54, 55, 68,
        ] {
            assert_eq!(
                exit(Reason(reason)).cause(),
                Cause::Guest(GuestCause::Instruction),
                "exit reason {reason}"
            );
        }
        assert_eq!(exit(Reason::EXTERNAL_INTERRUPT).cause(), Cause::Host);
        assert_eq!(exit(Reason::PREEMPTION_TIMER).cause(), Cause::Host);
        assert_eq!(
            exit(Reason::VMFUNC).cause(),
            Cause::Guest(GuestCause::VmFunction)
        );
    }
}
