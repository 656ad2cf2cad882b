// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A mapped channel with its doorbell, before and after the greeting.

use std::sync::Arc;
use std::time::Duration;

use super::doorbell::Doorbell;
use super::hello::{self, Greeting};
use super::layout::{self, Layout, Role};
use super::link::Link;
use super::receiver::Receiver;
use super::sender::Sender;
use super::shared::Region;
use crate::answers::Answers;
use crate::calls::Calls;
use crate::{Error, Limits};

/// A channel that is bound and mapped.
pub(super) struct Channel {
    pub(super) memory: Region,
    pub(super) layout: Layout,
    pub(super) doorbell: Arc<dyn Doorbell>,
}

pub(crate) type RingClient = Calls<Sender, Receiver>;
pub(crate) type RingServer = Answers<Sender, Receiver>;

/// What one side works with.
pub(super) struct Ends {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    /// Longest message that both sides accept.
    pub(super) max_send: u32,
}

impl Channel {
    /// Greets the server at the other side.
    pub(super) fn connect(
        self,
        transport: &'static str,
        limits: &Limits,
    ) -> Result<RingClient, Error> {
        let ends = self.greet(Role::Client, limits, limits.timeout)?;
        Ok(Calls::new(
            transport,
            ends.max_send,
            ends.sender,
            ends.receiver,
        ))
    }

    /// Greets the client at the other side.
    pub(super) fn serve(self, limits: &Limits) -> Result<RingServer, Error> {
        let ends = self.greet(Role::Server, limits, None)?;
        Ok(Answers::new(ends.max_send, ends.sender, ends.receiver))
    }

    /// Begins a connection as `role`, which waits for `patience` at most until a message begins.
    pub(super) fn greet(
        self,
        role: Role,
        limits: &Limits,
        patience: Option<Duration>,
    ) -> Result<Ends, Error> {
        let greeting = hello::greet(&self.memory, &self.layout, role, &*self.doorbell, limits)?;
        Ok(self.greeted(greeting, role, limits, patience))
    }

    /// The ends of `role` after this greeting.
    pub(super) fn greeted(
        self,
        greeting: Greeting,
        role: Role,
        limits: &Limits,
        patience: Option<Duration>,
    ) -> Ends {
        let Channel {
            memory,
            layout,
            doorbell,
        } = self;
        // A sender sleeps until there is space, and wakes who sleeps until there is data.
        let link = |own, peer| {
            Link::new(
                memory.word(role.block() + own),
                memory.word(role.other().block() + peer),
                doorbell.clone(),
                greeting.seen,
                limits.spins,
            )
        };
        let sending = link(layout::SPACE_SLEEP, layout::DATA_SLEEP);
        let receiving = link(layout::DATA_SLEEP, layout::SPACE_SLEEP);
        let max = limits.max_message;
        let times = (patience, limits.timeout);
        Ends {
            sender: Sender::new(&memory, &layout, role, sending, limits.timeout),
            receiver: Receiver::new(&memory, &layout, role, receiving, max, times),
            max_send: max.min(greeting.accepted),
        }
    }
}
