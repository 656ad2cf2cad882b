// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finishing a queue.

use wormhole_opencl_protocol::api::{ClFinish, Kind};

use crate::api::serve;
use crate::check::Refusal;
use crate::pending::wait_for;
use crate::session::Locked;
use crate::used::Used;

/// `clFinish`: when it returns, the data of the queue's reads is there. A device that lets
/// whichever thread comes along carry out the commands of all queues (PoCL's "basic") may
/// return while another thread is about to complete one.
pub(crate) fn finish(s: &mut Locked<'_>, m: ClFinish) -> Result<Vec<u8>, Refusal> {
    let queue = m.command_queue;
    let reply = serve::clFinish(s, m)?;
    if s.pending.has_none() {
        return Ok(reply);
    }
    let reads = s.pending.reads_of(queue);
    let vendor = s.vendor.clone();
    for event in reads {
        let mut used = Used::default();
        used.add(Kind::Event, event as usize);
        used.unlocked(s, || wait_for(&vendor, event));
    }
    Ok(reply)
}
