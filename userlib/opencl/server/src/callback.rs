// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Callbacks: the vendor calls one of ours, in whatever thread, which leaves word for a call of
//! the client's that waits.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use wormhole_opencl_protocol::api::{
    AwaitCallbacks, AwaitCallbacksReply, ClSetEventCallback, ClSetEventCallbackReply,
    ClSetMemObjectDestructorCallback, ClSetMemObjectDestructorCallbackReply, Kind,
};
use wormhole_opencl_protocol::constants::{
    CL_COMPLETE, CL_INVALID_OPERATION, CL_OUT_OF_HOST_MEMORY,
};
use wormhole_opencl_protocol::types::{cl_event, cl_int, cl_mem};

use crate::check::{check, encode, Refusal};
use crate::session::{Locked, State};

/// Callbacks that a client may have registered and not fetched.
const MAX: usize = 1 << 20;
/// Most that are fetched with one reply.
const MAX_FETCHED: usize = 4096;

/// The client's callbacks that the vendor has to call, or has called.
#[derive(Default)]
pub(crate) struct Callbacks {
    state: Mutex<Called>,
    some: Condvar,
}

#[derive(Default)]
struct Called {
    /// Registered, and not fetched yet.
    outstanding: usize,
    /// Those that were called, by the client's number, with their status.
    called: VecDeque<(u64, cl_int)>,
}

/// One that the vendor has to call once.
struct Registered {
    callbacks: Arc<Callbacks>,
    number: u64,
}

impl Callbacks {
    /// Has `register` give the vendor what it is to call back with: a `Registered`, once.
    fn register(
        self: &Arc<Self>,
        number: u64,
        register: impl FnOnce(*mut c_void) -> cl_int,
    ) -> Result<(), Refusal> {
        {
            let mut state = self.state.lock();
            if state.outstanding == MAX {
                return Err(CL_OUT_OF_HOST_MEMORY.into());
            }
            state.outstanding += 1;
        }
        let callbacks = self.clone();
        let registered = Box::into_raw(Box::new(Registered { callbacks, number }));
        // Not under the lock: it may be called back at once.
        let status = register(registered.cast());
        check(status).inspect_err(|_| {
            // SAFETY: the vendor has refused it, and forgets it.
            drop(unsafe { Box::from_raw(registered) });
            self.state.lock().outstanding -= 1;
        })
    }

    /// Waits until some were called, unless none can be.
    fn wait(&self) -> (Vec<u64>, Vec<cl_int>) {
        let mut state = self.state.lock();
        while state.called.is_empty() && state.outstanding > 0 {
            self.some.wait(&mut state);
        }
        let few = state.called.len().min(MAX_FETCHED);
        state.outstanding -= few;
        state.called.drain(..few).unzip()
    }
}

/// # Safety
/// `registered` is what [`Callbacks::register`] gave, and is given up.
unsafe fn called(registered: *mut c_void, status: cl_int) {
    // SAFETY: the caller promises it.
    let registered = unsafe { Box::from_raw(registered.cast::<Registered>()) };
    let callbacks = &registered.callbacks;
    callbacks
        .state
        .lock()
        .called
        .push_back((registered.number, status));
    callbacks.some.notify_all();
}

unsafe extern "C" fn event_called(_: cl_event, status: cl_int, registered: *mut c_void) {
    // SAFETY: the vendor calls it once for each registration.
    unsafe { called(registered, status) };
}

unsafe extern "C" fn memory_called(_: cl_mem, registered: *mut c_void) {
    // SAFETY: the vendor calls it once for each registration.
    unsafe { called(registered, CL_COMPLETE) };
}

/// `clSetEventCallback`.
pub(crate) fn of_event(s: &mut State, m: ClSetEventCallback) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clSetEventCallback.ok_or(CL_INVALID_OPERATION)?;
    let event = s.objects.get(Kind::Event, m.event)? as cl_event;
    let of = m.command_exec_callback_type;
    s.callbacks.register(m.callback, |registered| {
        // SAFETY: a live event, and what the callback expects.
        unsafe { call(event, of, Some(event_called), registered) }
    })?;
    Ok(encode(&ClSetEventCallbackReply {}))
}

/// `clSetMemObjectDestructorCallback`.
pub(crate) fn of_memory(
    s: &mut State,
    m: ClSetMemObjectDestructorCallback,
) -> Result<Vec<u8>, Refusal> {
    let call = s.vendor.clSetMemObjectDestructorCallback;
    let call = call.ok_or(CL_INVALID_OPERATION)?;
    let memory = s.objects.get(Kind::Mem, m.memobj)? as cl_mem;
    s.callbacks.register(m.callback, |registered| {
        // SAFETY: a live object, and what the callback expects.
        unsafe { call(memory, Some(memory_called), registered) }
    })?;
    Ok(encode(&ClSetMemObjectDestructorCallbackReply {}))
}

/// Waits for callbacks, while other threads work for the session.
pub(crate) fn await_called(s: &mut Locked<'_>, _: AwaitCallbacks) -> Result<Vec<u8>, Refusal> {
    let waiting = s.callbacks.clone();
    let (callbacks, statuses) = Locked::unlocked(s, || waiting.wait());
    Ok(encode(&AwaitCallbacksReply {
        callbacks,
        statuses,
    }))
}

#[cfg(test)]
mod tests {
    use wormhole_opencl_protocol::constants::{CL_INVALID_VALUE, CL_SUCCESS};

    use super::*;

    #[test]
    fn what_was_called_is_fetched_once_and_in_order() {
        let callbacks = Arc::<Callbacks>::default();
        assert_eq!(
            callbacks.wait(),
            (vec![], vec![]),
            "there is none to wait for"
        );
        let mut pending = Vec::new();
        for number in 0..2 {
            let keep = |registered: *mut c_void| {
                pending.push(registered as usize);
                CL_SUCCESS
            };
            callbacks.register(number, keep).unwrap();
        }
        assert!(callbacks.register(7, |_| CL_INVALID_VALUE).is_err());
        let waiting = callbacks.clone();
        let waiting = std::thread::spawn(move || [waiting.wait(), waiting.wait()]);
        for (status, registered) in [-5, 0].into_iter().zip(pending.into_iter().rev()) {
            // SAFETY: once each.
            unsafe { called(registered as *mut c_void, status) };
        }
        let fetched = waiting.join().unwrap();
        let numbers: Vec<_> = fetched.iter().flat_map(|(numbers, _)| numbers).collect();
        let statuses: Vec<_> = fetched.iter().flat_map(|(_, statuses)| statuses).collect();
        assert_eq!((numbers, statuses), (vec![&1, &0], vec![&-5, &0]));
        assert_eq!(Arc::strong_count(&callbacks), 1);
    }
}
