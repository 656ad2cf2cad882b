// SPDX-License-Identifier: GPL-2.0

//! ACCEPT: the server's side of opening a channel.

use crate::{
    channel,
    device::{
        Device,
        Table, //
    },
    endpoint::Endpoint,
    geometry::Role,
    wait_queue::Deadline,
    window::full_barrier, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Relaxed, //
    }, //
};

/// Waits for a client's offer and takes it; `deadline` `None`: fails with `EAGAIN` rather than
/// wait. Binds `endpoint`.
pub(crate) fn accept(device: &Device, endpoint: &Endpoint, deadline: Option<Deadline>) -> Result {
    loop {
        let news = device.news();
        {
            let mut table = device.lock()?;
            if take_offer(device, endpoint, &mut table)? {
                return Ok(());
            }
        }
        device.unbound.wait_until(deadline.ok_or(EAGAIN)?, || {
            (device.gone() || device.news() != news).then_some(())
        })?;
    }
}

/// Takes one of the offers that there are; `false`: there is none.
fn take_offer(device: &Device, endpoint: &Endpoint, table: &mut Table) -> Result<bool> {
    // Each turn takes an offer that was not seen before, and a hostile client makes new ones as
    // fast as we look: no more turns than there are channels, then sleep like everybody.
    for _ in 0..table.channels.len() {
        let Some((index, offer)) = device.offered(table) else {
            return Ok(false);
        };
        channel::take(table.channels.get_mut(index).ok_or(EINVAL)?, offer);
        let (event, kept) = device.with_channel(index, |_, words| {
            let event = words.event(Role::Server).load(Acquire);
            words.touched(Role::Server).store(0, Relaxed);
            words.state(Role::Server).store(offer.number, Relaxed);
            // Either we see that the client withdrew, or it sees our state and leaves the channel
            // alone until we let go.
            full_barrier();
            let kept = words.state(Role::Client).load(Relaxed) == offer.number;
            if !kept {
                words.state(Role::Server).store(0, Relaxed);
            }
            (event, kept)
        })?;
        if !kept {
            if let Some(channel) = table.channels.get_mut(index) {
                channel.release();
            }
            continue;
        }
        device.bind(table, endpoint, index, offer, event)?;
        device.notify(index)?;
        return Ok(true);
    }
    Ok(false)
}
