// SPDX-License-Identifier: GPL-2.0

//! The exitless switch of a pairing, as the hooks see it: what each vCPU of the client VM may
//! enter, and what becomes of it when it leaves.
//!
//! A vCPU can be in a view only in guest mode: each VM exit brings it back into its default view at
//! once, and puts the call's registers away. So KVM and QEMU never see a vCPU whose registers are
//! not the client's, and nothing is left in a VMCS when a pairing ends.
//!
//! What the hooks must not do, that is allocate and sleep, is in [`crate::session`].

use crate::{
    carrier::{self, Carriers, Resume, Retire, Token},
    ept::Eptp,
    eventfd::EventFd,
    exit::{self, Cause, Event, Exit, GuestCause, Reason},
    gate,
    guest_memory::PinnedPage,
    host::Host,
    hypercall::negative,
    pairing::Role,
    session::Setup,
    table_page::TablePage,
    tlb, tracepoint, uapi,
    vcpu::{Gpr, Gprs, Segments, Vcpu},
    vmcs::{self, CurrentVmcs, EntryInterruption, EptPointer},
    xsave::{self, XsaveArea},
};
use kernel::{
    impl_has_work, new_mutex, new_spinlock, new_work,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex, SpinLock,
    },
    workqueue::{Work, WorkItem},
};

/// The slots of the EPTP list (Intel SDM vol. 3, 27.5.6.3).
const SLOT_CLIENT: usize = gate::VIEW_CLIENT as usize;
const SLOT_GATE: usize = gate::VIEW_GATE as usize;
const SLOT_SERVER: usize = gate::VIEW_SERVER as usize;
/// Indices of the words of the slot page.
const SLOT_RSP: usize = gate::SLOT_RSP as usize / 8;
const SLOT_FS_BASE: usize = gate::SLOT_FS_BASE as usize / 8;
const SLOT_GS_BASE: usize = gate::SLOT_GS_BASE as usize / 8;
const SLOT_CALLS: usize = gate::SLOT_CALLS as usize / 8;

/// Bytes of a VMCALL instruction.
const VMCALL_LENGTH: u64 = 3;

const fn gate_address(offset: u64) -> u64 {
    gate::REGION + gate::PAGE + offset
}

/// RFLAGS of a process that was put at its pad: IF, and bit 1, which is always set.
const RFLAGS_AT_PAD: u64 = 1 << 9 | 1 << 1;

/// The status flags of RFLAGS: CF, PF, AF, ZF, SF and OF.
const RFLAGS_STATUS: u64 = 0x8d5;

/// A call that is stopped: the carrier's registers.
pub(crate) struct Saved {
    gprs: Gprs,
    rip: u64,
    rflags: u64,
    fs_base: u64,
    gs_base: u64,
    /// What was accessed, if the call was stopped because of that.
    fault_address: u64,
    vectors: XsaveArea,
}

impl Saved {
    pub(crate) fn boxed() -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                gprs: [0; 16],
                rip: 0,
                rflags: 0,
                fs_base: 0,
                gs_base: 0,
                fault_address: 0,
                vectors: XsaveArea::INITIAL,
            },
            GFP_KERNEL,
        )?)
    }
}

/// A carrier, as the hooks use it.
pub(crate) struct CarrierCalls {
    pub(crate) view: Eptp,
    pub(crate) saved: KBox<Saved>,
    /// The server's `struct wormhole_carrier`.
    pub(crate) home: PinnedPage,
}

/// A session, as the hooks use it.
#[derive(Default)]
pub(crate) struct SessionCalls {
    /// The client process, by its CR3.
    pub(crate) cr3: Option<u64>,
    pub(crate) states: KVec<carrier::State>,
    /// As many as `states`.
    pub(crate) carriers: KVec<Option<CarrierCalls>>,
    /// No new calls: it is being closed, or the client unbound.
    pub(crate) closing: bool,
    /// The server VM was reset: its memory is somebody else's, and no call can go home.
    pub(crate) server_gone: bool,
}

impl SessionCalls {
    fn carriers(&mut self) -> Carriers<'_> {
        Carriers(&mut self.states)
    }

    fn carrier(&mut self, index: usize) -> Option<&mut CarrierCalls> {
        self.carriers.get_mut(index)?.as_mut()
    }

    /// Takes in a carrier of the server's. EEXIST if there is one of that number. `states` and
    /// `carriers` are empty, with room for it, in case there is none here.
    pub(crate) fn give(
        &mut self,
        index: usize,
        carrier: CarrierCalls,
        states: &mut KVec<carrier::State>,
        carriers: &mut KVec<Option<CarrierCalls>>,
    ) -> Result {
        if index >= self.states.len() {
            // Room enough: nothing is allocated here.
            for (state, carrier) in self.states.drain_all().zip(self.carriers.drain_all()) {
                states.push(state, GFP_ATOMIC)?;
                carriers.push(carrier, GFP_ATOMIC)?;
            }
            while states.len() <= index {
                states.push(carrier::State::Absent, GFP_ATOMIC)?;
                carriers.push(None, GFP_ATOMIC)?;
            }
            core::mem::swap(&mut self.states, states);
            core::mem::swap(&mut self.carriers, carriers);
        }
        if !self.carriers().give(index) {
            return Err(EEXIST);
        }
        if let Some(slot) = self.carriers.get_mut(index) {
            *slot = Some(carrier);
        }
        Ok(())
    }

    /// See [`Carriers::finish`].
    pub(crate) fn finish(&mut self, index: usize, result: u64) -> bool {
        let wanted = self.cr3.is_some() && !self.closing;
        self.carriers().finish(index, result, wanted)
    }

    /// See [`Carriers::client_gone`].
    pub(crate) fn client_gone(&mut self) -> Option<usize> {
        self.carriers().client_gone()
    }
}

/// What a vCPU is allowed at its next entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// The gate, if the vCPU's state permits.
    Gate,
    /// The client's kernel is about to load CR3, or IDTR or the like: VMFUNC exits until a client
    /// calls again.
    Nothing,
    /// VMFUNC is #UD, once: it was executed where no gate is.
    NoVmfunc,
}

/// What is to be done in place of KVM's exit handler.
#[derive(Clone, Copy)]
enum Answer {
    /// Nothing more.
    Done,
    /// The client calls, and its vCPU has no carrier.
    Assign,
    /// A stopped call has to go on in the server VM.
    Hop {
        session: usize,
        carrier: usize,
        token: Token,
        cause: u32,
    },
}

/// A call to go on with at the next entry, unless something comes between.
#[derive(Clone, Copy)]
struct Pending {
    session: usize,
    token: Token,
    /// Where the client's RIP must still be.
    rip: u64,
    /// There is a VMCALL, RESUME.
    asked: bool,
}

impl Pending {
    /// The client is still where it was, with nothing to come before its next instruction.
    fn stands(&self, vcpu: &Vcpu<'_>) -> bool {
        vcpu.rip() == self.rip
            && vcpu.gpr(Gpr::Rdi) == self.token.0
            && vcpu.cpl() == 3
            && vcpu.in_64_bit_code()
            && vcpu.vmcs().read::<EntryInterruption>() & 1 << 31 == 0
            && !vcpu.event_queued()
    }
}

/// What the gate keeps of a client over a call, besides its result.
struct Kept {
    rsp: u64,
    fs_base: u64,
    gs_base: u64,
}

impl Kept {
    fn read(vcpu: &Vcpu<'_>) -> Self {
        Self {
            rsp: vcpu.rsp(),
            fs_base: vcpu.fs_base(),
            gs_base: vcpu.gs_base(),
        }
    }

    fn write(&self, vcpu: &Vcpu<'_>) {
        vcpu.set_rsp(self.rsp);
        vcpu.set_bases(self.fs_base, self.gs_base);
    }
}

/// One vCPU of the client VM.
pub(crate) struct VcpuCalls {
    /// Its gate view.
    pub(crate) gate: Eptp,
    pub(crate) list: TablePage,
    pub(crate) slot: TablePage,
    /// Session and carrier of its server view.
    carrier: Option<(usize, usize)>,
    allowed: Allowed,
    /// Since the last entry the VMCS has our controls.
    armed: bool,
    /// The EPT pointer of the default view at the last entry.
    default: u64,
    /// The gate was open at the last entry.
    open: bool,
    /// KVM has descriptor-table exiting on itself.
    descriptor_exits: bool,
    /// KVM's CR4 guest/host mask.
    cr4_mask: u64,
    in_guest: bool,
    answer: Option<Answer>,
    pending: Option<Pending>,
    /// CS and SS of the client's user mode.
    user: Segments,
}

impl VcpuCalls {
    pub(crate) fn new(gate: Eptp, list: TablePage, slot: TablePage) -> Self {
        Self {
            gate,
            list,
            slot,
            carrier: None,
            allowed: Allowed::Gate,
            armed: false,
            default: 0,
            open: false,
            descriptor_exits: false,
            cr4_mask: 0,
            in_guest: false,
            answer: None,
            pending: None,
            user: Segments::USER,
        }
    }

    fn set_slot(&self, slot: usize, value: u64) {
        self.list.store(slot, value);
    }

    /// What the gate does on the way in.
    fn keep(&self, kept: &Kept) {
        self.slot.store(SLOT_RSP, kept.rsp & !1);
        self.slot
            .store(SLOT_FS_BASE, gate::base_to_slot(kept.fs_base));
        self.slot
            .store(SLOT_GS_BASE, gate::base_to_slot(kept.gs_base));
    }

    /// Takes what the gate has kept, which is to be seen once. The client can have written it.
    fn take_kept(&self) -> Kept {
        let take = |word| {
            let value = self.slot.load(word);
            self.slot.store(word, 0);
            value
        };
        Kept {
            rsp: take(SLOT_RSP),
            fs_base: gate::base_from_slot(take(SLOT_FS_BASE)),
            gs_base: gate::base_from_slot(take(SLOT_GS_BASE)),
        }
    }

    /// Calls that the gate has counted, or the client has it count.
    fn calls(&self) -> u64 {
        self.slot.load(SLOT_CALLS) / u64::from(gate::CALL)
    }
}

/// What the hooks work on.
#[derive(Default)]
pub(crate) struct Calls {
    /// The pairing ends: no vCPU is to enter a view.
    pub(crate) dead: bool,
    /// By their number; empty until a process is bound.
    pub(crate) vcpus: KVec<VcpuCalls>,
    /// By their number.
    pub(crate) sessions: KVec<SessionCalls>,
    /// So many vCPUs are looking for carriers that others do not use: no view is entered meanwhile.
    recalls: usize,
    /// The client VM, and the server VM, has been reset since [`Switch::after_reset`] last ran.
    reset: [bool; 2],
    serial: u64,
}

impl Calls {
    /// The session of the client process with this CR3.
    fn session_of(&self, cr3: u64) -> Option<usize> {
        self.sessions
            .iter()
            .position(|session| session.cr3 == Some(cr3) && !session.closing)
    }

    /// By a number of the VMs'.
    pub(crate) fn session_mut(&mut self, number: u64) -> Option<&mut SessionCalls> {
        self.sessions.get_mut(usize::try_from(number).ok()?)
    }

    /// No vCPU has a carrier of a session any more.
    pub(crate) fn forget_carriers(&mut self, number: u64) {
        for state in self.vcpus.iter_mut() {
            if state
                .carrier
                .is_some_and(|(session, _)| session as u64 == number)
            {
                state.carrier = None;
            }
        }
    }

    fn next_token(&mut self) -> Token {
        self.serial = self.serial.wrapping_add(1);
        Token(self.serial)
    }
}

/// What has happened in a pairing, as it is told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Calls that came back with a result.
    pub(crate) calls: u64,
    /// Calls that an interrupt has stopped.
    pub(crate) stops: u64,
    /// Calls that went on after that.
    pub(crate) resumes: u64,
    /// Entries that the gate has turned away.
    pub(crate) refusals: u64,
    /// Calls that hopped home, by `WORMHOLE_HOP_*`.
    pub(crate) hops: [u64; 5],
    /// Memory of the views, the registered memory aside.
    pub(crate) table_bytes: usize,
}

/// The same, as it is counted.
struct Counters {
    /// Calls whose result the host has delivered; the others are counted by the gate.
    delivered: Atomic<u64>,
    stops: Atomic<u64>,
    resumes: Atomic<u64>,
    refusals: Atomic<u64>,
    hops: [Atomic<u64>; 5],
}

impl Counters {
    fn new() -> Self {
        Self {
            delivered: Atomic::new(0),
            stops: Atomic::new(0),
            resumes: Atomic::new(0),
            refusals: Atomic::new(0),
            hops: [const { Atomic::new(0) }; 5],
        }
    }

    fn add(counter: &Atomic<u64>) {
        counter.fetch_add(1, Relaxed);
    }
}

/// See the module's description.
#[pin_data]
pub(crate) struct Switch {
    pub(crate) host: Arc<Host>,
    /// The pairing's number.
    pub(crate) id: u64,
    /// An interrupt of the server VM.
    event: Option<EventFd>,
    counters: Counters,
    /// What sessions are made of. Outer to `calls`.
    #[pin]
    pub(crate) setup: Mutex<Setup>,
    /// Also taken with interrupts off, never in an interrupt.
    #[pin]
    pub(crate) calls: SpinLock<Calls>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Switch { self.work }
}

impl WorkItem for Switch {
    type Pointer = Arc<Self>;

    fn run(switch: Arc<Self>) {
        switch.after_reset();
    }
}

/// What the state of a vCPU must be for it to enter the gate: 64-bit mode with four levels of
/// paging, and its IDT and its system-call entry where the views have nothing.
///
/// Of what is looked at, a guest can change CR4's harmless bits without an exit; to load CR3 or
/// descriptor tables, or to set CR4.CET, is an exit while the gate is open (Documentation/gate.rst).
fn gate_is_safe(vcpu: &Vcpu<'_>) -> bool {
    // VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT UMIP FSGSBASE PCIDE OSXSAVE SMEP SMAP PKE
    const KNOWN_CR4: u64 = 0x77_0fff;
    // The host's own.
    const VMXE: u64 = 1 << 13;
    const PAE_FSGSBASE_OSXSAVE: u64 = 1 << 5 | 1 << 16 | 1 << 18;
    let vmcs = vcpu.vmcs();
    let cr4 = vmcs.read::<vmcs::GuestCr4>() & !VMXE;
    vcpu.long_mode_with_nx()
        && cr4 & !KNOWN_CR4 == 0
        && cr4 & PAE_FSGSBASE_OSXSAVE == PAE_FSGSBASE_OSXSAVE
        && upper_half(vmcs.read::<vmcs::GuestIdtrBase>())
        && upper_half(vcpu.lstar())
        && xsave::supported(vcpu.xcr0())
        && !vcpu.samples()
        && vmcs.read::<vmcs::SecondaryControls>() & vmcs::PT_USES_GUEST_PHYSICAL == 0
}

/// Whether an address, and the 64 KiB from it on, are in the upper half.
fn upper_half(address: u64) -> bool {
    const START: u64 = 0xffff_8000_0000_0000;
    const LAST: u64 = 0xffff_ffff_ffff_0000;
    (START..=LAST).contains(&address)
}

impl Switch {
    pub(crate) fn new(
        host: Arc<Host>,
        id: u64,
        setup: Setup,
        event: Option<EventFd>,
    ) -> Result<Arc<Self>> {
        let mut calls = Calls::default();
        for _ in 0..uapi::WORMHOLE_MAX_SESSIONS {
            calls.sessions.push(SessionCalls::default(), GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                host,
                id,
                event,
                counters: Counters::new(),
                setup <- new_mutex!(setup, "wormhole_setup"),
                calls <- new_spinlock!(calls, "wormhole_calls"),
                work <- new_work!("wormhole_after_reset"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn counts(&self) -> Counts {
        let delivered = self.counters.delivered.load(Relaxed);
        let by_gate = |calls: u64, vcpu: &VcpuCalls| calls.wrapping_add(vcpu.calls());
        let calls = self.calls.lock().vcpus.iter().fold(delivered, by_gate);
        let mut counts = Counts {
            calls,
            stops: self.counters.stops.load(Relaxed),
            resumes: self.counters.resumes.load(Relaxed),
            refusals: self.counters.refusals.load(Relaxed),
            hops: [0; 5],
            table_bytes: self.table_bytes(),
        };
        for (count, counter) in counts.hops.iter_mut().zip(&self.counters.hops) {
            *count = counter.load(Relaxed);
        }
        counts
    }

    /// One of the VMs starts anew: nothing of its processes from before may be reached, nor call.
    /// Interrupts are off.
    pub(crate) fn vm_starts(self: &Arc<Self>, role: Role) {
        let mut calls = self.calls.lock();
        let mut any = false;
        for session in calls.sessions.iter_mut() {
            let concerned = match role {
                Role::Client => session.cr3.is_some() && !session.closing,
                Role::Server => !session.carriers.is_empty() && !session.server_gone,
            };
            if concerned {
                // What is in a view now leaves it when `after_reset` runs.
                session.closing = true;
                session.server_gone |= role == Role::Server;
                any = true;
            }
        }
        if any {
            let [client, server] = &mut calls.reset;
            *match role {
                Role::Client => client,
                Role::Server => server,
            } = true;
            // Queued already is as good.
            let _ = self.host.queue.enqueue(self.clone());
        }
    }

    /// Closes the sessions of a server VM that was reset, and unbinds the processes of a client VM.
    fn after_reset(&self) {
        let [client, server] = core::mem::take(&mut self.calls.lock().reset);
        for number in 0..uapi::WORMHOLE_MAX_SESSIONS.into() {
            // Those of before alone: the VM may have new ones already.
            let (gone, closing) = match self.calls.lock().session_mut(number) {
                Some(session) => (session.server_gone, session.closing),
                None => (false, false),
            };
            // They fail if the VM has been quicker.
            if server && gone {
                let _ = self.close(number);
            } else if client && closing {
                let _ = self.unbind(number);
            }
        }
    }

    /// A vCPU of the client VM is about to enter guest mode; interrupts are off.
    pub(crate) fn before_entry(&self, vcpu: &Vcpu<'_>) {
        let mut calls = self.calls.lock();
        let calls = &mut *calls;
        if calls.vcpus.is_empty() {
            // No process of the VM's was ever bound.
            return;
        }
        let cr3 = vcpu.cr3();
        let calling = calls.session_of(cr3).is_some();
        let Some(state) = calls.vcpus.get_mut(vcpu.index()) else {
            return;
        };
        state.in_guest = true;
        if vcpu.nested_or_smm() || !vcpu.has_ept() {
            return;
        }
        let vmcs = vcpu.vmcs();
        let current = vmcs.read::<EptPointer>();
        if state.armed && current != state.default {
            // An exit that KVM's fast path dealt with: the vCPU goes on in its view.
            return;
        }
        let pending = state.pending.take();
        if calls.dead {
            return;
        }
        if state.allowed == Allowed::NoVmfunc {
            state.allowed = Allowed::Gate;
            return;
        }
        let wanted = state.allowed == Allowed::Gate && calling;
        let open = wanted && gate_is_safe(vcpu);

        state.default = current;
        state.set_slot(SLOT_CLIENT, current);
        state.set_slot(SLOT_GATE, if open { state.gate.value() } else { INVALID });
        arm(vmcs, state, open);
        if let Some(pending) = pending.filter(|pending| pending.stands(vcpu)) {
            if open {
                self.go_on(vcpu, calls, pending);
            } else if wanted && pending.asked {
                // It would ask for ever.
                vcpu.set_gpr(Gpr::Rax, negative(EOPNOTSUPP));
                vcpu.set_rip(pending.rip.wrapping_add(VMCALL_LENGTH));
            }
        }
        // After `go_on`, which may have changed it.
        let Some(state) = calls.vcpus.get(vcpu.index()) else {
            return;
        };
        let server = state.carrier.and_then(|(session, carrier)| {
            let session = calls.sessions.get(session)?;
            if session.closing || calls.recalls != 0 || session.cr3 != Some(cr3) {
                return None;
            }
            Some(session.carriers.get(carrier)?.as_ref()?.view.value())
        });
        state.set_slot(SLOT_SERVER, server.unwrap_or(0) | INVALID);
    }

    /// Puts a stopped call's registers into a vCPU that is about to enter guest mode.
    fn go_on(&self, vcpu: &Vcpu<'_>, calls: &mut Calls, pending: Pending) {
        let index = vcpu.index();
        let recalled = calls.recalls != 0;
        let Some(session) = calls.sessions.get_mut(pending.session) else {
            return;
        };
        if recalled || session.closing || session.cr3 != Some(vcpu.cr3()) {
            return;
        }
        let Resume::GoOn(number) = session.carriers().look(pending.token) else {
            return;
        };
        let Some(carrier) = session.carrier(number) else {
            return;
        };
        // SAFETY: Interrupts are off, and KVM has loaded the guest's registers and its XCR0.
        if !unsafe { carrier.saved.vectors.restore(vcpu.xcr0()) } {
            return;
        }
        let view = carrier.view;
        let Some(state) = calls.vcpus.get_mut(index) else {
            return;
        };
        state.keep(&Kept::read(vcpu));
        vcpu.set_gprs(&carrier.saved.gprs);
        vcpu.set_rsp(carrier.saved.gprs[Gpr::Rsp as usize]);
        vcpu.set_rip(carrier.saved.rip);
        vcpu.set_rflags(carrier.saved.rflags);
        vcpu.set_bases(carrier.saved.fs_base, carrier.saved.gs_base);
        // SAFETY: A view of ours; the exit hook puts the default one back before KVM looks.
        unsafe { vcpu.vmcs().write::<EptPointer>(view.value()) };
        if let Some((other, _)) = state.carrier.replace((pending.session, number)) {
            if let Some(other) = calls.sessions.get_mut(other) {
                other.carriers().release(index);
            }
        }
        if let Some(session) = calls.sessions.get_mut(pending.session) {
            let _ = session.carriers().resume(pending.token, index);
        }
        Counters::add(&self.counters.resumes);
        self.traced(index, pending.session, number).resume();
    }

    /// A vCPU of the client VM has left guest mode; interrupts are off, and the CPU still has its
    /// vector registers.
    pub(crate) fn after_exit(&self, vcpu: &Vcpu<'_>) {
        let mut calls = self.calls.lock();
        let calls = &mut *calls;
        let Some(state) = calls.vcpus.get_mut(vcpu.index()) else {
            return;
        };
        state.in_guest = false;
        if !core::mem::take(&mut state.armed) {
            return;
        }
        let vmcs = vcpu.vmcs();
        disarm(vmcs, state);
        let default = state.default;
        let current = vmcs.read::<EptPointer>();
        let reason = Reason(vmcs.read::<vmcs::RawExitReason>() as u16);
        if current == default {
            self.left_default_view(vcpu, calls, reason);
            return;
        }
        // SAFETY: What KVM had there before the entry.
        unsafe { vmcs.write::<EptPointer>(default) };
        let exit = Exit {
            reason,
            event: Event::from_field(vmcs.read::<vmcs::ExitInterruption>()),
            vectoring: Event::from_field(vmcs.read::<vmcs::IdtVectoring>()),
            at_system_call: vcpu.cpl() == 0 && vcpu.rip() == vcpu.lstar(),
        };
        let cause = exit.cause();
        let fault_address = match cause {
            Cause::Guest(GuestCause::Memory) if exit.vectoring.is_some() => vcpu.cr2(),
            Cause::Guest(GuestCause::Memory) => vmcs.read::<vmcs::GuestLinearAddress>(),
            _ => 0,
        };
        if let Cause::Guest(_) = cause {
            vcpu.drop_queued_exception();
            vcpu.set_cr2(0);
        }
        vcpu.clear_shadows();
        if current == state.gate.value() {
            self.left_gate(vcpu, state, cause);
        } else {
            self.left_server(vcpu, calls, cause, fault_address);
        }
    }

    /// An exit in the default view. Those that our controls have caused are ours.
    fn left_default_view(&self, vcpu: &Vcpu<'_>, calls: &mut Calls, reason: Reason) {
        let bound = reason == Reason::VMFUNC && calls.session_of(vcpu.cr3()).is_some();
        let Some(state) = calls.vcpus.get_mut(vcpu.index()) else {
            return;
        };
        match reason {
            Reason::VMFUNC => {
                // The VMFUNC of the client's own page, after XOR and MOV.
                let at_gate = vcpu.rip() == gate_address(gate::ENTER) + 7;
                state.answer = Some(if !at_gate || vcpu.cpl() != 3 {
                    state.allowed = Allowed::NoVmfunc;
                    Answer::Done
                } else if !bound {
                    // Its session has ended, or it is another process than the one that was bound.
                    put_at_pad(vcpu, Pad::Error(ENOENT));
                    Answer::Done
                } else if gate_is_safe(vcpu) {
                    state.allowed = Allowed::Gate;
                    state.user = Segments::read(vcpu.vmcs());
                    Answer::Assign
                } else {
                    put_at_pad(vcpu, Pad::Error(EOPNOTSUPP));
                    Answer::Done
                });
            }
            Reason::GDTR_OR_IDTR | Reason::LDTR_OR_TR if !state.descriptor_exits => {
                state.allowed = Allowed::Nothing;
                state.answer = Some(Answer::Done);
            }
            Reason::CR_ACCESS
                if state.open
                    && exit::is_mov_to_cr3(vcpu.vmcs().read::<vmcs::ExitQualification>()) =>
            {
                state.allowed = Allowed::Nothing;
                state.answer = Some(Answer::Done);
            }
            _ => (),
        }
    }

    /// An exit in the gate view: the client is put before the call, or behind it.
    fn left_gate(&self, vcpu: &Vcpu<'_>, state: &mut VcpuCalls, cause: Cause) {
        let offset = vcpu.rip().wrapping_sub(gate_address(0));
        let kept = state.take_kept();
        let refuse = |vcpu: &Vcpu<'_>| {
            put_at_pad(vcpu, Pad::Error(EFAULT));
            self.count_refusal(vcpu);
        };
        // A client that has jumped to a SCASB there is not to see what of the list it has compared.
        vcpu.set_rflags(vcpu.rflags() & !RFLAGS_STATUS);
        // What a process chooses as it likes; but where it is put is 64-bit code (VM entry fails
        // else: Intel SDM vol. 3, 28.3.1.4).
        let strayed = !vcpu.in_64_bit_code();
        if strayed {
            state.user.write(vcpu);
        }
        match (gate::part(offset), cause) {
            _ if strayed => refuse(vcpu),
            (gate::Part::AfterServer { counted }, Cause::Host | Cause::ClientEvent) => {
                kept.write(vcpu);
                vcpu.set_rip(gate_address(gate::HOME));
                vcpu.set_gpr(Gpr::Rax, 0);
                vcpu.set_gpr(Gpr::Rcx, 0);
                if !counted {
                    Counters::add(&self.counters.delivered);
                }
            }
            (gate::Part::BeforeServer, Cause::Host | Cause::ClientEvent) => {
                vcpu.set_rip(gate_address(gate::ENTER));
            }
            (gate::Part::BeforeServer, Cause::Guest(GuestCause::VmFunction)) => {
                // No carrier: its slot is invalid although the gate has made it valid.
                vcpu.set_rip(gate_address(gate::ENTER));
                state.answer = Some(if vcpu.cpl() == 3 {
                    state.user = Segments::read(vcpu.vmcs());
                    Answer::Assign
                } else {
                    put_at_pad(vcpu, Pad::Error(EPERM));
                    Answer::Done
                });
                return;
            }
            (part, Cause::Guest(_)) => {
                if part != gate::Part::BeforeServer {
                    // They may still be the server's.
                    kept.write(vcpu);
                }
                refuse(vcpu);
            }
        }
        if cause != Cause::Host {
            state.answer = Some(Answer::Done);
        }
    }

    /// An exit in the server view: the call is stopped, and the client put at its pad.
    fn left_server(&self, vcpu: &Vcpu<'_>, calls: &mut Calls, cause: Cause, fault_address: u64) {
        let index = vcpu.index();
        let token = calls.next_token();
        let Some(state) = calls.vcpus.get_mut(index) else {
            return;
        };
        let kept = state.take_kept();
        let answered = cause != Cause::Host;
        let (rip, cpl) = (vcpu.rip(), vcpu.cpl());
        let user = state.user;
        let carrier = state.carrier;
        let found = carrier.and_then(|(session, number)| {
            Some((calls.sessions.get_mut(session)?, session, number))
        });
        let landing = rip == gate_address(gate::LANDING) && cpl == 3;
        let in_gate = rip.wrapping_sub(gate_address(0)) < PAGE_SIZE as u64;
        let (session, session_number, number) = match found {
            Some((session, _, _)) if session.cr3 != Some(vcpu.cr3()) && landing => {
                // Another process of the client's came through the gate: nothing of the view is
                // mapped for it. It gets a carrier of its own.
                vcpu.set_rip(gate_address(gate::ENTER));
                kept.write(vcpu);
                if answered {
                    state.answer = Some(match cause {
                        Cause::Guest(_) => Answer::Assign,
                        _ => Answer::Done,
                    });
                }
                return;
            }
            // At CPL 0 in the gate page: the landing has turned it away.
            Some(found) if found.0.cr3 == Some(vcpu.cr3()) && !(cpl == 0 && in_gate) => found,
            _ => {
                // SAFETY: Interrupts are off, and the CPU's vector registers are the guest's.
                unsafe { xsave::scrub(vcpu.xcr0()) };
                user.write(vcpu);
                kept.write(vcpu);
                put_at_pad(vcpu, Pad::Error(EPERM));
                self.count_refusal(vcpu);
                if answered {
                    state.answer = Some(Answer::Done);
                }
                return;
            }
        };

        // Whichever instruction of the server's led to CPL 0, the client is to stay at CPL 3.
        let (cause, entered) = match (cpl, rip == vcpu.lstar()) {
            (0, true) => (cause, Some(KernelEntry::Syscall)),
            (0, false) => (
                Cause::Guest(GuestCause::Instruction),
                Some(KernelEntry::Sysenter),
            ),
            _ => (cause, None),
        };
        state.carrier = None;
        if session.carriers().suspend(number, token) {
            if let Some(carrier) = session.carrier(number) {
                save(vcpu, &mut carrier.saved, entered);
                carrier.saved.fault_address = fault_address;
            }
        }
        // SAFETY: Interrupts are off, and the CPU's vector registers are the guest's.
        unsafe { xsave::scrub(vcpu.xcr0()) };
        if entered.is_some() || !vcpu.in_64_bit_code() {
            user.write(vcpu);
        }
        let pad = match cause {
            Cause::Guest(_) => Pad::Hopped(token),
            _ => Pad::Interrupted(token),
        };
        kept.write(vcpu);
        put_at_pad(vcpu, pad);
        let Some(state) = calls.vcpus.get_mut(index) else {
            return;
        };
        match cause {
            Cause::Guest(what) => {
                state.answer = Some(Answer::Hop {
                    session: session_number,
                    carrier: number,
                    token,
                    cause: hop_cause(what),
                });
            }
            Cause::Host => {
                self.count_stop(index, session_number, number);
                state.pending = Some(Pending {
                    session: session_number,
                    token,
                    rip: gate_address(gate::PAD),
                    asked: false,
                });
            }
            Cause::ClientEvent => {
                self.count_stop(index, session_number, number);
                state.answer = Some(Answer::Done);
            }
        }
    }

    fn traced(&self, vcpu: usize, session: usize, carrier: usize) -> tracepoint::Call {
        tracepoint::Call {
            pairing: self.id,
            vcpu,
            session,
            carrier,
        }
    }

    fn count_stop(&self, vcpu: usize, session: usize, carrier: usize) {
        Counters::add(&self.counters.stops);
        self.traced(vcpu, session, carrier).stop();
    }

    fn count_refusal(&self, vcpu: &Vcpu<'_>) {
        Counters::add(&self.counters.refusals);
        tracepoint::refuse(self.id, vcpu.index());
    }

    /// Whether the last exit of a vCPU is to be handled by [`Self::answer`].
    pub(crate) fn has_answer(&self, vcpu: &Vcpu<'_>) -> bool {
        let calls = self.calls.lock();
        let state = calls.vcpus.get(vcpu.index());
        state.is_some_and(|state| state.answer.is_some())
    }

    /// Whether there are exits that KVM must not see and that have yet to be answered. There are no
    /// new ones once the pairing has ended.
    pub(crate) fn answers_due(&self) -> bool {
        let calls = self.calls.lock();
        calls.vcpus.iter().any(|state| state.answer.is_some())
    }

    /// Handles an exit that is not for KVM to see. `false`: it is.
    pub(crate) fn answer(&self, vcpu: &Vcpu<'_>) -> bool {
        let mut calls = self.calls.lock();
        let state = calls.vcpus.get_mut(vcpu.index());
        let Some(answer) = state.and_then(|state| state.answer.take()) else {
            return false;
        };
        match answer {
            Answer::Done => (),
            Answer::Assign => {
                drop(calls);
                self.assign(vcpu);
            }
            Answer::Hop {
                session: number,
                carrier,
                token,
                cause,
            } => {
                if let Some(session) = calls.sessions.get_mut(number) {
                    // Unless that session has ended, and these are the numbers of a new one.
                    if session.carriers().look(token) == Resume::GoOn(carrier) {
                        self.hop(session, number, carrier, cause);
                    }
                }
            }
        }
        true
    }

    /// The client calls on a vCPU without a carrier.
    fn assign(&self, vcpu: &Vcpu<'_>) {
        if self.try_assign(vcpu, false) {
            return;
        }
        // Other vCPUs may have carriers that they do not use just now, which only they can know:
        // they are made to leave guest mode, where they are in no call unless it is stopped.
        self.add_recalls(1);
        tlb::evict_all([&[], &[]]);
        let found = self.try_assign(vcpu, true);
        self.add_recalls(-1);
        if !found {
            put_at_pad(vcpu, Pad::Error(EAGAIN));
        }
    }

    fn add_recalls(&self, change: isize) {
        let mut calls = self.calls.lock();
        calls.recalls = calls.recalls.saturating_add_signed(change);
    }

    /// `recalled`: no vCPU can use a carrier of the session that it had before.
    fn try_assign(&self, vcpu: &Vcpu<'_>, recalled: bool) -> bool {
        let index = vcpu.index();
        let mut calls = self.calls.lock();
        let calls = &mut *calls;
        let Some(number) = calls.session_of(vcpu.cr3()) else {
            put_at_pad(vcpu, Pad::Error(ENOENT));
            return true;
        };
        let previous = calls
            .vcpus
            .get_mut(index)
            .and_then(|state| state.carrier.take());
        if let Some((session, _)) = previous {
            if let Some(session) = calls.sessions.get_mut(session) {
                session.carriers().release(index);
            }
        }
        let Some(session) = calls.sessions.get_mut(number) else {
            return false;
        };
        let mut found = session.carriers().assign(index);
        if found.is_none() {
            let vcpus = &calls.vcpus;
            let idle =
                |other: usize| recalled || !vcpus.get(other).is_some_and(|state| state.in_guest);
            let taken = session.carriers().take_idle(idle);
            found = session.carriers().assign(index);
            if let Some(state) = taken.and_then(|other| calls.vcpus.get_mut(other)) {
                state.carrier = None;
            }
        }
        if let (Some(carrier), Some(state)) = (found, calls.vcpus.get_mut(index)) {
            state.carrier = Some((number, carrier));
        }
        found.is_some()
    }

    /// The server wants a carrier back. EBUSY: not yet. What is returned is to be dropped without a
    /// lock.
    pub(crate) fn take_back(&self, number: u64, index: usize) -> Result<CarrierCalls> {
        let mut calls = self.calls.lock();
        let calls = &mut *calls;
        let number = usize::try_from(number)?;
        let session = calls.sessions.get_mut(number).ok_or(EINVAL)?;
        let vcpus = &calls.vcpus;
        let idle = |vcpu: usize| !vcpus.get(vcpu).is_some_and(|state| state.in_guest);
        match session.carriers().retire(index, idle) {
            Retire::Done => {
                let carrier = session.carriers.get_mut(index);
                carrier.and_then(Option::take).ok_or(ENOENT)
            }
            Retire::Stays(vcpu) => {
                if let Some(state) = vcpu.and_then(|vcpu| calls.vcpus.get_mut(vcpu)) {
                    state.carrier = None;
                }
                Err(EBUSY)
            }
            Retire::Unknown => Err(ENOENT),
        }
    }

    /// Gives a stopped call's registers to the server VM, and wakes it.
    pub(crate) fn hop(
        &self,
        session: &mut SessionCalls,
        session_number: usize,
        number: usize,
        cause: u32,
    ) {
        if !session.carriers().hop(number) || session.server_gone {
            return;
        }
        let Some(carrier) = session.carrier(number) else {
            return;
        };
        carrier.send_home(cause);
        tracepoint::hop(self.id, session_number, number, cause);
        if let Some(event) = &self.event {
            event.signal();
        }
        if let Some(counter) = self.counters.hops.get(cause as usize) {
            Counters::add(counter);
        }
    }

    /// RESUME, of the client's user mode. `None`: RIP has been dealt with.
    pub(crate) fn resume(&self, vcpu: &Vcpu<'_>, token: Token) -> Option<Result<u64>> {
        let mut calls = self.calls.lock();
        let calls = &mut *calls;
        let Some(number) = calls.session_of(vcpu.cr3()) else {
            return Some(Err(ENOENT));
        };
        let Some(session) = calls.sessions.get_mut(number) else {
            return Some(Err(ENOENT));
        };
        match session.carriers().look(token) {
            Resume::Unknown => Some(Err(ENOENT)),
            Resume::Wait => Some(Err(EAGAIN)),
            Resume::Result(result) => {
                let _ = session.carriers().resume(token, vcpu.index());
                put_at_pad(vcpu, Pad::Result(result));
                Counters::add(&self.counters.delivered);
                None
            }
            Resume::GoOn(carrier) => {
                let xcr0 = vcpu.xcr0();
                let fits = |carrier: &mut CarrierCalls| carrier.saved.vectors.fits(xcr0);
                if !session.carrier(carrier).is_some_and(fits) {
                    return Some(Err(EOPNOTSUPP));
                }
                let Some(state) = calls.vcpus.get_mut(vcpu.index()) else {
                    return Some(Err(EOPNOTSUPP));
                };
                state.allowed = Allowed::Gate;
                state.user = Segments::read(vcpu.vmcs());
                state.pending = Some(Pending {
                    session: number,
                    token,
                    rip: vcpu.rip(),
                    asked: true,
                });
                None
            }
        }
    }
}

/// What a client finds at its pad.
#[derive(Clone, Copy)]
enum Pad {
    Interrupted(Token),
    Hopped(Token),
    Error(Error),
    Result(u64),
}

/// Puts the client at its pad, with nothing of the server's in its registers. RSP, FS base and GS
/// base are the client's already.
fn put_at_pad(vcpu: &Vcpu<'_>, pad: Pad) {
    let (status, value) = match pad {
        Pad::Interrupted(token) => (uapi::WORMHOLE_PAD_INTERRUPTED, token.0),
        Pad::Hopped(token) => (uapi::WORMHOLE_PAD_HOPPED, token.0),
        Pad::Error(error) => (
            uapi::WORMHOLE_PAD_ERROR,
            error.to_errno().unsigned_abs().into(),
        ),
        Pad::Result(result) => (uapi::WORMHOLE_PAD_RESULT, result),
    };
    vcpu.set_gprs(&[0; 16]);
    vcpu.set_gpr(Gpr::Rax, status.into());
    vcpu.set_gpr(Gpr::Rdi, value);
    vcpu.set_rip(gate_address(gate::PAD));
    vcpu.set_rflags(RFLAGS_AT_PAD);
}

/// How code of the server's got to CPL 0 in its view, where there is nothing to execute.
#[derive(Clone, Copy)]
enum KernelEntry {
    Syscall,
    Sysenter,
}

/// Puts a carrier's registers away.
fn save(vcpu: &Vcpu<'_>, saved: &mut Saved, entered: Option<KernelEntry>) {
    // Of a SYSCALL instruction: 0F 05.
    const SYSCALL_LENGTH: u64 = 2;
    saved.gprs = vcpu.gprs();
    if let Some(rsp) = saved.gprs.get_mut(Gpr::Rsp as usize) {
        *rsp = vcpu.rsp();
    }
    (saved.rip, saved.rflags) = match entered {
        // It has RIP in RCX and RFLAGS in R11, and is to be executed again.
        Some(KernelEntry::Syscall) => {
            let next = vcpu.gpr(Gpr::Rcx);
            (next.wrapping_sub(SYSCALL_LENGTH), vcpu.gpr(Gpr::R11))
        }
        // It keeps nothing: the server ends with a page fault at 0.
        Some(KernelEntry::Sysenter) => (0, RFLAGS_AT_PAD),
        None => (vcpu.rip(), vcpu.rflags()),
    };
    saved.fs_base = vcpu.fs_base();
    saved.gs_base = vcpu.gs_base();
    // SAFETY: Called with interrupts off before anything else has used the vector registers.
    unsafe { saved.vectors.save(vcpu.xcr0()) };
}

impl CarrierCalls {
    /// Writes the registers of a stopped call, and then its state, to the server VM.
    fn send_home(&self, cause: u32) {
        use core::mem::offset_of;
        use uapi::wormhole_carrier as Home;
        let saved = &self.saved;
        let word = |at: usize, value: u64| self.home.write(at, &value.to_le_bytes());
        let registers = offset_of!(Home, registers);
        for (number, value) in saved.gprs.iter().enumerate() {
            let _ = word(registers.saturating_add(number.saturating_mul(8)), *value);
        }
        let _ = word(offset_of!(Home, rip), saved.rip);
        let _ = word(offset_of!(Home, rflags), saved.rflags);
        let _ = word(offset_of!(Home, hopped_fs_base), saved.fs_base);
        let _ = word(offset_of!(Home, hopped_gs_base), saved.gs_base);
        let _ = word(offset_of!(Home, fault_address), saved.fault_address);
        let _ = self
            .home
            .write(offset_of!(Home, xsave), saved.vectors.bytes());
        let _ = self
            .home
            .write(offset_of!(Home, cause), &cause.to_le_bytes());
        let _ = self
            .home
            .publish(offset_of!(Home, state), uapi::WORMHOLE_CARRIER_HOPPED);
    }
}

fn hop_cause(cause: GuestCause) -> u32 {
    match cause {
        GuestCause::Exception => uapi::WORMHOLE_HOP_EXCEPTION,
        GuestCause::SystemCall => uapi::WORMHOLE_HOP_SYSCALL,
        GuestCause::Memory => uapi::WORMHOLE_HOP_MEMORY,
        GuestCause::Instruction | GuestCause::VmFunction => uapi::WORMHOLE_HOP_INSTRUCTION,
    }
}

/// Of a slot of the list: reserved, so that VMFUNC refuses it.
const INVALID: u64 = if cfg!(wormhole_break = "open") {
    0
} else {
    1 << gate::INVALID_BIT
};

/// Turns VM functions on in a VMCS. If the gate is open, loads of CR3 and of IDTR (and its like)
/// exit: the views rely on both.
fn arm(vmcs: &CurrentVmcs<'_>, state: &mut VcpuCalls, open: bool) {
    if state.armed {
        // An exit that KVM's fast path dealt with.
        disarm(vmcs, state);
    }
    let primary = vmcs.read::<vmcs::PrimaryControls>();
    let secondary = vmcs.read::<vmcs::SecondaryControls>();
    state.descriptor_exits = secondary & vmcs::DESCRIPTOR_TABLE_EXITING != 0;
    state.cr4_mask = vmcs.read::<vmcs::Cr4Mask>();
    state.armed = true;
    state.open = open;
    let (cr3, descriptors) = if open {
        (vmcs::CR3_LOAD_EXITING, vmcs::DESCRIPTOR_TABLE_EXITING)
    } else {
        (0, 0)
    };
    // SAFETY: The CPU has these controls, or there would be no `Switch`; `disarm` takes them away
    // before KVM looks. The list is a page of ours, which stays while a vCPU can be armed. With EPT
    // KVM has CR3-load exiting off for a guest that pages.
    unsafe {
        vmcs.write::<vmcs::EptpListAddress>(state.list.physical().address());
        vmcs.write::<vmcs::VmFunctionControls>(vmcs::EPTP_SWITCHING);
        vmcs.write::<vmcs::SecondaryControls>(secondary | vmcs::ENABLE_VM_FUNCTIONS | descriptors);
        vmcs.write::<vmcs::PrimaryControls>(primary | cr3);
    }
    if open {
        let shadow = vmcs.read::<vmcs::Cr4ReadShadow>();
        // SAFETY: As above. CET is off, or the gate would not be open; to set it is an exit now, which
        // KVM emulates.
        unsafe {
            vmcs.write::<vmcs::Cr4Mask>(state.cr4_mask | vmcs::CR4_CET);
            vmcs.write::<vmcs::Cr4ReadShadow>(shadow & !vmcs::CR4_CET);
        }
    }
}

/// The opposite of [`arm`].
fn disarm(vmcs: &CurrentVmcs<'_>, state: &VcpuCalls) {
    let mut ours = vmcs::ENABLE_VM_FUNCTIONS;
    if !state.descriptor_exits {
        ours |= vmcs::DESCRIPTOR_TABLE_EXITING;
    }
    let secondary = vmcs.read::<vmcs::SecondaryControls>();
    // SAFETY: As KVM had them.
    unsafe { vmcs.write::<vmcs::SecondaryControls>(secondary & !ours) };
    if state.open {
        let primary = vmcs.read::<vmcs::PrimaryControls>();
        // SAFETY: As above.
        unsafe {
            vmcs.write::<vmcs::PrimaryControls>(primary & !vmcs::CR3_LOAD_EXITING);
            vmcs.write::<vmcs::Cr4Mask>(state.cr4_mask);
        }
    }
}
