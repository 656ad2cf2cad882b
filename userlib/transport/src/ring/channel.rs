// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A mapped channel with its doorbell, before and after the greeting.

use super::doorbell::Doorbell;
use super::hello;
use super::layout::{self, Layout, Role};
use super::link::Link;
use super::receiver::Receiver;
use super::sender::Sender;
use super::shared::{Region, SharedWord};
use crate::{Error, Limits};

/// A channel that is bound and mapped.
pub(super) struct Channel {
    pub(super) memory: Region,
    pub(super) layout: Layout,
    pub(super) doorbell: Box<dyn Doorbell>,
}

/// What one side works with.
pub(super) struct Ends {
    pub(super) link: Link<SharedWord>,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    /// Longest message that both sides accept.
    pub(super) max_send: u32,
}

impl Channel {
    /// Begins a connection as `role`.
    pub(super) fn greet(mut self, role: Role, limits: &Limits) -> Result<Ends, Error> {
        let greeting = hello::greet(
            &self.memory,
            &self.layout,
            role,
            self.doorbell.as_mut(),
            limits,
        )?;
        let memory = &self.memory;
        Ok(Ends {
            link: Link::new(
                memory.word(role.block() + layout::SLEEP),
                memory.word(role.other().block() + layout::SLEEP),
                self.doorbell,
                greeting.seen,
                limits.spins,
            ),
            sender: Sender::new(memory, &self.layout, role, limits.timeout),
            receiver: Receiver::new(
                memory,
                &self.layout,
                role,
                limits.max_message,
                limits.timeout,
            ),
            max_send: limits.max_message.min(greeting.accepted),
        })
    }
}
