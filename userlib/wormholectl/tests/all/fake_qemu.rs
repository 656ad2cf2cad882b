// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client side of the ivshmem server protocol, as QEMU speaks it.

use std::fs::File;
use std::io::{ErrorKind, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{recvmsg, ControlMessageOwned, MsgFlags};
use wormhole_window::{Header, Link, Role, HEADER_SIZE};

/// A message's number and file.
pub type Message = (i64, Option<File>);

/// A connected client.
pub struct FakeQemu(UnixStream);

/// What a client has after the handshake.
pub struct Device {
    pub id: i64,
    pub window: File,
    /// Vectors of the other VM, connected or not.
    pub peer: Vec<File>,
    pub own: Vec<File>,
}

impl FakeQemu {
    /// Connects; nothing here waits for longer than ten seconds.
    pub fn connect(path: &Path) -> FakeQemu {
        let stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        FakeQemu(stream)
    }

    /// The next message, waiting for it; `None` at the connection's end.
    pub fn next(&self) -> Option<Message> {
        self.receive(MsgFlags::empty()).unwrap()
    }

    /// All messages that are here now, and whether the connection has ended.
    pub fn drain(&self) -> (Vec<Message>, bool) {
        let mut messages = Vec::new();
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, true),
                Err(Errno::EAGAIN) => return (messages, false),
                Err(errno) => panic!("{errno}"),
            }
        }
    }

    /// Reads the handshake that has arrived, and checks its order.
    pub fn handshake(&self) -> Device {
        let (messages, closed) = self.drain();
        assert!(!closed, "the server closed");
        Device::new(messages)
    }

    /// The numbers of the messages that are here now, and which have a file.
    pub fn numbers(&self) -> Vec<(i64, bool)> {
        let (messages, closed) = self.drain();
        assert!(!closed, "the server closed");
        messages
            .into_iter()
            .map(|(number, file)| (number, file.is_some()))
            .collect()
    }

    /// It was turned away: an impossible version, and nothing else.
    pub fn assert_refused(&self, errno: Errno) {
        let (messages, closed) = self.drain();
        assert!(closed && messages.len() == 1);
        assert_eq!(messages[0].0, -i64::from(errno as i32));
        assert!(messages[0].1.is_none());
    }

    pub fn is_closed(&self) -> bool {
        self.drain().1
    }

    pub fn send(&self, bytes: &[u8]) {
        (&self.0).write_all(bytes).unwrap();
    }

    fn receive(&self, flags: MsgFlags) -> Result<Option<Message>, Errno> {
        let mut bytes = [0; 8];
        let mut space = nix::cmsg_space!([i32; 4]);
        let (count, fds) = {
            let mut data = [IoSliceMut::new(&mut bytes)];
            let fd = self.0.as_raw_fd();
            let got = match recvmsg::<()>(fd, &mut data, Some(&mut space), flags) {
                Err(Errno::ECONNRESET) => return Ok(None),
                got => got?,
            };
            let mut fds: Vec<OwnedFd> = Vec::new();
            for message in got.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = message {
                    // SAFETY: the kernel has just made these descriptors for us.
                    fds.extend(raw.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
                }
            }
            (got.bytes, fds)
        };
        if count == 0 {
            return Ok(None);
        }
        // QEMU reads whole messages too; ours never come in parts.
        assert_eq!(count, 8);
        assert!(fds.len() <= 1, "more than one file with a message");
        let file = fds.into_iter().next().map(File::from);
        Ok(Some((i64::from_le_bytes(bytes), file)))
    }
}

impl Device {
    /// Checks a handshake as docs/specs/ivshmem-spec orders it.
    pub fn new(messages: Vec<Message>) -> Device {
        let mut messages = messages.into_iter();
        let mut next = || messages.next().expect("the handshake goes on");
        let (version, file) = next();
        assert!(version == 0 && file.is_none());
        let (id, file) = next();
        assert!((0..2).contains(&id) && file.is_none());
        let (number, window) = next();
        assert_eq!(number, -1);
        let mut device = Device {
            id,
            window: window.expect("the shared memory comes with -1"),
            peer: Vec::new(),
            own: Vec::new(),
        };
        for (number, file) in messages {
            let file = file.expect("a vector has an eventfd");
            if number == id {
                device.own.push(file);
            } else {
                assert_eq!(number, 1 - id);
                assert!(device.own.is_empty(), "the receiver's own vectors are last");
                device.peer.push(file);
            }
        }
        assert_eq!((device.peer.len(), device.own.len()), (2, 2));
        device
    }

    pub fn header(&self) -> Header {
        let size = self.window.metadata().unwrap().len();
        Header::parse(&self.header_bytes(), size).unwrap()
    }

    pub fn link(&self, role: Role) -> Link {
        Link::from_header(&self.header_bytes(), role)
    }

    pub fn read_word(&self, offset: u64) -> u32 {
        let mut word = [0; 4];
        self.window.read_exact_at(&mut word, offset).unwrap();
        u32::from_le_bytes(word)
    }

    pub fn write_word(&self, offset: u64, value: u32) {
        self.window
            .write_all_at(&value.to_le_bytes(), offset)
            .unwrap();
    }

    /// Rings the doorbell: raises a vector of the other VM.
    pub fn ring(&self, vector: usize) {
        (&self.peer[vector]).write_all(&1u64.to_ne_bytes()).unwrap();
    }

    /// How often a vector of this VM was raised since last asked.
    pub fn raised(&self, vector: usize) -> u64 {
        let mut count = [0; 8];
        match std::io::Read::read(&mut &self.own[vector], &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn header_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        self.window.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}
