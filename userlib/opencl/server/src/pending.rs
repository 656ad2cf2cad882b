// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Transfers that the vendor has begun and not completed: their memory must
//! stay, and the data of reads goes to the client when they have.

use std::time::Duration;

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{
    CL_COMPLETE, CL_EVENT_COMMAND_EXECUTION_STATUS, CL_OUT_OF_RESOURCES, CL_SUCCESS,
};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::types::{cl_event, cl_int};

use crate::api::Vendor;
use crate::check::Refusal;

/// A transfer under way.
///
/// # Invariants
/// The vendor uses `data` until `event`, of which a reference is held, is complete.
struct Transfer {
    event: cl_event,
    queue: Handle,
    /// Number of the client's read; `None` for a write.
    read: Option<u64>,
    data: Vec<u8>,
}

/// Transfers under way, oldest first, and reads that have completed.
#[derive(Default)]
pub(crate) struct Pending {
    transfers: Vec<Transfer>,
    completed: Vec<(u64, Vec<u8>)>,
    /// Bytes in both.
    bytes: usize,
    /// Reads that were handed over.
    handed: u64,
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
        self.collect(vendor);
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
    /// `event` is the transfer's and live, and the vendor uses `data` until it
    /// is complete and not after. A reference to it is given up.
    pub(crate) unsafe fn keep(
        &mut self,
        event: cl_event,
        queue: Handle,
        read: Option<u64>,
        data: Vec<u8>,
    ) {
        self.bytes += data.len();
        self.transfers.push(Transfer {
            event,
            queue,
            read,
            data,
        });
    }

    /// Events of a queue's reads that were not seen to be complete.
    pub(crate) fn reads_of(&self, queue: Handle) -> Vec<cl_event> {
        let reads = self
            .transfers
            .iter()
            .filter(|transfer| transfer.read.is_some());
        let of_queue = reads.filter(|transfer| transfer.queue == queue);
        of_queue.map(|transfer| transfer.event).collect()
    }

    /// Lets go of what has completed.
    fn collect(&mut self, vendor: &Vendor) {
        let mut rest = Vec::with_capacity(self.transfers.len());
        for transfer in self.transfers.drain(..) {
            let status = status_of(vendor, transfer.event);
            if status > CL_COMPLETE {
                rest.push(transfer);
                continue;
            }
            // SAFETY: the reference is ours.
            unsafe { vendor.release(Kind::Event, transfer.event as usize) };
            self.bytes -= transfer.data.len();
            if let Some(read) = transfer.read {
                // A read that failed has no data.
                let data = match status {
                    CL_COMPLETE => transfer.data,
                    _ => Vec::new(),
                };
                self.bytes += data.len();
                self.completed.push((read, data));
            }
        }
        self.transfers = rest;
    }

    /// Reads that have completed and not been handed over.
    pub(crate) fn take_completed(&mut self, vendor: &Vendor) -> Vec<(u64, Vec<u8>)> {
        self.collect(vendor);
        let taken = std::mem::take(&mut self.completed);
        self.bytes -= taken.iter().map(|(_, data)| data.len()).sum::<usize>();
        self.handed += taken.len() as u64;
        taken
    }

    /// Takes back what could not be handed over.
    pub(crate) fn put_back(&mut self, reads: Vec<(u64, Vec<u8>)>) {
        self.bytes += reads.iter().map(|(_, data)| data.len()).sum::<usize>();
        self.handed -= reads.len() as u64;
        self.completed.splice(..0, reads);
    }

    /// How many reads were handed over so far.
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }
}
