// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Transfers that the vendor has begun and not completed: their memory must stay.
//! When they have, the client is told of those that it gave a number, and gets the data
//! of reads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{
    CL_COMPLETE, CL_EVENT_COMMAND_EXECUTION_STATUS, CL_OUT_OF_RESOURCES, CL_SUCCESS,
};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_event, cl_int};

use crate::api::Vendor;
use crate::check::Refusal;
use crate::memory::Memory;

/// Bytes from which on the vendor is asked what has completed before anything is answered.
const MUCH: usize = 1 << 20;

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// A transfer under way.
///
/// # Invariants
/// The vendor uses `memory` until `event`, of which a reference is held, is complete.
struct Transfer {
    event: cl_event,
    queue: Handle,
    way: Way,
    /// The client's; 0 if it need not be told.
    number: u64,
    memory: Memory,
}

impl Transfer {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.memory.own()
    }
}

/// A transfer that has completed: its number, and its data if there is any to give. `None`: it
/// has failed.
pub(crate) type Completed = (u64, Option<Vec<u8>>);

fn cost((_, data): &Completed) -> usize {
    size_of::<Completed>() + data.as_ref().map_or(0, Vec::len)
}

/// Numbers of buffers that the vendor has destroyed, whose memory is the client's again.
type Destroyed = Arc<Mutex<Vec<u64>>>;

/// Memory of the client's that a buffer of the vendor's uses.
pub(crate) struct Given {
    number: u64,
    destroyed: Destroyed,
}

impl Given {
    pub(crate) fn give_back(self) {
        self.destroyed.lock().push(self.number);
    }
}

/// Transfers under way, oldest first, and those that have completed.
#[derive(Default)]
pub(crate) struct Pending {
    transfers: Vec<Transfer>,
    completed: Vec<Completed>,
    /// What both take.
    bytes: usize,
    /// Transfers that were handed over.
    handed: u64,
    /// If there was ever such a buffer.
    destroyed: Option<Destroyed>,
}

// SAFETY: an event may be used by any thread (OpenCL 1.2, A.2).
unsafe impl Send for Pending {}

fn status_of(vendor: &Vendor, event: cl_event) -> cl_int {
    let mut status: cl_int = CL_OUT_OF_RESOURCES;
    let Some(ask) = vendor.clGetEventInfo else {
        return status;
    };
    // SAFETY: a live event, and room for a status.
    let asked = unsafe {
        ask(
            event,
            CL_EVENT_COMMAND_EXECUTION_STATUS,
            size_of::<cl_int>(),
            (&raw mut status).cast(),
            std::ptr::null_mut(),
        )
    };
    match asked {
        CL_SUCCESS => status,
        failed => failed,
    }
}

/// Waits until an event that the caller holds is complete, or its command has failed, also
/// where the vendor's `clWaitForEvents` does not.
pub(crate) fn wait_for(vendor: &Vendor, event: cl_event) {
    let Some(wait) = vendor.clWaitForEvents else {
        return;
    };
    while status_of(vendor, event) > CL_COMPLETE {
        // SAFETY: a live event.
        unsafe { wait(1, &event) };
        if status_of(vendor, event) > CL_COMPLETE {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

impl Pending {
    /// Makes room for `len` more bytes, if need be by waiting for the oldest writes.
    ///
    /// # Errors
    /// `CL_OUT_OF_RESOURCES` if reads that the client has not fetched fill it.
    pub(crate) fn reserve(
        &mut self,
        vendor: &Vendor,
        len: usize,
        max: usize,
    ) -> Result<(), Refusal> {
        if self.bytes.saturating_add(len) > MUCH {
            self.collect(vendor);
        }
        while self.bytes.saturating_add(len) > max {
            let oldest = self.transfers.first().map(|transfer| transfer.event);
            let (Some(event), Some(wait)) = (oldest, vendor.clWaitForEvents) else {
                return Err(CL_OUT_OF_RESOURCES.into());
            };
            // SAFETY: a live event.
            let status = unsafe { wait(1, &event) };
            let before = self.transfers.len();
            self.collect(vendor);
            if self.transfers.len() == before {
                return Err(status.min(CL_OUT_OF_RESOURCES).into());
            }
        }
        Ok(())
    }

    /// Keeps a transfer that was begun.
    ///
    /// # Safety
    /// `event` is the transfer's and live, and the vendor uses `memory` until it
    /// is complete and not after. A reference to it is given up.
    pub(crate) unsafe fn keep(
        &mut self,
        event: cl_event,
        queue: Handle,
        (way, number): (Way, u64),
        memory: Memory,
    ) {
        let transfer = Transfer {
            event,
            queue,
            way,
            number,
            memory,
        };
        self.bytes += transfer.cost();
        self.transfers.push(transfer);
    }

    /// For a buffer that uses memory of the client's.
    pub(crate) fn given(&mut self, number: u64) -> Given {
        let destroyed = self.destroyed.get_or_insert_default().clone();
        Given { number, destroyed }
    }

    /// A transfer of this number will never be begun.
    pub(crate) fn refuse(&mut self, number: u64) {
        self.completed.push((number, None));
        self.bytes += cost(&(number, None));
    }

    /// Whether none are under way, and the client was never told of any.
    pub(crate) fn has_never_had_any(&self) -> bool {
        self.handed == 0
            && self.transfers.is_empty()
            && self.completed.is_empty()
            && self.destroyed.is_none()
    }

    /// Whether none are under way that were not seen to be complete.
    pub(crate) fn has_none(&self) -> bool {
        self.transfers.is_empty()
    }

    /// Events of a queue's reads that were not seen to be complete.
    pub(crate) fn reads_of(&self, queue: Handle) -> Vec<cl_event> {
        let reads = self
            .transfers
            .iter()
            .filter(|transfer| transfer.way == Way::Read);
        let of_queue = reads.filter(|transfer| transfer.queue == queue);
        of_queue.map(|transfer| transfer.event).collect()
    }

    /// Lets go of what has completed.
    fn collect(&mut self, vendor: &Vendor) {
        if self.transfers.is_empty() {
            return;
        }
        let (bytes, completed) = (&mut self.bytes, &mut self.completed);
        self.transfers.retain_mut(|transfer| {
            let status = status_of(vendor, transfer.event);
            if status > CL_COMPLETE {
                return true;
            }
            // SAFETY: the reference is ours.
            unsafe { vendor.release(Kind::Event, transfer.event as usize) };
            *bytes -= transfer.cost();
            if transfer.number != 0 {
                let data = match (transfer.way, &mut transfer.memory) {
                    (Way::Read, Memory::Own(data)) => std::mem::take(data),
                    _ => Vec::new(),
                };
                let succeeded = (status == CL_COMPLETE).then_some(data);
                completed.push((transfer.number, succeeded));
                *bytes += completed.last().map_or(0, cost);
            }
            false
        });
    }

    /// Transfers that have completed and not been handed over.
    pub(crate) fn take_completed(&mut self, vendor: &Vendor) -> Vec<Completed> {
        self.collect(vendor);
        if self.completed.is_empty() && self.destroyed.is_none() {
            return Vec::new();
        }
        let mut taken = std::mem::take(&mut self.completed);
        self.bytes -= taken.iter().map(cost).sum::<usize>();
        if let Some(destroyed) = &self.destroyed {
            let numbers = destroyed.lock().drain(..).collect::<Vec<_>>();
            taken.extend(numbers.into_iter().map(|number| (number, Some(Vec::new()))));
        }
        self.handed += taken.len() as u64;
        taken
    }

    /// Takes back what could not be handed over.
    pub(crate) fn put_back(&mut self, taken: Vec<Completed>) {
        self.bytes += taken.iter().map(cost).sum::<usize>();
        self.handed -= taken.len() as u64;
        self.completed.splice(..0, taken);
    }

    /// How many were handed over so far.
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }
}
