// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server's side of exitless calls.

use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use wormhole_uapi::{self as uapi, wormhole_carrier};

use crate::device::{Channel, Door, Hop, Registered, Role};
use crate::hop::{self, Place};
use crate::present::Present;
use crate::range::{self, Outcome, PAGE};
use crate::region::{self, Pages};
use crate::stay::Stay;
use crate::{cpu, maps, rseq, Entry, Error};

/// How long a carrier sleeps before it looks by itself: a host that is not told which interrupt is
/// the server VM's wakes nobody.
const NAP: Duration = Duration::from_secs(1);
/// A carrier that may leave tries to after so many naps in a row.
const NAPS: u32 = 10;
/// How long to wait for another thread that is quick.
const MOMENT: Duration = Duration::from_micros(50);
/// How much is registered around an access that hopped.
const AROUND: usize = 64 << 10;
/// How much of a carrier's stack is registered at first.
const STACK: usize = 256 << 10;
/// What has come of a carrier's start, or an error number.
const STARTING: i32 = 0;
const STARTED: i32 = -1;
/// Result of a call that the gate turned away.
const NO_RESULT: u64 = u64::MAX;

thread_local! {
    /// Why the call under way on this carrier has hopped, `WORMHOLE_HOP_*`, until that is taken.
    static HOPPED: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Why the call under way has hopped home, `WORMHOLE_HOP_*`, if it has since this was last asked.
/// For the function that clients call.
pub fn take_hop() -> Option<u32> {
    HOPPED.take()
}

/// What clients' calls may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u32);

impl Rights {
    pub const READ: Rights = Rights(uapi::WORMHOLE_MAP_READ);
    pub const READ_WRITE: Rights = Rights(uapi::WORMHOLE_MAP_READ | uapi::WORMHOLE_MAP_WRITE);
    pub const READ_EXECUTE: Rights = Rights(uapi::WORMHOLE_MAP_READ | uapi::WORMHOLE_MAP_EXECUTE);

    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

/// How a server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Calls that can be under way at once, at least: see [`Server::grow`]. More wait.
    pub carriers: u32,
    /// Bytes of stack of each.
    pub stack: usize,
    /// Also registers the constants and variables of the program and its libraries, besides their
    /// code.
    pub data: bool,
    /// Registers what calls hop for, so that the next one does not.
    pub on_demand: bool,
    /// Registers all memory of the process, the heap too, but only the pages that are in memory: at
    /// first, and again whenever a call that hopped for memory has ended. For large libraries, of
    /// which most is never read.
    pub present: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            carriers: 4,
            stack: 256 << 10,
            data: true,
            on_demand: true,
            present: false,
        }
    }
}

/// Serves exitless calls on a channel, until it is dropped.
pub struct Server {
    threads: Threads,
    channel: Arc<Channel>,
    hops: Arc<AtomicU64>,
    registered: Outcome,
    entry: Entry,
    options: Options,
}

/// A carrier's thread, which has the carrier's memory.
struct Thread {
    handle: JoinHandle<()>,
    stay: Arc<Stay>,
}

impl Thread {
    /// Whether it is there, and stays for some time.
    fn stays(&self) -> bool {
        loop {
            match self.stay.count() {
                Some(stays) => return stays,
                None => std::thread::sleep(MOMENT),
            }
        }
    }

    /// Waits for its end.
    fn join(self) {
        // It has no result, and must not panic.
        let _ = self.handle.join();
    }
}

/// The carriers' threads, by their numbers. A client can use their stacks and thread-local
/// variables until the session has ended, or the host has given the carrier back.
struct Threads {
    channel: Arc<Channel>,
    carriers: Vec<Option<Thread>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.channel.end();
        self.carriers.drain(..).flatten().for_each(Thread::join);
    }
}

impl Server {
    /// Opens the channel's session, registers this program's code, and starts carriers.
    ///
    /// When it is dropped, calls that are under way are finished first, for nobody: clients are told
    /// that the server is gone.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if calls must go by messages.
    pub fn new(channel: &Arc<Channel>, entry: Entry, options: Options) -> Result<Self, Error> {
        cpu::check()?;
        // SAFETY: only functions that a carrier goes on with return through the page.
        unsafe { region::install(Role::Server, &hop::gate_page()) }?;
        // Of a driver that is older than this request: without it a server cannot end well.
        if channel.end() == Err(Errno::NOTTY) {
            return Err(Error::Unsupported("the driver does not know them"));
        }
        channel.serve(entry).map_err(|errno| match errno {
            Errno::OPNOTSUPP => Error::Unsupported("no VMFUNC"),
            errno => Error::system("cannot open the session", errno),
        })?;
        let mut server = Server {
            threads: Threads {
                channel: channel.clone(),
                carriers: Vec::new(),
            },
            channel: channel.clone(),
            hops: Arc::default(),
            registered: Outcome::default(),
            entry,
            options,
        };
        server.registered = match options.present {
            true => register_present(channel.as_ref())
                .map_err(|errno| Error::system("cannot register the program", errno)),
            false => server.register_program(options.data),
        }?;
        for _ in 0..options.carriers.max(1) {
            server.start()?;
        }
        Ok(server)
    }

    /// Sees to it that so many calls can be under way at once, if the system and
    /// `WORMHOLE_MAX_CARRIERS` allow it. Gives how many can. Those beyond [`Options::carriers`] go
    /// when they were not needed for some time, 10 seconds at least.
    pub fn grow(&mut self, carriers: u32) -> u32 {
        let mut there = self.carriers();
        while there < carriers && self.start().is_ok() {
            there += 1;
        }
        there
    }

    /// How many there are, which stay for some time.
    fn carriers(&mut self) -> u32 {
        let mut there = 0;
        for carrier in &mut self.threads.carriers {
            match carrier.take_if(|thread| !thread.stays()) {
                Some(left) => left.join(),
                None => there += u32::from(carrier.is_some()),
            }
        }
        there
    }

    /// Lets calls use memory, in whole pages. Pages that are refused are left out: calls that use
    /// them hop. Gives the bytes that were registered.
    ///
    /// The other VM's calls can do to it what `rights` say, at any time: what is registered must be
    /// memory that survives that.
    pub fn register(&self, memory: Range<usize>, rights: Rights) -> Result<usize, Error> {
        register(self.channel.as_ref(), memory, rights)
            .map(|outcome| outcome.registered)
            .map_err(|errno| Error::system("cannot register memory", errno))
    }

    /// Calls that hopped home so far.
    pub fn hops(&self) -> u64 {
        self.hops.load(Ordering::Relaxed)
    }

    /// Bytes of this program that are registered, and bytes that were refused.
    pub fn program(&self) -> (usize, usize) {
        (self.registered.registered, self.registered.skipped)
    }

    fn register_program(&self, data: bool) -> Result<Outcome, Error> {
        // Collected first: what is registered while the list is read may change it.
        let mut ranges = Vec::new();
        maps::each(|mapping| {
            let wanted = mapping.file && own(&mapping);
            if let (Some(rights), true) = (mapping.rights(), wanted) {
                if data || rights == Rights::READ_EXECUTE {
                    ranges.push((mapping.range, rights));
                }
            }
            ControlFlow::Continue(())
        })
        .map_err(|errno| Error::system("cannot read /proc/self/maps", errno))?;
        let mut total = Outcome::default();
        for (range, rights) in ranges {
            let outcome = register(self.channel.as_ref(), range, rights)
                .map_err(|errno| Error::system("cannot register the program", errno))?;
            total.registered += outcome.registered;
            total.skipped += outcome.skipped;
        }
        Ok(total)
    }

    /// Starts one more carrier.
    fn start(&mut self) -> Result<(), Error> {
        let (entry, options) = (self.entry, self.options);
        let carriers = &mut self.threads.carriers;
        let free = carriers.iter().position(Option::is_none);
        let place = free.unwrap_or(carriers.len());
        // They are few.
        let index = place as u32;
        let what = |errno| Error::system("cannot make a carrier", errno);
        if index >= uapi::WORMHOLE_MAX_CARRIERS {
            return Err(what(Errno::INVAL));
        }
        let carrier = Arc::new(Carrier::new(index, entry, options.stack).map_err(what)?);
        let stack = carrier.stack_range();
        let top = stack.start.max(stack.end.saturating_sub(STACK))..stack.end;
        register(self.channel.as_ref(), top, Rights::READ_WRITE).map_err(what)?;

        let started = Arc::new(AtomicI32::new(STARTING));
        let mut park = Park {
            door: self.channel.clone(),
            carrier,
            stay: Arc::new(Stay::new()),
            may_leave: index >= options.carriers.max(1),
            hops: self.hops.clone(),
            on_demand: options.on_demand,
            present: options.present,
            xcr0: cpu::xcr0(),
        };
        let stay = park.stay.clone();
        let channel = self.channel.clone();
        let outcome = started.clone();
        let handle = std::thread::Builder::new()
            .name(format!("carrier {index}"))
            .spawn(move || {
                // From its middle on this thread's thread-local variables are the calls'.
                let given = give(&channel, &park.carrier);
                let errno = given.map_or_else(Errno::raw_os_error, |()| STARTED);
                outcome.store(errno, Ordering::Release);
                if given.is_ok() {
                    HOPPED.with(|cause| park.run(cause));
                }
            })
            .map_err(|error| Error::System {
                what: "cannot make a carrier".into(),
                source: error,
            })?;
        let thread = Thread { handle, stay };
        loop {
            match started.load(Ordering::Acquire) {
                STARTING => std::thread::sleep(MOMENT),
                STARTED => break,
                errno => {
                    // It ends by itself, and is none.
                    thread.join();
                    return Err(what(Errno::from_raw_os_error(errno)));
                }
            }
        }
        match self.threads.carriers.get_mut(place) {
            Some(carrier) => *carrier = Some(thread),
            None => self.threads.carriers.push(Some(thread)),
        }
        Ok(())
    }
}

/// Gives this thread's carrier to the host.
fn give(channel: &Channel, carrier: &Carrier) -> Result<(), Errno> {
    block_signals();
    rseq::leave()?;
    let fs_base = cpu::fs_base();
    // The stack protector's word and the thread-local variables nearest to it. More is registered
    // when it is needed.
    let own = fs_base as usize / PAGE * PAGE;
    register(channel, own..own + PAGE, Rights::READ_WRITE)?;
    carrier.set_fs_base(fs_base);
    // SAFETY: its thread keeps the page until the session has ended, or it was given back.
    unsafe { channel.give_carrier(carrier.index, carrier.context.start().addr()) }
}

/// A handler would use the thread-local variables of a call that another CPU executes.
fn block_signals() {
    // SAFETY: a set of signals, filled before it is used.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

fn register(door: &dyn Door, memory: Range<usize>, rights: Rights) -> Result<Outcome, Errno> {
    range::register(range::pages(memory), |address, length| {
        door.register(address, length, rights)
    })
}

/// Memory of a carrier: its context and its stack.
struct Carrier {
    index: u32,
    entry: u64,
    context: Pages,
    stack: Pages,
}

impl Carrier {
    fn new(index: u32, entry: Entry, stack: usize) -> Result<Self, Errno> {
        let carrier = Carrier {
            index,
            entry: entry as usize as u64,
            context: Pages::new(PAGE, 0)?,
            stack: Pages::new(stack.max(4 * PAGE), PAGE)?,
        };
        // SAFETY: nobody else has the context yet.
        let context = unsafe { &mut *carrier.context().as_ptr() };
        context.stack = (carrier.stack_range().end - hop::ABOVE_STACK) as u64;
        Ok(carrier)
    }

    fn context(&self) -> NonNull<wormhole_carrier> {
        NonNull::new(self.context.start().cast()).unwrap_or(NonNull::dangling())
    }

    fn stack_range(&self) -> Range<usize> {
        let start = self.stack.start().addr();
        start..start + self.stack.len()
    }

    fn set_fs_base(&self, fs_base: u64) {
        // SAFETY: the context has not been given to the host yet.
        unsafe { (*self.context().as_ptr()).fs_base = fs_base };
    }

    /// `wormhole_carrier.state`
    fn state(&self) -> &AtomicU32 {
        // SAFETY: aligned, and alive as long as this object; this side accesses it as an atomic
        // only.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.context().as_ptr()).state) }
    }
}

/// A carrier's thread.
///
/// While it is parked its thread-local variables belong to the calls, which use them on other CPUs.
/// And while a call has hopped that call may be anywhere, in malloc for instance. So nothing here
/// uses a thread-local variable, `errno` for one, or allocates.
struct Park<D: Door> {
    door: Arc<D>,
    carrier: Arc<Carrier>,
    stay: Arc<Stay>,
    may_leave: bool,
    hops: Arc<AtomicU64>,
    on_demand: bool,
    present: bool,
    xcr0: u64,
}

impl<D: Door> Park<D> {
    /// Until the session has ended, which it sees to when the client goes, or until nobody has
    /// wanted this carrier for some time. Why calls hopped it leaves in `cause`, for them.
    fn run(&mut self, cause: &Cell<Option<u32>>) {
        let mut ended = false;
        let mut naps = 0;
        loop {
            if self.carrier.state().load(Ordering::Acquire) == uapi::WORMHOLE_CARRIER_HOPPED {
                naps = 0;
                let result = self.hopped(cause);
                if !ended && self.door.finish(self.carrier.index, result).is_err() {
                    ended = self.end();
                }
                continue;
            }
            if ended {
                return;
            }
            match self.door.await_hop(self.carrier.index, NAP) {
                Err(Errno::TIMEDOUT) if self.may_leave => {
                    naps += 1;
                    if naps % NAPS == 0 && self.leave() {
                        return;
                    }
                }
                Ok(Hop::Home) | Err(Errno::TIMEDOUT | Errno::INTR) => {}
                Ok(Hop::ClientGone) | Err(_) => ended = self.end(),
            }
        }
    }

    /// True if no call uses this carrier any more, nor will one.
    fn leave(&self) -> bool {
        let retire = || self.door.retire(self.carrier.index).is_ok();
        self.stay.try_leave(retire)
    }

    /// Ends the session. What has hopped home by then is the last; from then on this thread can end.
    fn end(&self) -> bool {
        // It may have ended before; and if the driver is gone, so is the session.
        self.door.end() != Err(Errno::INTR)
    }

    /// Goes on with the call that has hopped; gives its result.
    fn hopped(&mut self, cause: &Cell<Option<u32>>) -> u64 {
        self.hops.fetch_add(1, Ordering::Relaxed);
        // SAFETY: while the state is HOPPED, and until RETURN, the host leaves the context to this
        // thread.
        let context = unsafe { self.carrier.context().as_mut() };
        let missing = self.on_demand
            && context.cause == uapi::WORMHOLE_HOP_MEMORY
            && register_around(self.door.as_ref(), context.fault_address as usize);
        match hop::place(context) {
            Place::Leaving(result) => {
                self.parked();
                return result;
            }
            Place::Trap => {
                self.parked();
                return NO_RESULT;
            }
            Place::Landing(arguments) => {
                hop::begin(context, self.carrier.entry, arguments);
                // SAFETY: the call has not begun, so its stack is empty.
                unsafe { hop::push_return(context) };
            }
            Place::Function => {}
        }
        hop::adapt(context, self.xcr0);
        cause.set(Some(context.cause));
        self.parked();
        // SAFETY: adapted; the host put away the function's registers, or `begin` made new ones.
        // The stack is the carrier's, which is this thread's while the call has hopped; it leaves
        // ABOVE_STACK bytes. `Server::new` has put the gate page in place.
        let result = unsafe { hop::go_on(self.carrier.context().as_ptr()) };
        if self.present && missing {
            // What it has used from then on. What fails here hops again.
            let _ = register_present(self.door.as_ref());
        }
        result
    }

    /// Before RETURN, as the host wants it: the next hop can come right after that.
    fn parked(&self) {
        let state = self.carrier.state();
        state.store(uapi::WORMHOLE_CARRIER_PARKED, Ordering::Release);
    }
}

/// Whether a mapping may be registered without being asked for.
fn own(mapping: &maps::Mapping) -> bool {
    let region = uapi::WORMHOLE_GATE_REGION as usize;
    let in_region = (region..region + (1 << 30)).contains(&mapping.range.start);
    !mapping.special && !mapping.shared && !in_region
}

/// Registers what is in memory. Allocates nothing.
fn register_present(door: &dyn Door) -> Result<Outcome, Errno> {
    let present = Present::open()?;
    let mut total = Outcome::default();
    let mut failed = None;
    let mut one = |mapping: maps::Mapping| {
        let Some(rights) = mapping.rights().filter(|_| own(&mapping)) else {
            return Ok(());
        };
        let mut outcome = Ok(());
        present.each(mapping.range, |run| match register(door, run, rights) {
            Ok(now) => {
                total.registered += now.registered;
                total.skipped += now.skipped;
                ControlFlow::Continue(())
            }
            Err(errno) => {
                outcome = Err(errno);
                ControlFlow::Break(())
            }
        })?;
        outcome
    };
    maps::each(|mapping| match one(mapping) {
        Ok(()) => ControlFlow::Continue(()),
        Err(errno) => {
            failed = Some(errno);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(total), Err)
}

/// Registers what a call hopped for, and its neighbourhood, as far as that is one mapping. False
/// if that is nothing that could be.
fn register_around(door: &dyn Door, address: usize) -> bool {
    // What fails here hops again.
    let Ok(Some(mapping)) = maps::find(address) else {
        return false;
    };
    let Some(rights) = mapping.rights().filter(|_| !mapping.special) else {
        return false;
    };
    let page = address / PAGE * PAGE;
    let around = page / AROUND * AROUND;
    let around = around.max(mapping.range.start)..(around + AROUND).min(mapping.range.end);
    let near = |address, length| match door.register(address, length, rights) {
        // A page that is there already may end a run early; the driver passes over it.
        Registered { done: 0, result } if result.is_err() => Registered {
            done: 0,
            result: Err(Errno::PERM),
        },
        other => other,
    };
    // The page itself first, should the rest fail.
    let _ = range::register(page..page + PAGE, near);
    let _ = range::register(around, near);
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::Mutex;

    use super::*;

    /// The driver, of which a test plays the host.
    #[derive(Default)]
    struct Fake {
        client_gone: AtomicBool,
        ended: AtomicBool,
        finished: Mutex<Vec<(u32, u64)>>,
        registered: Mutex<Vec<(usize, usize, Rights)>>,
        naps: AtomicU32,
        /// What becomes of a request to give the carrier back, the last one first.
        retire: Mutex<Vec<Result<(), Errno>>>,
    }

    impl Door for Fake {
        fn await_hop(&self, _: u32, _: Duration) -> Result<Hop, Errno> {
            std::thread::yield_now();
            self.naps.fetch_add(1, Ordering::SeqCst);
            match self.client_gone.load(Ordering::SeqCst) {
                true => Ok(Hop::ClientGone),
                false => Err(Errno::TIMEDOUT),
            }
        }

        fn end(&self) -> Result<(), Errno> {
            match self.ended.swap(true, Ordering::SeqCst) {
                true => Err(Errno::PIPE),
                false => Ok(()),
            }
        }

        fn finish(&self, index: u32, result: u64) -> Result<(), Errno> {
            self.finished.lock().unwrap().push((index, result));
            Ok(())
        }

        fn register(&self, address: usize, length: usize, rights: Rights) -> Registered {
            let registration = (address, length, rights);
            self.registered.lock().unwrap().push(registration);
            Registered {
                done: length,
                result: Ok(()),
            }
        }

        fn retire(&self, index: u32) -> Result<(), Errno> {
            assert_eq!(index, 3);
            self.retire.lock().unwrap().pop().expect("asked too often")
        }
    }

    extern "C" fn six(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> u64 {
        ((((a * 10 + b) * 10 + c) * 10 + d) * 10 + e) * 10 + f
    }

    // A function that was stopped where all its registers are as the test set them: it adds their
    // weighted sum up, in RAX, and returns.
    std::arch::global_asm!(
        ".pushsection .text.wormhole_delegate_test, \"ax\", @progbits",
        ".globl wormhole_test_stopped",
        "wormhole_test_stopped:",
        // Flags first: CF is set, DF too.
        "   lea rax, [rax + 0]",
        "   jnc 2f",
        "   pushfq",
        "   pop qword ptr [rsp - 24]",
        "   mov [rsp - 32], rcx",
        "   mov rcx, [rsp - 24]",
        "   test ecx, 0x400",
        "   mov rcx, [rsp - 32]",
        "   jz 2f",
        "   cld",
        "   .irp register, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15",
        "   imul rax, rax, 3",
        "   add rax, \\register",
        "   .endr",
        "   imul rax, rax, 3",
        "   movq rcx, xmm7",
        "   add rax, rcx",
        "   imul rax, rax, 3",
        "   sub rsp, 8",
        "   stmxcsr [rsp]",
        "   mov ecx, [rsp]",
        "   add rax, rcx",
        "   imul rax, rax, 3",
        "   fnstcw [rsp]",
        "   movzx ecx, word ptr [rsp]",
        "   add rax, rcx",
        "   imul rax, rax, 3",
        "   rdgsbase rcx",
        "   add rax, rcx",
        "   add rsp, 8",
        // What it must keep it does not.
        "   mov ebx, 1",
        "   mov ebp, 2",
        "   mov r12d, 3",
        "   mov r13d, 4",
        "   mov r14d, 5",
        "   mov r15d, 6",
        "   ret",
        "2: ud2",
        ".popsection",
    );

    extern "C" {
        static wormhole_test_stopped: u8;
    }

    struct Test {
        fake: Arc<Fake>,
        park: Park<Fake>,
    }

    impl Test {
        fn new() -> Self {
            // SAFETY: as in `Server::new`.
            unsafe { region::install(Role::Server, &hop::gate_page()) }.unwrap();
            let fake = Arc::new(Fake::default());
            let carrier = Arc::new(Carrier::new(3, six, 16 << 10).unwrap());
            let park = Park {
                door: fake.clone(),
                carrier,
                stay: Arc::new(Stay::new()),
                may_leave: false,
                hops: Arc::default(),
                on_demand: true,
                present: false,
                xcr0: cpu::xcr0(),
            };
            Test { fake, park }
        }

        fn context(&mut self) -> &mut wormhole_carrier {
            // SAFETY: a test's own, while the carrier's thread does not run.
            unsafe { self.park.carrier.context().as_mut() }
        }

        fn hop(&mut self) -> u64 {
            let state = self.park.carrier.state();
            state.store(uapi::WORMHOLE_CARRIER_HOPPED, Ordering::Release);
            let result = HOPPED.with(|cause| self.park.hopped(cause));
            assert_eq!(
                self.park.carrier.state().load(Ordering::Relaxed),
                uapi::WORMHOLE_CARRIER_PARKED
            );
            result
        }
    }

    /// Fills a context with registers by hand, in the middle of a function.
    fn stop(context: &mut wormhole_carrier) -> u64 {
        hop::begin(context, 0, [0; 6]);
        // SAFETY: the stack is empty.
        unsafe { hop::push_return(context) };
        context.rip = (&raw const wormhole_test_stopped) as u64;
        let stack = context.registers[4];
        context.registers = std::array::from_fn(|number| 0x1111 * (number as u64 + 1));
        context.registers[4] = stack;
        // CF, DF; and TF, which must not arrive.
        context.rflags = 2 | 1 | (1 << 10) | (1 << 8);
        context.hopped_gs_base = 0x5555_0000;
        let (mxcsr, x87, xmm7) = (0x3f80u32, 0x077fu16, 0x7777_7777u64);
        context.xsave[0..2].copy_from_slice(&x87.to_le_bytes());
        context.xsave[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        context.xsave[160 + 7 * 16..][..8].copy_from_slice(&xmm7.to_le_bytes());
        // x87 and SSE, and PKRU, which this CPU may not have.
        context.xsave[512..520].copy_from_slice(&(3u64 | (1 << 9)).to_le_bytes());
        let mut sum = context.registers[0];
        for number in (1..16).filter(|number| *number != 4) {
            // The order in which the function adds them up.
            sum = sum.wrapping_mul(3).wrapping_add(context.registers[number]);
        }
        for value in [xmm7, mxcsr.into(), x87.into(), context.hopped_gs_base] {
            sum = sum.wrapping_mul(3).wrapping_add(value);
        }
        sum
    }

    #[test]
    fn registers_of_a_hop_arrive_and_its_result_comes_back() {
        let mut test = Test::new();
        for _ in 0..3 {
            let expected = stop(test.context());
            let gs_base: u64;
            let result = test.hop();
            // SAFETY: reads a register.
            unsafe { std::arch::asm!("rdgsbase {}", out(reg) gs_base) };
            assert_eq!((result, gs_base), (expected, 0));
            // Rounding is as before: not down.
            let (one, three) = std::hint::black_box((-1.0f64, 3.0f64));
            assert_eq!(one / three, -1.0 / 3.0);
        }
    }

    #[test]
    fn a_hop_on_the_way_in_starts_over() {
        let mut test = Test::new();
        let context = test.context();
        context.rip = uapi::WORMHOLE_GATE_ADDRESS + 0x233;
        let registers = &mut context.registers;
        (registers[7], registers[6], registers[2]) = (1, 2, 3);
        (registers[10], registers[8], registers[9]) = (4, 5, 6);
        assert_eq!(test.hop(), 123_456);
        test.context().rip = uapi::WORMHOLE_GATE_ADDRESS + 0x266;
        let registers = &mut test.context().registers;
        (registers[7], registers[6], registers[11]) = (6, 5, 4);
        (registers[10], registers[8], registers[9]) = (3, 2, 1);
        assert_eq!(test.hop(), 654_321);
    }

    #[test]
    fn a_hop_on_the_way_out_is_a_result() {
        let mut test = Test::new();
        test.context().rip = uapi::WORMHOLE_GATE_ADDRESS + 0x28f;
        test.context().registers[0] = 42;
        assert_eq!(test.hop(), 42);
        test.context().rip = uapi::WORMHOLE_GATE_ADDRESS + 0x2ec;
        test.context().registers[7] = 43;
        assert_eq!(test.hop(), 43);
        test.context().rip = uapi::WORMHOLE_GATE_ADDRESS + 0x291;
        assert_eq!(test.hop(), NO_RESULT);
    }

    #[test]
    fn memory_that_was_missing_is_registered() {
        let mut test = Test::new();
        let data = Pages::new(4 * AROUND, 0).unwrap();
        let address = data.start().addr() + AROUND + 5 * PAGE + 8;
        stop(test.context());
        test.context().cause = uapi::WORMHOLE_HOP_MEMORY;
        test.context().fault_address = address as u64;
        test.hop();
        let registered = std::mem::take(&mut *test.fake.registered.lock().unwrap());
        assert_eq!(registered[0].0, address / PAGE * PAGE);
        assert!(registered
            .iter()
            .all(|(_, _, rights)| *rights == Rights::READ_WRITE));
        let (around, length, _) = registered[1];
        assert!((around..around + length).contains(&address) && length == AROUND);
        // Nothing is there: the call is left to fail by itself.
        stop(test.context());
        test.context().fault_address = 8;
        test.hop();
        assert_eq!(*test.fake.registered.lock().unwrap(), []);
    }

    #[test]
    fn a_call_learns_why_it_has_hopped() {
        let mut test = Test::new();
        assert_eq!(take_hop(), None);
        stop(test.context());
        test.context().cause = uapi::WORMHOLE_HOP_INSTRUCTION;
        test.hop();
        assert_eq!(take_hop(), Some(uapi::WORMHOLE_HOP_INSTRUCTION));
        assert_eq!(take_hop(), None);
    }

    /// What the rest of the call has touched is registered with it.
    #[test]
    fn all_that_is_in_memory_is_registered_after_a_hop() {
        let mut test = Test::new();
        test.park.present = true;
        let data = Pages::new(4 * PAGE, 0).unwrap();
        // SAFETY: within the memory, which is this test's.
        unsafe { data.start().add(2 * PAGE).write(1) };
        let touched = data.start().addr() + 2 * PAGE;
        let registered = |test: &Test, address: usize| {
            let all = test.fake.registered.lock().unwrap();
            let of = |at: &&(usize, usize, Rights)| (at.0..at.0 + at.1).contains(&address);
            let found = all.iter().find(of).map(|at| at.2);
            found
        };
        stop(test.context());
        test.context().cause = uapi::WORMHOLE_HOP_SYSCALL;
        test.hop();
        assert_eq!(registered(&test, touched), None);
        stop(test.context());
        test.context().cause = uapi::WORMHOLE_HOP_MEMORY;
        test.context().fault_address = 8;
        test.hop();
        assert_eq!(registered(&test, touched), None);
        stop(test.context());
        test.context().cause = uapi::WORMHOLE_HOP_MEMORY;
        test.context().fault_address = test.park.carrier.stack_range().start as u64;
        test.hop();
        assert_eq!(registered(&test, touched), Some(Rights::READ_WRITE));
        let code = six as Entry as usize;
        assert_eq!(registered(&test, code), Some(Rights::READ_EXECUTE));
        let gate = uapi::WORMHOLE_GATE_ADDRESS as usize;
        assert_eq!(registered(&test, gate), None);
    }

    #[test]
    fn the_thread_returns_what_hopped() {
        let Test { fake, mut park } = Test::new();
        let carrier = park.carrier.clone();
        let thread = std::thread::spawn(move || park.run(&Cell::new(None)));
        for round in 1..=50u64 {
            // SAFETY: the thread leaves the context alone while the state is not HOPPED, and it
            // has returned the call before it is.
            let context = unsafe { &mut *carrier.context().as_ptr() };
            hop::begin(
                context,
                six as Entry as usize as u64,
                [0, 0, 0, 0, 0, round],
            );
            // SAFETY: no call is under way.
            unsafe { hop::push_return(context) };
            let state = carrier.state();
            state.store(uapi::WORMHOLE_CARRIER_HOPPED, Ordering::Release);
            while fake.finished.lock().unwrap().len() < round as usize {
                std::thread::yield_now();
            }
        }
        assert!(!fake.ended.load(Ordering::SeqCst));
        fake.client_gone.store(true, Ordering::SeqCst);
        thread.join().unwrap();
        assert!(fake.ended.load(Ordering::SeqCst), "before its thread");
        let expected: Vec<_> = (1..=50).map(|round| (3, round)).collect();
        assert_eq!(*fake.finished.lock().unwrap(), expected);
    }

    /// A call that hops home when the session ends is finished, and its result is nobody's.
    #[test]
    fn the_last_call_is_finished_after_the_end() {
        static LAST: AtomicU64 = AtomicU64::new(0);
        extern "C" fn last(a: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
            LAST.store(a, Ordering::SeqCst);
            a
        }
        struct Ending(Arc<Carrier>);
        impl Door for Ending {
            fn await_hop(&self, _: u32, _: Duration) -> Result<Hop, Errno> {
                Ok(Hop::ClientGone)
            }
            fn end(&self) -> Result<(), Errno> {
                // SAFETY: the thread is in here, and no call is under way.
                let context = unsafe { self.0.context().as_mut() };
                hop::begin(context, last as Entry as usize as u64, [7, 0, 0, 0, 0, 0]);
                // SAFETY: as above.
                unsafe { hop::push_return(context) };
                let state = self.0.state();
                state.store(uapi::WORMHOLE_CARRIER_HOPPED, Ordering::Release);
                Ok(())
            }
            fn finish(&self, _: u32, _: u64) -> Result<(), Errno> {
                panic!("the session has ended");
            }
            fn register(&self, _: usize, _: usize, _: Rights) -> Registered {
                panic!("the session has ended");
            }
            fn retire(&self, _: u32) -> Result<(), Errno> {
                panic!("the session has ended");
            }
        }
        let Test { park, .. } = Test::new();
        let mut park = Park {
            door: Arc::new(Ending(park.carrier.clone())),
            carrier: park.carrier,
            stay: park.stay,
            may_leave: false,
            hops: park.hops,
            on_demand: true,
            present: false,
            xcr0: park.xcr0,
        };
        HOPPED.with(|cause| park.run(cause));
        assert_eq!(LAST.load(Ordering::SeqCst), 7);
        assert_eq!(park.hops.load(Ordering::Relaxed), 1);
    }

    /// Naps, the tries to leave that there are while they last, and what the host says to them.
    #[test]
    fn a_carrier_leaves_when_the_host_lets_it() {
        let Test { fake, mut park } = Test::new();
        (park.may_leave, park.stay) = (true, Arc::new(Stay::new()));
        let memory = Arc::downgrade(&park.carrier);
        let stay = park.stay.clone();
        *fake.retire.lock().unwrap() = vec![Ok(()), Err(Errno::BUSY), Err(Errno::BUSY)];
        std::thread::spawn(move || park.run(&Cell::new(None)))
            .join()
            .unwrap();
        // It was counted on when it was made, and so did not ask at first.
        assert_eq!(fake.naps.load(Ordering::SeqCst), 4 * NAPS);
        assert_eq!(stay.count(), Some(false));
        assert!(memory.upgrade().is_none(), "the memory goes with it");
        assert!(!fake.ended.load(Ordering::SeqCst));
    }

    #[test]
    fn the_first_carriers_stay() {
        let Test { fake, mut park } = Test::new();
        let stay = park.stay.clone();
        let thread = std::thread::spawn(move || park.run(&Cell::new(None)));
        while fake.naps.load(Ordering::SeqCst) < 3 * NAPS {
            std::thread::yield_now();
        }
        assert_eq!(stay.count(), Some(true));
        fake.client_gone.store(true, Ordering::SeqCst);
        thread.join().unwrap();
    }
}
