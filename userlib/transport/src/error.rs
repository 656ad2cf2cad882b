// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong between two ends of a connection.

use std::io;

/// Failure of a transport operation.
///
/// After [`Error::TooLarge`] from a sending operation and after
/// [`Error::Misuse`] the connection is as it was before; after any other error
/// it is of no further use, and every later operation says
/// [`Error::PeerGone`] at once.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other end closed the connection, died, or its machine did.
    #[error("the peer is gone")]
    PeerGone,
    /// The other end broke the rules of the transport.
    #[error("the peer violated the protocol: {0}")]
    Protocol(&'static str),
    /// Both ends speak Wormhole, but not the same version of it.
    #[error("the peer speaks version {theirs} of the protocol, this end version {ours}")]
    Version {
        /// Version of this end.
        ours: u32,
        /// Version the peer announced.
        theirs: u32,
    },
    /// A message is longer than one of the two ends accepts. Lengths in bytes.
    #[error("a message of {len} bytes is over the limit of {max} bytes")]
    TooLarge {
        /// Length of the message.
        len: u64,
        /// Longest message accepted.
        max: u64,
    },
    /// The peer did not act within the configured time.
    #[error("timed out waiting for the peer")]
    TimedOut,
    /// This end was used against its contract, e.g. a reply where no call waits.
    #[error("misuse of the transport: {0}")]
    Misuse(&'static str),
    /// The configuration names no usable transport.
    #[error("configuration: {0}")]
    Config(String),
    /// The connection could not be made, or no listener set up.
    #[error("{what}: {source}")]
    Setup {
        /// What was tried, for people.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The operating system failed an operation on an established connection.
    #[error("transport I/O: {0}")]
    Io(io::Error),
}

impl Error {
    pub(crate) fn setup(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Setup {
            what: what.into(),
            source: source.into(),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        // The guest driver's device went, and the peer with it.
        if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
            return Error::PeerGone;
        }
        match error.kind() {
            Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable => Error::PeerGone,
            // A socket with SO_RCVTIMEO or SO_SNDTIMEO says EAGAIN.
            Kind::WouldBlock | Kind::TimedOut => Error::TimedOut,
            _ => Error::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}
