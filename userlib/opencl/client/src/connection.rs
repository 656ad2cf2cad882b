// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection to the server: one for the process, made at the first call.
//! Threads use it at the same time.
//!
//! A connection that is lost stays lost: what the program holds lived in a
//! server process that is gone. Every later call fails at once.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustc_hash::FxHashMap;
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{CL_DEVICE_NOT_AVAILABLE, CL_OUT_OF_RESOURCES};
use wormhole_opencl_protocol::frame::{done, ReplyFrame, Request, ALONE, PRINTED};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::pitched::Pitched;
use wormhole_opencl_protocol::types::cl_int;
use wormhole_opencl_protocol::wire::{Malformed, Writer};
use wormhole_transport::{Config, Error};
use wormhole_vmfunc::Counts;

use crate::api;
use crate::area::{Area, Part, Use};
use crate::log::{self, Level};
use crate::{stats, threads};

/// Status of every call while the server cannot be reached.
const LOST: cl_int = CL_DEVICE_NOT_AVAILABLE;

/// Set in the environment of a server, whose own OpenCL must not lead back here.
const SERVER_MARK: &str = "WORMHOLE_SERVER";

/// Bytes of reads that may land with one reply; far below the longest message.
const MAX_LANDING: usize = 64 << 20;

struct Connection {
    client: wormhole_vmfunc::Connection,
    /// Memory that the server has, too.
    area: Option<Area>,
    reads: Mutex<Reads>,
    /// Number of the last transfer that was posted, 0 before the first. Changed under `reads`.
    last: AtomicU64,
    /// A call has ended, for those who wait for the data that came with it.
    ended: Condvar,
    /// Calls under way, whose answers may bring the data of reads.
    calls: AtomicUsize,
    /// Threads that wait for data which other threads' answers bring.
    waiting: AtomicUsize,
}

/// Transfers that the server tells of when they have completed.
#[derive(Default)]
struct Reads {
    /// Those that it has not told of yet, by number.
    waiting: FxHashMap<u64, Landing>,
    /// So many that were handed over first have landed,
    landed: u64,
    /// and these of those after them: where each answer's begin and end.
    apart: Vec<(u64, u64)>,
}

/// A call under way.
struct Call<'a>(&'a Connection);

impl<'a> Call<'a> {
    fn begin(connection: &'a Connection) -> Self {
        connection.calls.fetch_add(1, Ordering::SeqCst);
        Call(connection)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            // Who waits has looked before, or looks after this.
            drop(self.0.reads());
            self.0.ended.notify_all();
        }
    }
}

/// What the server uses until it says that it does no longer: a transfer has completed, or a buffer is
/// destroyed.
pub(crate) struct Landing {
    queue: Handle,
    /// Where the data of a read goes.
    target: Option<Target>,
    /// Where the server takes or puts the data; else a read's comes with a reply.
    part: Option<Arc<Part>>,
}

/// # Invariants
/// `len` bytes at `pointer` are valid for writing until the read has completed
/// or [`cancel`] was called for them.
struct Target {
    pointer: usize,
    len: usize,
    /// Of a box: what it is like at `pointer`. Its rows alone are valid.
    pitched: Option<Pitched>,
}

impl Target {
    fn end(&self) -> usize {
        self.pointer + self.pitched.map_or(self.len, |pitched| pitched.span())
    }
}

impl Landing {
    /// Of a read to `pointer`, by way of `part` if there is one.
    ///
    /// # Safety
    /// `len` bytes there, as many as the part has, are valid for writing until the read has
    /// completed or [`cancel`] was called for them.
    pub(crate) unsafe fn read(
        pointer: *mut u8,
        len: usize,
        part: Option<Arc<Part>>,
        queue: Handle,
    ) -> Self {
        let pointer = pointer as usize;
        Landing {
            queue,
            target: Some(Target {
                pointer,
                len,
                pitched: None,
            }),
            part,
        }
    }

    /// Of a read of a box, whose packed bytes come with a reply.
    ///
    /// # Safety
    /// As for [`read`](Self::read), for the box's rows at `pointer`.
    pub(crate) unsafe fn pitched(pointer: *mut u8, pitched: Pitched, queue: Handle) -> Self {
        let target = Target {
            pointer: pointer as usize,
            len: pitched.len(),
            pitched: Some(pitched),
        };
        Landing {
            queue,
            target: Some(target),
            part: None,
        }
    }

    /// Of what needs `part` alone: a write from there, say.
    pub(crate) fn part(part: Arc<Part>, queue: Handle) -> Self {
        Landing {
            queue,
            target: None,
            part: Some(part),
        }
    }

    /// The transfer has completed, with this data in the reply.
    fn land(self, data: &[u8]) -> Result<(), Malformed> {
        let expected = match (&self.target, &self.part) {
            (Some(target), None) => target.len,
            _ => 0,
        };
        if data.len() != expected {
            return Err(Malformed::Contradiction("a read of another length"));
        }
        if let Some(target) = &self.target {
            let pointer = target.pointer as *mut u8;
            // SAFETY: by the invariants the memory is valid: the read has not completed for
            // the program before this call returns. The data is as long as that, or a part.
            unsafe {
                match (&self.part, target.pitched) {
                    (Some(part), _) => part.copy_to(pointer),
                    (None, Some(pitched)) => pitched.put(data, pointer),
                    (None, None) => {
                        std::ptr::copy_nonoverlapping(data.as_ptr(), pointer, data.len());
                    }
                }
            }
        }
        Ok(())
    }
}

static CONNECTION: OnceLock<Option<Connection>> = OnceLock::new();
static DOWN: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}

fn connect() -> Option<Connection> {
    if std::env::var_os(SERVER_MARK).is_some() {
        log::line(
            Level::Info,
            format_args!("inside a server: no platforms, so that it does not serve itself"),
        );
        return None;
    }
    let connected = Config::from_env().and_then(|config| wormhole_vmfunc::connect(&config));
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => {
            log::line(Level::Error, format_args!("no server: {error}"));
            return None;
        }
    };
    // A child shares the parent's connection, and would garble it.
    // SAFETY: `forked` only stores to an atomic.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    let client = connected.connection;
    let name = client.transport();
    match connected.why {
        Some(why) => log::line(Level::Info, format_args!("connected by {name}: {why}")),
        None => log::line(Level::Info, format_args!("connected by {name}")),
    }
    let area = client.data().cloned().map(Area::new);
    Some(Connection {
        client,
        area,
        reads: Mutex::default(),
        last: AtomicU64::new(0),
        ended: Condvar::new(),
        calls: AtomicUsize::new(0),
        waiting: AtomicUsize::new(0),
    })
}

/// The connection, if it is up.
#[inline]
fn connection() -> Result<&'static Connection, cl_int> {
    match CONNECTION.get() {
        Some(Some(connection))
            if !FORKED.load(Ordering::Relaxed) && !DOWN.load(Ordering::Relaxed) =>
        {
            Ok(connection)
        }
        _ => first_or_lost(),
    }
}

/// As [`connection`], where it is the first time or not up.
#[cold]
fn first_or_lost() -> Result<&'static Connection, cl_int> {
    let connection = CONNECTION.get_or_init(connect).as_ref().ok_or(LOST)?;
    if FORKED.load(Ordering::Relaxed) {
        if !DOWN.swap(true, Ordering::Relaxed) {
            log::line(
                Level::Error,
                format_args!("this process is a fork of the one that uses OpenCL, and cannot"),
            );
        }
        return Err(LOST);
    }
    match DOWN.load(Ordering::Relaxed) {
        true => Err(LOST),
        false => Ok(connection),
    }
}

/// Whether the server can be reached, as far as is known.
pub(crate) fn is_up() -> bool {
    connection().is_ok()
}

/// The connection that there is, in whatever state.
fn made() -> Option<&'static Connection> {
    CONNECTION.get().and_then(Option::as_ref)
}

/// Name of the transport in use, or "none".
pub(crate) fn transport_name() -> &'static str {
    made().map_or("none", |connection| connection.client.transport())
}

/// How requests went, if some could be exitless.
pub(crate) fn counts() -> Option<&'static Counts> {
    made().and_then(|connection| connection.client.counts())
}

/// Another status for a call that fails because the server cannot be reached.
pub(crate) fn lost_as(status: cl_int, instead: cl_int) -> cl_int {
    let unreachable = DOWN.load(Ordering::Relaxed) || matches!(CONNECTION.get(), Some(None));
    match status == LOST && unreachable {
        true => instead,
        false => status,
    }
}

impl Connection {
    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a transfer. Only while `reads` is locked.
    fn next_number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lose(&self, why: impl Display) -> cl_int {
        let before = DOWN.swap(true, Ordering::Relaxed);
        self.reads().waiting.clear();
        self.ended.notify_all();
        // Other threads' calls fail for the same reason.
        if !before {
            log::line(Level::Error, format_args!("connection lost: {why}"));
        }
        LOST
    }

    #[inline]
    fn sent(&self, result: Result<(), Error>) -> Result<(), cl_int> {
        result.map_err(|error| self.failed(error))
    }

    #[cold]
    fn failed(&self, error: Error) -> cl_int {
        match error {
            Error::TooLarge { .. } => {
                log::line(Level::Warn, format_args!("{error}"));
                CL_OUT_OF_RESOURCES
            }
            error => self.lose(error),
        }
    }

    #[inline]
    fn post(&self, request: &Writer<'_>) -> Result<(), cl_int> {
        stats::count_posted();
        let result = request.with_parts(|parts| self.client.post(parts));
        self.sent(result)
    }

    fn call<'a, R: Request<'a>, T>(
        &self,
        request: &R,
        take: impl FnOnce(R::Reply<'_>) -> T,
    ) -> Result<T, cl_int> {
        stats::count_sync();
        let flags = match R::BLOCKING && threads::is_alone() {
            true => ALONE,
            false => 0,
        };
        let mut frame = Writer::new();
        request.put_whole(flags, &mut frame);
        self.exchange::<R, T>(take, |reply| {
            frame.with_parts(|parts| self.client.call(parts, reply, R::BLOCKING))
        })
    }

    /// Has `send` make the call of a request of this kind.
    fn exchange<'a, R: Request<'a>, T>(
        &self,
        take: impl FnOnce(R::Reply<'_>) -> T,
        send: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<T, cl_int> {
        // Until the data that comes with it is where it belongs.
        let _call = Call::begin(self);
        // Most answers are empty, and take no memory.
        let mut reply = Vec::new();
        self.sent(send(&mut reply))?;
        let answer = self.open::<R>(&reply);
        let answer =
            answer.map_err(|malformed| self.lose(format_args!("bad reply: {malformed}")))?;
        answer.map(take)
    }

    fn open<'a, 'r, R: Request<'a>>(
        &self,
        reply: &'r [u8],
    ) -> Result<Result<R::Reply<'r>, cl_int>, Malformed> {
        if reply.is_empty() {
            return done().map(Ok);
        }
        let frame = ReplyFrame::open(reply)?;
        // Most programs have none.
        if frame.handed > 0 || !frame.landed.is_empty() {
            self.land(&frame)?;
        }
        frame.fields()
    }

    /// Takes what comes with an answer.
    #[inline(never)]
    fn land(&self, frame: &ReplyFrame<'_>) -> Result<(), Malformed> {
        let (printed, landed): (Vec<_>, Vec<_>) =
            frame.landed.iter().partition(|(read, _)| *read == PRINTED);
        for (_, text) in printed {
            show(text.unwrap_or_default());
        }
        let mut reads = self.reads();
        for (number, data) in &landed {
            reads.land(*number, *data)?;
        }
        reads.add(frame.handed, landed.len())?;
        self.await_others(reads, frame.handed)
    }

    /// Waits until the first so many reads have landed: data that was handed over before this thread's
    /// answer may have come with another thread's, who is about to put it where it belongs.
    fn await_others(&self, reads: MutexGuard<'_, Reads>, handed: u64) -> Result<(), Malformed> {
        if reads.landed >= handed {
            return Ok(());
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // This thread's own is one of the calls.
        let woken = self.ended.wait_while(reads, |reads| {
            reads.landed < handed
                && self.calls.load(Ordering::SeqCst) > self.waiting.load(Ordering::SeqCst)
        });
        let reads = woken.unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        match reads.landed >= handed {
            true => Ok(()),
            false => Err(Malformed::Contradiction("reads that were handed to nobody")),
        }
    }
}

/// Shows what kernels printed where a vendor's library would.
fn show(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    // A closed stdout is the program's affair.
    let _ = out.write_all(text).and_then(|()| out.flush());
}

impl Reads {
    /// Those of one answer have landed, the last of which was the `handed`th.
    fn add(&mut self, handed: u64, count: usize) -> Result<(), Malformed> {
        let before = handed.checked_sub(count as u64);
        let before = before.ok_or(Malformed::Contradiction("more reads than were handed over"))?;
        if count > 0 {
            self.apart.push((before, handed));
        }
        let next = |reads: &Self| {
            reads
                .apart
                .iter()
                .position(|(start, _)| *start == reads.landed)
        };
        while let Some(place) = next(self) {
            self.landed = self.apart.swap_remove(place).1;
        }
        Ok(())
    }

    fn land(&mut self, number: u64, data: Option<&[u8]>) -> Result<(), Malformed> {
        match (self.waiting.remove(&number), data) {
            (Some(landing), Some(data)) => landing.land(data),
            // It has failed. Or it was cancelled; the server never makes up a number twice.
            _ => Ok(()),
        }
    }
}

/// Sends a request that is not answered.
///
/// # Errors
/// Only if it cannot be sent.
pub(crate) fn post<'a, R: Request<'a>>(request: &R) -> Result<(), cl_int> {
    let connection = connection()?;
    let mut frame = Writer::new();
    request.put_whole(0, &mut frame);
    connection.post(&frame)
}

/// Sends a request, and waits for its answer if `wait`.
///
/// # Errors
/// The server's status, or that the server cannot be reached.
pub(crate) fn send<'a, R: Request<'a>>(request: &R, wait: bool) -> Result<(), cl_int> {
    match wait {
        true => call(request, |_| ()),
        false => post(request),
    }
}

/// Sends a request and takes what is wanted from the reply.
///
/// # Errors
/// The server's status, or that the server cannot be reached.
pub(crate) fn call<'a, R: Request<'a>, T>(
    request: &R,
    take: impl FnOnce(R::Reply<'_>) -> T,
) -> Result<T, cl_int> {
    connection()?.call(request, take)
}

/// As [`call`], for one that waits in the server for something to happen, however long.
///
/// # Errors
/// As there.
pub(crate) fn wait<'a, R: Request<'a>, T>(
    request: &R,
    take: impl FnOnce(R::Reply<'_>) -> T,
) -> Result<T, cl_int> {
    let connection = connection()?;
    let mut frame = Writer::new();
    request.put_whole(0, &mut frame);
    connection.exchange::<R, T>(take, |reply| {
        frame.with_parts(|parts| connection.client.wait(parts, reply))
    })
}

/// Whether the data of one more read may be left to land later. It all comes
/// with one reply, which has an upper limit.
pub(crate) fn may_post_read(len: usize) -> bool {
    let Ok(connection) = connection() else {
        return false;
    };
    let reads = connection.reads();
    let coming = |landing: &Landing| match (&landing.target, &landing.part) {
        (Some(target), None) => target.len,
        _ => 0,
    };
    let waiting: usize = reads.waiting.values().map(coming).sum();
    waiting.saturating_add(len) <= MAX_LANDING
}

/// A part of the memory that the server has, too, if there is such memory and so much of
/// it is free.
pub(crate) fn take(len: usize, usage: Use) -> Option<Part> {
    connection().ok()?.area.as_ref()?.take(len, usage)
}

/// Sends a request, and keeps `part` until the server tells that it uses it no longer.
/// `request` gets the number for that.
///
/// # Errors
/// As for [`call`]. Then the server does not use it.
pub(crate) fn call_giving<'a, R: Request<'a>>(
    part: Part,
    request: impl FnOnce(u64) -> R,
) -> Result<(), cl_int> {
    let connection = connection()?;
    let number = {
        let mut reads = connection.reads();
        let number = connection.next_number();
        let landing = Landing::part(Arc::new(part), Handle::NULL);
        reads.waiting.insert(number, landing);
        number
    };
    let called = connection.call(&request(number), |_| ());
    if called.is_err() {
        connection.reads().waiting.remove(&number);
    }
    called
}

/// Sends a request for a transfer that completes later. `request` gets its number.
///
/// # Errors
/// Only if it cannot be sent.
pub(crate) fn post_transfer<'a, R: Request<'a>>(
    landing: Landing,
    request: impl FnOnce(u64) -> R,
) -> Result<(), cl_int> {
    let connection = connection()?;
    // Held meanwhile: another thread's answer may bring the data at once.
    let mut reads = connection.reads();
    let number = connection.next_number();
    reads.waiting.insert(number, landing);
    let mut frame = Writer::new();
    request(number).put_whole(0, &mut frame);
    let posted = frame.with_parts(|parts| connection.client.post(parts));
    if posted.is_err() {
        reads.waiting.remove(&number);
    }
    drop(reads);
    stats::count_posted();
    connection.sent(posted)
}

/// Forgets the reads that would land in the `len` bytes at `pointer`, which become invalid.
pub(crate) fn cancel(pointer: usize, len: usize) {
    if let Ok(connection) = connection() {
        let within = |target: &mut Target| target.end() > pointer && target.pointer < pointer + len;
        connection.reads().waiting.retain(|_, landing| {
            let there = landing.target.take_if(within).is_some();
            // Until the server says so, it uses a part.
            !there || landing.part.is_some()
        });
    }
}

/// Sends what is kept back.
pub(crate) fn flush() -> Result<(), cl_int> {
    let connection = connection()?;
    connection.sent(connection.client.flush())
}

/// Before the process ends: sends what is kept back, unless a thread is in the middle of a call,
/// which may never return.
pub(crate) fn leave() {
    if made().is_none() {
        return;
    }
    if let Ok(connection) = connection() {
        // The server, too, learns that this side is gone.
        let _ = connection.client.try_flush();
        connection.client.end();
    }
}

/// Number of the last transfer that was posted so far, if the server has not told of some.
pub(crate) fn last_awaited() -> Result<Option<u64>, cl_int> {
    let connection = connection()?;
    let last = connection.last.load(Ordering::Relaxed);
    // Most programs have none.
    if last == 0 || connection.reads().waiting.is_empty() {
        return Ok(None);
    }
    Ok(Some(last))
}

/// After a queue has finished: all its reads up to number `last` have landed, or
/// the server is not to be believed.
pub(crate) fn check_landed(queue: Handle, last: u64) -> Result<(), cl_int> {
    let connection = connection()?;
    let missing = |(number, landing): (&u64, &Landing)| {
        *number <= last && landing.queue == queue && landing.target.is_some()
    };
    let some = connection.reads().waiting.iter().any(missing);
    match some {
        true => Err(connection.lose("a queue finished before its reads")),
        false => Ok(()),
    }
}

/// Tells the server that an object is no longer needed.
pub(crate) fn post_release(kind: Kind, handle: Handle) {
    if let Some(request) = api::release_request(kind, handle) {
        // If the server is gone, so is the object.
        if let Ok(connection) = connection() {
            let _ = connection.post(&request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_have_landed_when_all_before_them_have() {
        let mut reads = Reads::default();
        let mut landed = |handed, count| {
            reads.add(handed, count).unwrap();
            reads.landed
        };
        assert_eq!(landed(2, 2), 2);
        assert_eq!(landed(5, 1), 2, "those between are with another answer");
        assert_eq!(landed(6, 1), 2);
        assert_eq!(landed(6, 0), 2);
        assert_eq!(landed(4, 2), 6);
        assert!(reads.add(1, 2).is_err());
    }
}
