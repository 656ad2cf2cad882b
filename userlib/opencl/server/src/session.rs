// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One client's state, and the loop that serves it.

use std::fs::File;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::argument::ArgKind;
use wormhole_opencl_protocol::constants::{CL_OUT_OF_RESOURCES, CL_SUCCESS};
use wormhole_opencl_protocol::frame::{blocks, open_request, Landed, DONE, PRINTED};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::cl_int;
use wormhole_opencl_protocol::wire::{Malformed, Wire, Writer};
use wormhole_transport::{DataArea, Error, Kind as Answer};
use wormhole_vmfunc::Reply;

use crate::account::Accounts;
use crate::api::{dispatch, Vendor};
use crate::binaries::Binaries;
use crate::callback::Callbacks;
use crate::check::Refusal;
use crate::kernel::Refused;
use crate::live::Live;
use crate::memory::Memory;
use crate::objects::Objects;
use crate::pending::{Completed, Pending};
use crate::printed::Printed;
use crate::used::InUse;

/// What one client may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Objects alive at once.
    pub max_objects: usize,
    /// Bytes of transfers that are under way or whose data was not fetched.
    pub max_pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_objects: 1 << 20,
            max_pending: 256 << 20,
        }
    }
}

/// Why a client is not served any longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] Error),
    /// The client sent something that is no request.
    #[error("bad request: {0}")]
    Malformed(#[from] Malformed),
}

/// One client, whose requests may come from several threads. One is carried out
/// at a time, but for those that may take long: the others do not wait for the
/// vendor's part of these.
pub struct Session(Mutex<State>);

/// A client's state, while a thread works for it.
pub type Locked<'a> = MutexGuard<'a, State>;

/// A client's objects and what is under way for it.
pub struct State {
    pub(crate) vendor: Arc<Vendor>,
    pub(crate) objects: Objects,
    pub(crate) accounts: Accounts,
    pub(crate) pending: Pending,
    pub(crate) callbacks: Arc<Callbacks>,
    /// What the arguments of each kernel are.
    pub(crate) args: FxHashMap<Handle, Vec<ArgKind>>,
    pub(crate) refused: Refused,
    pub(crate) binaries: Binaries,
    pub(crate) printed: Printed,
    pub(crate) in_use: InUse,
    pub(crate) limits: Limits,
    /// What the client has, too.
    area: Option<&'static DataArea>,
}

impl Session {
    /// A client that has nothing yet.
    pub fn new(vendor: Vendor, binaries: Binaries, limits: Limits) -> Self {
        Session(Mutex::new(State {
            vendor: Arc::new(vendor),
            objects: Objects::new(limits.max_objects),
            accounts: Accounts::default(),
            pending: Pending::default(),
            callbacks: Arc::default(),
            args: FxHashMap::default(),
            refused: Refused::default(),
            binaries,
            printed: Printed::default(),
            in_use: InUse::default(),
            limits,
            area: None,
        }))
    }

    /// From now on the client gets what kernels print to the file that is standard output.
    pub fn show_printed(&self, file: File) {
        self.0.lock().printed.capture_in(file);
    }

    /// The objects that the client has not released, once all that has completed is let go of.
    pub fn left(&self) -> Live {
        let mut locked = self.0.lock();
        locked.take_landed();
        locked.objects.live()
    }

    /// With memory that the client has, too, for the contents of buffers. The vendor may
    /// use it as long as the process lives.
    #[must_use]
    pub fn with_area(self, area: Option<&'static DataArea>) -> Self {
        self.0.lock().area = area;
        self
    }

    /// Carries out one request. `None` if it is a posted one.
    ///
    /// # Errors
    /// If it is none.
    pub fn request(
        &self,
        request: &[u8],
        answered: bool,
    ) -> Result<Option<Result<Vec<u8>, cl_int>>, Malformed> {
        carry_out(&mut self.0.lock(), request, answered)
    }

    /// Whether a call may take long, and other requests may come meanwhile.
    pub fn blocks(request: &[u8]) -> bool {
        blocks(request)
    }

    /// Replies to a call that is not carried out since too many are under way.
    ///
    /// # Errors
    /// If the reply cannot be given.
    pub fn refuse(&self, reply: &mut Reply<'_>) -> Result<(), ServeError> {
        let handed = self.0.lock().pending.handed();
        give(reply, Err(CL_OUT_OF_RESOURCES), handed, &[], &[])?;
        Ok(())
    }

    /// Carries out one request, and gives the reply to it if it is a call.
    ///
    /// # Errors
    /// If the reply cannot be given or the client breaks the protocol.
    pub fn handle(
        &self,
        request: &[u8],
        kind: Answer,
        reply: &mut Reply<'_>,
    ) -> Result<(), ServeError> {
        let mut locked = self.0.lock();
        let Some(result) = carry_out(&mut locked, request, kind == Answer::Call)? else {
            return Ok(());
        };
        let is_done = result.as_ref().is_ok_and(Vec::is_empty);
        if is_done && locked.pending.has_never_had_any() && !locked.printed.is_expected() {
            drop(locked);
            return Ok(reply(&DONE)?);
        }
        self.tell(locked, result, reply)
    }

    /// Gives the reply to a call where there is something to tell.
    #[inline(never)]
    fn tell(
        &self,
        mut locked: Locked<'_>,
        result: Result<Vec<u8>, cl_int>,
        reply: &mut Reply<'_>,
    ) -> Result<(), ServeError> {
        let landed = locked.take_landed();
        let handed = locked.pending.handed();
        let printed = locked.printed.take();
        drop(locked);
        if !give(reply, result, handed, &landed, &printed)? {
            let mut locked = self.0.lock();
            locked.pending.put_back(landed);
            let handed = locked.pending.handed();
            drop(locked);
            give(reply, Err(CL_OUT_OF_RESOURCES), handed, &[], &printed)?;
        }
        Ok(())
    }
}

#[inline]
fn carry_out(
    locked: &mut Locked<'_>,
    request: &[u8],
    answered: bool,
) -> Result<Option<Result<Vec<u8>, cl_int>>, Malformed> {
    let (function, fields) = open_request(request)?;
    let result = dispatch(locked, function, answered, fields)?;
    Ok(answered.then_some(result))
}

/// Gives the reply to a call, with the transfers that have completed and what kernels printed.
/// False if it is longer than the client would accept.
fn give(
    reply: &mut Reply<'_>,
    result: Result<Vec<u8>, cl_int>,
    handed: u64,
    landed: &[Completed],
    printed: &[u8],
) -> Result<bool, Error> {
    let (status, body) = match result {
        Ok(body) => (CL_SUCCESS, body),
        Err(status) => (status, Vec::new()),
    };
    let printed = (!printed.is_empty()).then_some((PRINTED, Some(printed)));
    let landed: Vec<Landed<'_>> = landed
        .iter()
        .map(|(number, data)| (*number, data.as_deref()))
        .chain(printed)
        .collect();
    let mut head = Writer::new();
    status.put(&mut head);
    handed.put(&mut head);
    landed.put(&mut head);
    head.append(&body);
    match head.with_parts(reply) {
        Err(Error::TooLarge { len, max }) => {
            log::warn!("a reply of {len} bytes is over the limit of {max}");
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

impl State {
    fn take_landed(&mut self) -> Vec<Completed> {
        self.pending.take_completed(&self.vendor)
    }

    /// Makes room for the data of one more transfer.
    ///
    /// # Errors
    /// `CL_OUT_OF_RESOURCES` if reads that the client has not fetched fill it.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<(), Refusal> {
        self.pending
            .reserve(&self.vendor, len, self.limits.max_pending)
    }

    /// The part of the memory that the client has, too, which it names.
    ///
    /// # Errors
    /// If there is no such part.
    pub(crate) fn shared(&self, offset: u64, len: u64) -> Result<Memory, Malformed> {
        Memory::shared(self.area, offset, len)
    }

    /// Enters an object that the vendor made. The name was found vacant; null
    /// means that the client wants none, and then there is no object either.
    #[inline]
    pub(crate) fn adopt(&mut self, kind: Kind, handle: Handle, object: usize) {
        if !handle.is_null() {
            self.objects.insert(kind, handle, object);
        }
    }

    /// Lets go of an object. A name that is none's, such as that of an object
    /// whose making failed, is no error: nobody waits for an answer.
    pub(crate) fn release(&mut self, kind: Kind, handle: Handle) {
        if kind == Kind::Kernel {
            self.args.remove(&handle);
            self.refused.forget(handle);
        }
        // The others have no account.
        if matches!(kind, Kind::Kernel | Kind::Queue) {
            self.accounts.take(handle);
        }
        if let Some(object) = self.objects.remove(kind, handle) {
            // SAFETY: the reference was the client's, and its name is gone.
            unsafe { self.in_use.release(kind, object, &self.vendor) };
        }
    }
}
