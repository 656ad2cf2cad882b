// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sending messages over a stream.

use std::io::IoSlice;
use std::sync::Arc;

use super::frame::{self, HEADER_LEN};
use super::socket::Socket;
use crate::message::{Message, MessageKind, Outgoing};
use crate::Error;

/// Posted requests wait for company up to this many bytes, headers included.
const BATCH: usize = 64 << 10;

pub(crate) struct StreamOutgoing {
    socket: Arc<Socket>,
    /// Frames of posted requests that were not sent yet.
    batch: Vec<u8>,
}

impl StreamOutgoing {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        StreamOutgoing {
            socket,
            batch: Vec::new(),
        }
    }

    /// Sends the batch and, behind it, one message that did not go into it.
    fn send_all(&mut self, header: &[u8], message: &[IoSlice<'_>]) -> Result<(), Error> {
        let mut parts = Vec::with_capacity(message.len() + 2);
        parts.push(IoSlice::new(&self.batch));
        parts.push(IoSlice::new(header));
        parts.extend(message.iter().map(|part| IoSlice::new(part)));
        self.socket.send_all(&mut parts)?;
        self.batch.clear();
        Ok(())
    }
}

impl Outgoing for StreamOutgoing {
    fn send(&mut self, message: Message, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        let header = frame::encode(message);
        let size = HEADER_LEN + message.len as usize;
        if message.kind != MessageKind::Posted || self.batch.len() + size > BATCH {
            return self.send_all(&header, parts);
        }
        self.batch.reserve_exact(BATCH - self.batch.len());
        self.batch.extend_from_slice(&header);
        for part in parts {
            self.batch.extend_from_slice(part);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.send_all(&[], &[])
    }
}
