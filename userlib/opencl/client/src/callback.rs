// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program's functions that are called when something has happened: by one thread of this
//! library's, which the first of them starts, and which asks the server for news while any of
//! them may be called.
//!
//! Lock order: the lock is taken alone, and no [`Object`] is dropped, and none of the program's
//! functions called, under it.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use wormhole_opencl_protocol::api::AwaitCallbacks;
use wormhole_opencl_protocol::constants::{CL_OUT_OF_HOST_MEMORY, CL_OUT_OF_RESOURCES};
use wormhole_opencl_protocol::types::{cl_context, cl_event, cl_int, cl_mem};

use crate::connection;
use crate::log::{self, Level};
use crate::object::Object;

pub(crate) type OfEvent = unsafe extern "C" fn(cl_event, cl_int, *mut c_void);
pub(crate) type OfMemory = unsafe extern "C" fn(cl_mem, *mut c_void);
pub(crate) type OfContext = unsafe extern "C" fn(cl_context, *mut c_void);

/// A function of the program's, to be called once.
pub(crate) enum Callback {
    /// The event is there until then, whoever has released it.
    Event(Arc<Object>, OfEvent, Cookie),
    /// When the object is gone, whose handle this was.
    Memory(Weak<Object>, usize, OfMemory, Cookie),
}

/// What the program wants its function to be given.
pub(crate) struct Cookie(pub(crate) *mut c_void);

// SAFETY: it is handed back to the program, and not looked at.
unsafe impl Send for Cookie {}

impl Callback {
    /// # Safety
    /// The program's function may be called, as it promised.
    unsafe fn call(self, status: cl_int) {
        match self {
            Callback::Event(event, function, cookie) => {
                // SAFETY: the caller promises it.
                unsafe { function(event.address() as cl_event, status, cookie.0) };
            }
            Callback::Memory(_, address, function, cookie) => {
                // SAFETY: the caller promises it.
                unsafe { function(address as cl_mem, cookie.0) };
            }
        }
    }

    /// Whether it has to be called now that the server is lost.
    fn is_due(&self) -> bool {
        matches!(self, Callback::Event(..)) || self.is_of_released()
    }

    /// Whether it is that of a memory object that the program has released.
    fn is_of_released(&self) -> bool {
        matches!(self, Callback::Memory(object, ..) if object.strong_count() == 0)
    }
}

/// When to ask again after the server could not take the question.
const AGAIN: Duration = Duration::from_millis(10);
/// How long the end of the process waits for callbacks that are about to come.
const AT_THE_END: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Callbacks {
    registered: BTreeMap<u64, Callback>,
    last: u64,
    /// Those that the server has to report. For a moment it may be less than none: one can be
    /// reported before its registration has returned.
    outstanding: i64,
    /// One of the program's functions is being called.
    calling: bool,
}

static CALLBACKS: LazyLock<Mutex<Callbacks>> = LazyLock::new(Mutex::default);
/// There is one to wait for.
static SOME: Condvar = Condvar::new();
/// One was called.
static CALLED: Condvar = Condvar::new();
/// The thread runs. In a child of a fork it does not, whatever this says.
static STARTED: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, Callbacks> {
    // Nothing panics half-way through a change.
    CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `register` tell the server of a callback, by its number.
///
/// # Errors
/// Those of `register`; then it is not called, and never will be.
pub(crate) fn register(
    callback: Callback,
    register: impl FnOnce(u64) -> Result<(), cl_int>,
) -> Result<(), cl_int> {
    let number = {
        let mut callbacks = lock();
        if !STARTED.load(Ordering::Relaxed) {
            start()?;
            STARTED.store(true, Ordering::Relaxed);
        }
        callbacks.last += 1;
        let number = callbacks.last;
        callbacks.registered.insert(number, callback);
        number
    };
    if let Err(status) = register(number) {
        let refused = lock().registered.remove(&number);
        // Called already, with the news that the server is lost.
        return refused.map_or(Ok(()), |_| Err(status));
    }
    lock().outstanding += 1;
    SOME.notify_one();
    Ok(())
}

/// Starts the thread, which takes no signals: the program's handlers expect its own threads.
fn start() -> Result<(), cl_int> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: room for two sets; the first is filled before it is used.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    stay();
    let builder = std::thread::Builder::new().name("wormhole".into());
    let started = builder.spawn(run);
    // SAFETY: what was set before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    started.map(|_| ()).map_err(|_| CL_OUT_OF_HOST_MEMORY)
}

/// Keeps this library in memory whatever is unloaded: a thread runs in it.
fn stay() {
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let here = start as fn() -> Result<(), cl_int>;
    // SAFETY: room for the answer, which names a file if there is one; that is loaded already.
    unsafe {
        if libc::dladdr(here as *const c_void, found.as_mut_ptr()) != 0 {
            let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
            libc::dlopen(found.assume_init_ref().dli_fname, flags);
        }
    }
}

/// The thread.
fn run() {
    loop {
        let callbacks = lock();
        let waited = SOME.wait_while(callbacks, |callbacks| callbacks.outstanding <= 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        let called = connection::wait(&AwaitCallbacks {}, |reply| {
            (reply.callbacks, reply.statuses)
        });
        match called {
            Ok((numbers, statuses)) if numbers.len() == statuses.len() => {
                for (number, status) in numbers.into_iter().zip(statuses) {
                    call(number, status);
                }
            }
            // All the server's threads for calls that block are at work.
            Err(CL_OUT_OF_RESOURCES) => std::thread::sleep(AGAIN),
            Err(status) => return lost(status),
            Ok(_) => return log::line(Level::Error, format_args!("callbacks without statuses")),
        }
    }
}

fn call(number: u64, status: cl_int) {
    let called = {
        let mut callbacks = lock();
        callbacks.outstanding -= 1;
        callbacks.calling = true;
        callbacks.registered.remove(&number)
    };
    if let Some(callback) = called {
        // SAFETY: it was registered for this, and is called once.
        unsafe { callback.call(status) };
    }
    lock().calling = false;
    CALLED.notify_all();
}

/// At the end of the process: with vendors that call back when the last reference is given up,
/// programs do not wait for it. What they have released before is called, if that is soon.
pub(crate) fn settle() {
    if !STARTED.load(Ordering::Relaxed) || !connection::is_up() {
        return;
    }
    let due = |callbacks: &mut Callbacks| {
        let mut registered = callbacks.registered.values();
        callbacks.calling || registered.any(Callback::is_of_released)
    };
    // Nothing depends on it.
    let _ = CALLED.wait_timeout_while(lock(), AT_THE_END, due);
}

/// The server is lost: what it would have reported has failed.
fn lost(status: cl_int) {
    let due: Vec<_> = {
        let all = std::mem::take(&mut lock().registered);
        all.into_values().filter(Callback::is_due).collect()
    };
    for callback in due {
        // SAFETY: as in `call`.
        unsafe { callback.call(status) };
    }
}
