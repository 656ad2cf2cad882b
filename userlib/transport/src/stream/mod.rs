// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages as frames over a connected stream socket. Both ends of `tcp` and
//! `vsock`, and of the pair for tests, are made of this.

mod frame;
mod hello;
mod incoming;
mod listener;
mod outgoing;
mod socket;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::answers::Answers;
use crate::calls::Calls;
use crate::{Error, Limits};
use incoming::StreamIncoming;
use outgoing::StreamOutgoing;
use socket::Socket;

pub(crate) use listener::{Family, StreamConnection, StreamListener};

pub(crate) type StreamClient = Calls<StreamOutgoing, StreamIncoming>;
pub(crate) type StreamServer = Answers<StreamOutgoing, StreamIncoming>;

/// The hello goes out first, so that a peer of another version learns of it, too. Gives the
/// longest message that both ends accept.
fn greet(socket: &Socket, limits: &Limits) -> Result<u32, Error> {
    let timeout = Some(limits.connect_timeout);
    socket.set_timeouts(timeout, timeout)?;
    hello::send(socket, limits)?;
    let accepted = hello::receive(socket)?;
    Ok(limits.max_message.min(accepted))
}

impl StreamClient {
    pub(crate) fn handshake(
        socket: OwnedFd,
        transport: &'static str,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let socket = Arc::new(Socket::new(socket));
        let max_send = greet(&socket, limits)?;
        socket.set_timeouts(limits.timeout, limits.timeout)?;
        let incoming = StreamIncoming::new(socket.clone(), limits.max_message, None);
        let outgoing = StreamOutgoing::new(socket);
        Ok(Calls::new(transport, max_send, outgoing, incoming))
    }
}

impl StreamServer {
    pub(crate) fn handshake(socket: OwnedFd, limits: &Limits) -> Result<Self, Error> {
        let socket = Arc::new(Socket::new(socket));
        let max_send = greet(&socket, limits)?;
        socket.set_timeouts(None, limits.timeout)?;
        let incoming = StreamIncoming::new(socket.clone(), limits.max_message, limits.timeout);
        let outgoing = StreamOutgoing::new(socket);
        Ok(Answers::new(max_send, outgoing, incoming))
    }
}
