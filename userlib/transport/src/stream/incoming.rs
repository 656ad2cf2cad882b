// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Receiving messages over a stream.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame;
use super::socket::Socket;
use crate::message::{Incoming, Message};
use crate::Error;

const BUFFER: usize = 64 << 10;

pub(crate) struct StreamIncoming {
    stream: BufReader<Reading>,
    /// How long the rest of a message that has begun may take, where beginning is not bounded.
    rest: Option<Duration>,
    /// Longest message accepted.
    max: u32,
}

/// A socket that is read until a deadline.
struct Reading {
    socket: Arc<Socket>,
    deadline: Option<Instant>,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.set_receive_timeout(Some(left))?;
        }
        (&*self.socket).read(buffer)
    }
}

impl StreamIncoming {
    pub(super) fn new(socket: Arc<Socket>, max: u32, rest: Option<Duration>) -> Self {
        let reading = Reading {
            socket,
            deadline: None,
        };
        StreamIncoming {
            stream: BufReader::with_capacity(BUFFER, reading),
            rest,
            max,
        }
    }

    fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let socket = &self.stream.get_ref().socket;
        Ok(socket.set_receive_timeout(timeout)?)
    }

    fn await_bytes(&mut self) -> Result<(), Error> {
        loop {
            match self.stream.fill_buf() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Incoming for StreamIncoming {
    fn receive(
        &mut self,
        accept: impl FnOnce(Message) -> Result<(), Error>,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Message>, Error> {
        if self.rest.is_some() {
            // Only a message that has begun must arrive in time.
            self.set_timeout(None)?;
            self.await_bytes()?;
            self.set_timeout(self.rest)?;
        }
        let Some(message) = frame::read_header(&mut self.stream, self.max)? else {
            return Ok(None);
        };
        accept(message)?;
        frame::read_message(&mut self.stream, message, bytes)?;
        Ok(Some(message))
    }

    fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.stream.get_mut().deadline = deadline;
        self.set_timeout(None)
    }
}
