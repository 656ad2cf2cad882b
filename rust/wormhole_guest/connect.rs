// SPDX-License-Identifier: GPL-2.0

//! CONNECT: the client's side of opening a channel.

use crate::{
    channel::{
        self,
        Answer,
        Next,
        Offer,
        Pick, //
    },
    device::Device,
    endpoint::Endpoint,
    geometry::Role,
    uapi,
    wait_queue::Deadline,
    window::full_barrier, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};

/// Cleared at a time, bytes: in between a signal or the end of the device get their chance.
const CLEAR_STEP: usize = 64 << 10;

/// A channel held for a connection that is not open yet; withdrawn on drop.
struct Candidate<'a> {
    device: &'a Device,
    index: usize,
    opened: bool,
}

impl Drop for Candidate<'_> {
    fn drop(&mut self) {
        if !self.opened {
            self.device.release(self.index);
        }
    }
}

/// Takes a free channel, clears what is left in it, and offers it until a server accepts. Binds
/// `endpoint`.
pub(crate) fn connect(device: &Device, endpoint: &Endpoint, deadline: Deadline) -> Result {
    let (mut candidate, link) = take_channel(device, deadline)?;
    clear(device, candidate.index)?;
    loop {
        let (offer, event) = offer(device, candidate.index, link)?;
        match wait_for_answer(device, candidate.index, offer, event, deadline)? {
            Next::Accepted => {
                let mut table = device.lock()?;
                device.bind(&mut table, endpoint, candidate.index, offer, event)?;
                candidate.opened = true;
                return Ok(());
            }
            Next::LinkLost => return Err(ENOTCONN),
            Next::OfferAgain | Next::Wait => (),
        }
    }
}

/// Holds a channel; waits for one that the server has yet to let go. Also gives the server's
/// link word.
fn take_channel(device: &Device, deadline: Deadline) -> Result<(Candidate<'_>, u32)> {
    loop {
        let news = device.news();
        {
            let mut table = device.lock()?;
            let link = device.peer_link()?;
            if !channel::link_up(link) {
                return Err(ENOTCONN);
            }
            match channel::pick(&mut table.channels, |index| device.peer_state(index)) {
                Pick::Taken(index) => {
                    let candidate = Candidate {
                        device,
                        index,
                        opened: false,
                    };
                    return Ok((candidate, link));
                }
                Pick::Full => return Err(ENOSPC),
                Pick::Wait => (),
            }
        }
        device.unbound.wait_until(deadline, || {
            (device.gone() || device.news() != news).then_some(())
        })?;
    }
}

/// Clears what processes of either VM may have left in the channel, and all of its first page
/// that is not the drivers'.
fn clear(device: &Device, index: usize) -> Result {
    let channel_size = usize::try_from(device.geometry().channel_size())?;
    let pages = device.with_channel(index, |_, words| {
        let touched = |role| words.touched(role).load(Relaxed);
        touched(Role::Server).max(touched(Role::Client)).max(1)
    })?;
    let end = (pages as usize)
        .saturating_mul(kernel::page::PAGE_SIZE)
        .min(channel_size);
    let base = device
        .geometry()
        .channel_offset(index.try_into()?)
        .ok_or(EINVAL)?;
    let mut from = uapi::WORMHOLE_CHANNEL_DRIVER_SIZE as usize;
    while from < end {
        let length = CLEAR_STEP.min(end.saturating_sub(from));
        let at = base.checked_add(from as u64).ok_or(EOVERFLOW)?;
        device.with_window(|window| window.clear(at, length))?;
        from = from.saturating_add(length);
        if kernel::current!().signal_pending() {
            return Err(EINTR);
        }
    }
    device.with_channel(index, |_, words| {
        words.touched(Role::Client).store(0, Relaxed)
    })
}

/// Offers the channel under a fresh number. Also gives our event word of before.
fn offer(device: &Device, index: usize, link: u32) -> Result<(Offer, u32)> {
    // The mutex: after `Device::shut_down` no state word may be set.
    let mut table = device.lock()?;
    let previous = table.number;
    let (number, event) = device.with_channel(index, |_, words| {
        let event = words.event(Role::Client).load(Acquire);
        let server_state = words.state(Role::Server).load(Acquire);
        let number = channel::next_number(previous, server_state);
        // After what `clear` wrote.
        words.state(Role::Client).store(number, Release);
        full_barrier();
        (number, event)
    })?;
    table.number = number;
    device.notify(index)?;
    Ok((Offer { link, number }, event))
}

/// Sleeps until there is something to do about the offer.
fn wait_for_answer(
    device: &Device,
    index: usize,
    offer: Offer,
    event: u32,
    deadline: Deadline,
) -> Result<Next> {
    let look = || {
        if device.gone() {
            return Err(ENODEV);
        }
        let answer = device.with_channel(index, |window, words| Answer {
            event: words.event(Role::Client).load(Acquire),
            server_state: words.state(Role::Server).load(Acquire),
            link: window.link(Role::Server).load(Acquire),
        })?;
        Ok(channel::next(offer, event, answer))
    };
    device
        .sleepers(index)?
        .queue
        .wait_until(deadline, || match look() {
            Ok(Next::Wait) => None,
            outcome => Some(outcome),
        })?
}
