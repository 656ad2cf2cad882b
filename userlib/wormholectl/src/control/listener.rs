// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The holder's end of the control socket. Never blocks; all it keeps is
//! bounded, in size and in time.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::unistd::geteuid;

use super::protocol::{Op, Request, Response, REQUEST_LIMIT};
use crate::error::Error;
use crate::socket::Socket;

/// Most connections at a time.
const CONNECTIONS: usize = 8;
/// Longest life of a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names the connection that asked; good for one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

enum Stage {
    /// What came so far of the request.
    Reading(Vec<u8>),
    /// The request was handed out.
    Asked,
    /// What is left of the response.
    Writing(Vec<u8>),
}

struct Connection {
    id: u64,
    stream: UnixStream,
    until: Instant,
    stage: Stage,
}

/// A control socket and its connections.
pub struct Control {
    socket: Socket,
    connections: Vec<Connection>,
    next_id: u64,
}

impl Control {
    pub fn new(socket: Socket) -> Control {
        Control {
            socket,
            connections: Vec::new(),
            next_id: 0,
        }
    }

    /// Accepts and reads what there is, and hands out whole requests. Each is
    /// to be answered with [`Control::respond`].
    pub fn receive(&mut self, now: Instant) -> Vec<(RequestId, Op)> {
        self.accept(now);
        self.connections.retain(|connection| now < connection.until);
        let mut requests = Vec::new();
        self.connections.retain_mut(|connection| {
            let Stage::Reading(input) = &mut connection.stage else {
                return true;
            };
            match read_line(&mut connection.stream, input) {
                Line::Partial => {}
                Line::Closed => return false,
                Line::Whole => match serde_json::from_slice::<Request>(input) {
                    Ok(request) => {
                        connection.stage = Stage::Asked;
                        requests.push((RequestId(connection.id), request.op));
                    }
                    Err(error) => connection.answer(&bad_request(&error.to_string())),
                },
                Line::TooLong => connection.answer(&bad_request("it is too long")),
            }
            true
        });
        requests
    }

    /// Answers a request; whoever asked may have gone.
    pub fn respond(&mut self, id: RequestId, response: &Response) {
        if let Some(connection) = self.connections.iter_mut().find(|c| c.id == id.0) {
            connection.answer(response);
        }
    }

    /// Sends what the connections take now, and closes those that have all.
    pub fn flush(&mut self) {
        self.connections.retain_mut(|connection| {
            let Stage::Writing(output) = &mut connection.stage else {
                return true;
            };
            while !output.is_empty() {
                match connection.stream.write(output) {
                    Ok(count) => drop(output.drain(..count)),
                    Err(error) => match error.kind() {
                        ErrorKind::Interrupted => {}
                        ErrorKind::WouldBlock => return true,
                        _ => return false,
                    },
                }
            }
            false
        });
    }

    /// What to wait for with poll(2): the listening file, and connections.
    pub fn interest(
        &self,
    ) -> (
        Option<&UnixListener>,
        impl Iterator<Item = (&UnixStream, PollFlags)>,
    ) {
        let connections = self.connections.iter().map(|connection| {
            let flags = match connection.stage {
                Stage::Reading(_) => PollFlags::POLLIN,
                Stage::Asked => PollFlags::empty(),
                Stage::Writing(_) => PollFlags::POLLOUT,
            };
            (&connection.stream, flags)
        });
        (self.socket.interest(), connections)
    }

    /// When a connection's time is up.
    pub fn deadline(&self) -> Option<Instant> {
        self.connections
            .iter()
            .map(|connection| connection.until)
            .chain(self.socket.deadline())
            .min()
    }

    fn accept(&mut self, now: Instant) {
        // What is more than that comes with the next turn.
        for _ in 0..CONNECTIONS {
            let Some((stream, credentials)) = self.socket.accept(now) else {
                return;
            };
            let mut connection = Connection {
                id: self.next_id,
                stream,
                until: now + PATIENCE,
                stage: Stage::Reading(Vec::new()),
            };
            self.next_id += 1;
            let uid = credentials.uid();
            if uid != 0 && uid != geteuid().as_raw() {
                let refused = Error::refused("only root and the pairing's owner may ask");
                connection.answer(&Response::Error(refused));
            } else if self.connections.len() >= CONNECTIONS {
                let busy = Error::refused("too many ask at once");
                connection.answer(&Response::Error(busy));
                // One try; it need not be kept.
                if let Stage::Writing(output) = &connection.stage {
                    let _ = connection.stream.write(output);
                }
                continue;
            }
            self.connections.push(connection);
        }
    }
}

impl Connection {
    fn answer(&mut self, response: &Response) {
        // Nothing in a response can fail to be written as JSON.
        let mut line = serde_json::to_vec(response).unwrap_or_default();
        line.push(b'\n');
        self.stage = Stage::Writing(line);
    }
}

fn bad_request(why: &str) -> Response {
    Response::Error(Error::usage(format!("bad request: {why}")))
}

enum Line {
    Partial,
    /// The line is there, without its newline and without what follows.
    Whole,
    TooLong,
    Closed,
}

fn read_line(stream: &mut UnixStream, input: &mut Vec<u8>) -> Line {
    let mut chunk = [0; REQUEST_LIMIT];
    loop {
        match stream.read(&mut chunk[..REQUEST_LIMIT - input.len()]) {
            Ok(0) => return Line::Closed,
            Ok(count) => input.extend_from_slice(&chunk[..count]),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => return Line::Partial,
                _ => return Line::Closed,
            },
        }
        if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            input.truncate(end);
            return Line::Whole;
        }
        if input.len() == REQUEST_LIMIT {
            return Line::TooLong;
        }
    }
}
