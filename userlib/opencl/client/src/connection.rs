// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection to the server: one for the process, made at the first call.
//!
//! A connection that is lost stays lost: what the program holds lived in a
//! server process that is gone. Every later call fails at once.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{CL_DEVICE_NOT_AVAILABLE, CL_OUT_OF_RESOURCES};
use wormhole_opencl_protocol::frame::{ReplyFrame, Request};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::cl_int;
use wormhole_opencl_protocol::wire::{Malformed, Writer};
use wormhole_transport::{Client, Config, Error};
use wormhole_vmfunc::Counts;

use crate::api;
use crate::log::{self, Level};
use crate::stats;

/// Status of every call while the server cannot be reached.
const LOST: cl_int = CL_DEVICE_NOT_AVAILABLE;

/// Set in the environment of a server, whose own OpenCL must not lead back here.
const SERVER_MARK: &str = "WORMHOLE_SERVER";

/// Bytes of reads that may land with one reply; far below the longest message.
const MAX_LANDING: usize = 64 << 20;

struct Connection {
    client: Box<dyn Client>,
    /// Answer of the call under way; kept for its memory.
    reply: Vec<u8>,
    /// Reads whose data has not come yet, by number.
    reads: HashMap<u64, Landing>,
    last_read: u64,
}

/// Where the data of a read goes.
///
/// # Invariants
/// `len` bytes at `pointer` are valid for writing until the read has completed
/// or [`cancel`] was called with `pointer`.
pub(crate) struct Landing {
    pointer: usize,
    len: usize,
    queue: Handle,
}

impl Landing {
    /// # Safety
    /// The caller promises the invariants.
    pub(crate) unsafe fn new(pointer: *mut u8, len: usize, queue: Handle) -> Self {
        Landing {
            pointer: pointer as usize,
            len,
            queue,
        }
    }
}

static CONNECTION: OnceLock<Option<Mutex<Connection>>> = OnceLock::new();
static NAME: OnceLock<&'static str> = OnceLock::new();
static COUNTS: OnceLock<Arc<Counts>> = OnceLock::new();
static DOWN: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}

fn connect() -> Option<Mutex<Connection>> {
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
    let client = connected.client;
    let name = client.transport();
    match connected.why {
        Some(why) => log::line(Level::Info, format_args!("connected by {name}: {why}")),
        None => log::line(Level::Info, format_args!("connected by {name}")),
    }
    // Both are only for the statistics, and this runs once.
    let _ = NAME.set(name);
    if let Some(counts) = connected.counts {
        let _ = COUNTS.set(counts);
    }
    Some(Mutex::new(Connection {
        client,
        reply: Vec::new(),
        reads: HashMap::new(),
        last_read: 0,
    }))
}

/// The connection, if it is up.
fn lock() -> Result<MutexGuard<'static, Connection>, cl_int> {
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
    let guard = connection.lock().unwrap_or_else(PoisonError::into_inner);
    match DOWN.load(Ordering::Relaxed) {
        true => Err(LOST),
        false => Ok(guard),
    }
}

/// Name of the transport in use, or "none". Never waits for a call that is under way.
pub(crate) fn transport_name() -> &'static str {
    match CONNECTION
        .get()
        .and_then(Option::as_ref)
        .map(Mutex::try_lock)
    {
        Some(Ok(connection)) => connection.client.transport(),
        _ => NAME.get().copied().unwrap_or("none"),
    }
}

/// How requests went, if some could be exitless.
pub(crate) fn counts() -> Option<&'static Counts> {
    COUNTS.get().map(Arc::as_ref)
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
    fn lose(&mut self, why: impl Display) -> cl_int {
        DOWN.store(true, Ordering::Relaxed);
        self.reads.clear();
        log::line(Level::Error, format_args!("connection lost: {why}"));
        LOST
    }

    fn sent(&mut self, result: Result<(), Error>) -> Result<(), cl_int> {
        match result {
            Ok(()) => Ok(()),
            Err(error @ Error::TooLarge { .. }) => {
                log::line(Level::Warn, format_args!("{error}"));
                Err(CL_OUT_OF_RESOURCES)
            }
            Err(error) => Err(self.lose(error)),
        }
    }

    fn post(&mut self, request: &Writer<'_>) -> Result<(), cl_int> {
        stats::count_posted();
        let result = self.client.post(&request.parts());
        self.sent(result)
    }

    fn call<'a, R: Request<'a>, T>(
        &mut self,
        request: &R,
        take: impl FnOnce(R::Reply<'_>) -> T,
    ) -> Result<T, cl_int> {
        stats::count_sync();
        let mut reply = std::mem::take(&mut self.reply);
        let result = self.client.call(&request.frame().parts(), &mut reply);
        let answer = match self.sent(result) {
            Err(status) => Err(status),
            Ok(()) => match self.open::<R>(&reply) {
                Err(malformed) => Err(self.lose(format_args!("bad reply: {malformed}"))),
                Ok(answer) => answer.map(take),
            },
        };
        self.reply = reply;
        answer
    }

    fn open<'a, 'r, R: Request<'a>>(
        &mut self,
        reply: &'r [u8],
    ) -> Result<Result<R::Reply<'r>, cl_int>, Malformed> {
        let frame = ReplyFrame::open(reply)?;
        for (read, data) in &frame.landed {
            self.land(*read, data)?;
        }
        frame.fields()
    }

    fn land(&mut self, read: u64, data: &[u8]) -> Result<(), Malformed> {
        let Some(landing) = self.reads.remove(&read) else {
            // Cancelled; the server never makes up a number twice.
            return Ok(());
        };
        // A read that failed has no data.
        if data.is_empty() {
            return Ok(());
        }
        if data.len() != landing.len {
            return Err(Malformed::Contradiction("a read of another length"));
        }
        // SAFETY: by the invariants of Landing the memory is valid: the read
        // has not completed for the program before this call returns.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), landing.pointer as *mut u8, data.len());
        }
        Ok(())
    }
}

/// Sends a request that is not answered.
///
/// # Errors
/// Only if it cannot be sent.
pub(crate) fn post<'a, R: Request<'a>>(request: &R) -> Result<(), cl_int> {
    lock()?.post(&request.frame())
}

/// Sends a request and takes what is wanted from the reply.
///
/// # Errors
/// The server's status, or that the server cannot be reached.
pub(crate) fn call<'a, R: Request<'a>, T>(
    request: &R,
    take: impl FnOnce(R::Reply<'_>) -> T,
) -> Result<T, cl_int> {
    lock()?.call(request, take)
}

/// Whether the data of one more read may be left to land later. It all comes
/// with one reply, which has an upper limit.
pub(crate) fn may_post_read(len: usize) -> Result<bool, cl_int> {
    let connection = lock()?;
    let waiting: usize = connection.reads.values().map(|landing| landing.len).sum();
    Ok(waiting.saturating_add(len) <= MAX_LANDING)
}

/// Sends a request for data that lands later. `request` gets the read's number.
///
/// # Errors
/// Only if it cannot be sent.
pub(crate) fn post_read<'a, R: Request<'a>>(
    landing: Landing,
    request: impl FnOnce(u64) -> R,
) -> Result<(), cl_int> {
    let mut connection = lock()?;
    connection.last_read += 1;
    let read = connection.last_read;
    connection.post(&request(read).frame())?;
    connection.reads.insert(read, landing);
    Ok(())
}

/// Forgets the reads that would land at `pointer`, which becomes invalid.
pub(crate) fn cancel(pointer: usize) {
    if let Ok(mut connection) = lock() {
        connection
            .reads
            .retain(|_, landing| landing.pointer != pointer);
    }
}

/// Sends what is kept back.
pub(crate) fn flush() -> Result<(), cl_int> {
    let mut connection = lock()?;
    let result = connection.client.flush();
    connection.sent(result)
}

/// After a queue has finished: all its reads have landed, or the server is not
/// to be believed.
pub(crate) fn check_landed(queue: Handle) -> Result<(), cl_int> {
    let mut connection = lock()?;
    match connection
        .reads
        .values()
        .any(|landing| landing.queue == queue)
    {
        true => Err(connection.lose("a queue finished before its reads")),
        false => Ok(()),
    }
}

/// Tells the server that an object is no longer needed.
pub(crate) fn post_release(kind: Kind, handle: Handle) {
    if let Some(request) = api::release_request(kind, handle) {
        // If the server is gone, so is the object.
        if let Ok(mut connection) = lock() {
            let _ = connection.post(&request);
        }
    }
}
