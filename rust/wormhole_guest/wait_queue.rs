// SPDX-License-Identifier: GPL-2.0

//! Wait queues that hard interrupt handlers may wake, with nanosecond timeouts and `poll(2)`.
//!
//! `kernel::sync::CondVar` needs the waker to hold the waiter's lock; ours is an interrupt handler
//! and the condition is a word that another VM writes.

use kernel::{
    bindings,
    fs::File,
    prelude::*,
    sync::LockClassKey,
    types::Opaque, //
};

/// When a wait ends at the latest, on CLOCK_MONOTONIC; `None`: never.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<bindings::ktime_t>);

impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    /// From a UAPI `timeout_ns`: relative, in nanoseconds, -1 for no limit.
    pub(crate) fn after(timeout_ns: i64) -> Result<Self> {
        match timeout_ns {
            -1 => Ok(Self::NEVER),
            0.. => {
                // SAFETY: Callable from any context.
                let now = unsafe { bindings::ktime_get() };
                Ok(Self(Some(now.saturating_add(timeout_ns))))
            }
            _ => Err(EINVAL),
        }
    }

    /// Sleeps, in the task state set before, until a wake-up, a signal or the deadline; returns
    /// whether it was the deadline.
    fn sleep(self) -> bool {
        let Some(mut expires) = self.0 else {
            // SAFETY: Callers are in process context and hold nothing that forbids sleeping.
            unsafe { bindings::schedule() };
            return false;
        };
        // SAFETY: As above, and `expires` is valid during the call.
        let ret = unsafe {
            bindings::schedule_hrtimeout_range(
                &mut expires,
                0,
                bindings::hrtimer_mode_HRTIMER_MODE_ABS,
            )
        };
        ret == 0
    }
}

/// A waiter with a condition that wakers look at.
#[repr(C)]
struct Concerned<F> {
    entry: Opaque<bindings::wait_queue_entry>,
    condition: F,
}

/// A `struct wait_queue_head`.
///
/// Its owner must outlive every file that polls on it: epoll leaves the queue when the file is
/// released, before `->release()`.
///
/// # Invariants
///
/// `head` is initialised and pinned.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A `struct wait_queue_head` has no affinity to a task.
unsafe impl Send for WaitQueue {}
// SAFETY: It has a spin lock of its own.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// An empty queue.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        // INVARIANT: Initialised here, and pinned by the initialiser.
        pin_init!(Self {
            // SAFETY: `slot` is valid for writes, `name` and `key` live for ever.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }

    /// Wakes everybody. What the waiters look at must be written before; callable from hard
    /// interrupts.
    pub(crate) fn wake_all(&self) {
        // SAFETY: By the type invariants `head` is valid. 0: no limit on exclusive waiters.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                bindings::TASK_NORMAL,
                0,
                core::ptr::null_mut(),
            )
        };
    }

    /// Sleeps until `condition` gives a value; fails with `EINTR` on a signal and `ETIMEDOUT` at
    /// the deadline, in both cases only after `condition` gave nothing once more.
    ///
    /// `condition` must not sleep: it runs while the task is queued and about to, so that no
    /// wake-up between look and sleep is lost.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Deadline,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if let Some(value) = condition() {
            return Ok(value);
        }
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is valid for writes.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        // SAFETY: Just initialised, and it stays where it is until the end of the function.
        unsafe { self.wait_on(entry.get(), deadline, condition) }
    }

    /// The same, but wake-ups leave this task asleep until `condition` gives a value: for a queue
    /// of many, of whom each wake-up concerns few.
    ///
    /// Whoever wakes runs `condition` too, hard interrupt handlers among them.
    pub(crate) fn wait_until_concerned<T, F>(&self, deadline: Deadline, condition: F) -> Result<T>
    where
        F: Fn() -> Option<T> + Sync,
    {
        /// # Safety
        ///
        /// `entry` must be that of a valid `Concerned<F>`.
        unsafe extern "C" fn wake<T, F: Fn() -> Option<T>>(
            entry: *mut bindings::wait_queue_entry,
            mode: c_uint,
            flags: c_int,
            key: *mut c_void,
        ) -> c_int {
            // SAFETY: By the safety requirements; the entry comes first.
            let concerned = unsafe { &*entry.cast::<Concerned<F>>() };
            if (concerned.condition)().is_none() {
                return 0;
            }
            // SAFETY: What we were called with.
            unsafe { bindings::autoremove_wake_function(entry, mode, flags, key) }
        }

        if let Some(value) = condition() {
            return Ok(value);
        }
        let concerned = Concerned {
            entry: Opaque::uninit(),
            condition,
        };
        // SAFETY: The entry is valid for writes, and in no queue.
        unsafe {
            bindings::init_wait_entry(concerned.entry.get(), 0);
            (*concerned.entry.get()).func = Some(wake::<T, F>);
        }
        // SAFETY: Just initialised, and it stays where it is until the end of the function.
        unsafe { self.wait_on(concerned.entry.get(), deadline, || (concerned.condition)()) }
    }

    /// Sleeps on `entry`, which is in no queue when this returns.
    ///
    /// # Safety
    ///
    /// `entry` must be initialised, in no queue, and stay where it is during the call.
    unsafe fn wait_on<T>(
        &self,
        entry: *mut bindings::wait_queue_entry,
        deadline: Deadline,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let mut late = false;
        let outcome = loop {
            // SAFETY: By the type invariants `head` is valid; `entry` is by the safety requirements.
            let signal = unsafe {
                bindings::prepare_to_wait_event(
                    self.head.get(),
                    entry,
                    kernel::task::TASK_INTERRUPTIBLE,
                )
            } != 0;
            if let Some(value) = condition() {
                break Ok(value);
            }
            if signal {
                break Err(EINTR);
            }
            if late {
                break Err(ETIMEDOUT);
            }
            late = deadline.sleep();
        };
        // SAFETY: As above; afterwards `entry` is in no queue.
        unsafe { bindings::finish_wait(self.head.get(), entry) };
        outcome
    }

    /// Has a `poll(2)` of `file` woken by this queue from now on.
    pub(crate) fn register_poll(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: `file` and `table` are valid, `head` is by the type invariants, and it outlives
        // the file, see the type.
        unsafe { bindings::poll_wait(file.as_ptr(), self.head.get(), table.0) };
    }
}

/// The caller's half of a `poll(2)`.
///
/// # Invariants
///
/// The pointer is null or valid for `'a`.
pub(crate) struct PollTable<'a>(
    *mut bindings::poll_table,
    core::marker::PhantomData<&'a bindings::poll_table>,
);

impl PollTable<'_> {
    /// Wraps what `->poll()` gets.
    ///
    /// # Safety
    ///
    /// `table` must be null or valid for the lifetime chosen.
    pub(crate) unsafe fn from_raw(table: *mut bindings::poll_table) -> Self {
        // INVARIANT: By the safety requirements.
        Self(table, core::marker::PhantomData)
    }
}

/// Creates a [`WaitQueue`] initialiser with a lock class of its own.
macro_rules! new_wait_queue {
    ($name:literal) => {
        $crate::wait_queue::WaitQueue::new(
            kernel::optional_name!($name),
            kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_wait_queue;
