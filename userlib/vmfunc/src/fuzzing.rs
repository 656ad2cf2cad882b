// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Delegated calls with no VM, for a fuzzer.

use wormhole_transport::Spare;

use crate::areas::Areas;
use crate::desk::Desk;
use crate::{operation, Handler};

/// The server's side of a client's delegated calls.
pub struct Calls<H>(Desk<H>);

impl<H: Handler> Calls<H> {
    /// Over this memory, with messages of at most `max_message` bytes.
    pub fn new(spare: Spare, handler: H, max_message: u32) -> Self {
        Calls(Desk::new(
            Areas::new(spare).expect("room for lanes"),
            handler,
            max_message,
            max_message,
        ))
    }

    /// A delegated call with these arguments, after the client has filled the start of the lane's
    /// area: all that is behind `bytes` reads as zeros.
    pub fn call(&self, work: u8, lane: u8, argument: u64, bytes: &[u8]) -> u64 {
        let areas = self.0.areas();
        let lane = areas.lane(lane.into()).unwrap_or(areas.shared());
        let zeros = vec![0; lane.size() as usize];
        for bytes in [&zeros[..], &bytes[..bytes.len().min(zeros.len())]] {
            // It is not longer than the area.
            let _ = areas.write_request(lane, bytes);
        }
        self.0.call(operation::join(work.into(), lane), argument)
    }
}
