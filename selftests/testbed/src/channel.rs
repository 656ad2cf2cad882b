// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `vm` on the host and the agent in a VM say to each other, over vsock: one connection per command. `vm` sends one
//! [`Frame::Request`], then [`Frame::Stdin`]; the agent sends [`Frame::Stdout`] and [`Frame::Stderr`] and at last one
//! [`Frame::Exit`].

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{bail, Context, Result};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, VsockAddr};
use serde::{Deserialize, Serialize};

/// vsock port of the agent.
pub const AGENT_PORT: u32 = 1024;

/// Longest payload of a frame, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// A command to run in the VM.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Program and arguments; the program is looked up in PATH.
    pub argv: Vec<String>,
    /// Variables added to the agent's own environment.
    pub env: Vec<(String, String)>,
    /// If set, the command is left running in the background with its output in this file; the exit frame then comes
    /// at once, with 0.
    pub detach_log: Option<String>,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Request(Request),
    /// Bytes for the command's standard input; empty: end of input.
    Stdin(Vec<u8>),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Exit status as a shell would give it: 128 + N after signal N, 127 if the command was not found.
    Exit(i32),
    /// Instead of a request: the VM is to sync its disks and power off.
    PowerOff,
}

impl Frame {
    /// Writes the frame: kind (one byte), length (four bytes, little-endian), payload.
    pub fn write(&self, to: &mut impl Write) -> Result<()> {
        let (kind, payload) = match self {
            Frame::Request(request) => (0, serde_json::to_vec(request)?),
            Frame::Stdin(bytes) => (1, bytes.clone()),
            Frame::Stdout(bytes) => (2, bytes.clone()),
            Frame::Stderr(bytes) => (3, bytes.clone()),
            Frame::Exit(status) => (4, status.to_le_bytes().to_vec()),
            Frame::PowerOff => (5, Vec::new()),
        };
        if payload.len() > MAX_PAYLOAD {
            bail!(
                "a frame of {} bytes is more than {MAX_PAYLOAD}",
                payload.len()
            );
        }
        let mut message = vec![kind];
        message.extend_from_slice(&u32::try_from(payload.len())?.to_le_bytes());
        message.extend_from_slice(&payload);
        to.write_all(&message)?;
        to.flush()?;
        Ok(())
    }

    /// Reads the next frame; `None` when the other side has closed the connection between two frames.
    pub fn read(from: &mut impl Read) -> Result<Option<Frame>> {
        let mut kind = [0];
        if from.read(&mut kind)? == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        from.read_exact(&mut length)
            .context("a frame was cut off")?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            bail!("a frame of {length} bytes is more than {MAX_PAYLOAD}");
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)
            .context("a frame was cut off")?;
        Ok(Some(match kind[0] {
            0 => Frame::Request(serde_json::from_slice(&payload).context("malformed request")?),
            1 => Frame::Stdin(payload),
            2 => Frame::Stdout(payload),
            3 => Frame::Stderr(payload),
            4 => match payload.as_slice().try_into() {
                Ok(status) => Frame::Exit(i32::from_le_bytes(status)),
                Err(_) => bail!("an exit frame of {length} bytes"),
            },
            5 if length == 0 => Frame::PowerOff,
            kind => bail!("unknown frame kind {kind}"),
        }))
    }
}

/// A connected vsock stream.
pub struct Stream(OwnedFd);

impl Stream {
    /// Connects to the agent of the VM with context ID `cid`.
    pub fn connect(cid: u32) -> io::Result<Stream> {
        let fd = socket::socket(
            AddressFamily::Vsock,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        socket::connect(fd.as_raw_fd(), &VsockAddr::new(cid, AGENT_PORT))?;
        Ok(Stream(fd))
    }

    /// Another handle of the same connection.
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(Stream(self.0.try_clone()?))
    }

    /// Ends the connection, for all its handles.
    pub fn shut_down(&self) {
        // ENOTCONN if the other side was faster
        let _ = socket::shutdown(self.0.as_raw_fd(), socket::Shutdown::Both);
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(&self.0, buffer)?)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The agent's listening socket.
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens on [`AGENT_PORT`].
    pub fn bind() -> io::Result<Listener> {
        let fd = socket::socket(
            AddressFamily::Vsock,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        socket::bind(
            fd.as_raw_fd(),
            &VsockAddr::new(libc::VMADDR_CID_ANY, AGENT_PORT),
        )?;
        socket::listen(&fd, Backlog::new(16)?)?;
        Ok(Listener(fd))
    }

    /// Waits for the next connection.
    pub fn accept(&self) -> io::Result<Stream> {
        let fd = socket::accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: accept4 returned a new descriptor that nothing else owns.
        Ok(Stream(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went() {
        let frames = [
            Frame::Request(Request {
                argv: vec!["echo".into(), "a b".into()],
                env: vec![("A".into(), "=".into())],
                detach_log: None,
            }),
            Frame::Stdin(vec![]),
            Frame::Stdout(vec![0, 255]),
            Frame::Stderr(b"x".to_vec()),
            Frame::Exit(-1),
            Frame::PowerOff,
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.write(&mut bytes).unwrap();
        }
        let mut from = bytes.as_slice();
        for frame in frames {
            assert_eq!(Frame::read(&mut from).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
    }

    #[test]
    fn bad_frames_are_refused() {
        for bytes in [
            &b"\x09\0\0\0\0"[..],
            b"\x02\xff\xff\xff\xff",
            b"\x02\x02\0\0\0a",
            b"\x04\x01\0\0\0a",
            b"\0\x01\0\0\0x",
            b"\x01\0",
        ] {
            let mut from = bytes;
            assert!(Frame::read(&mut from).is_err(), "{bytes:?}");
        }
    }
}
