// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a side could not be set up.

use std::io;

use rustix::io::Errno;

/// Why a side could not be set up, or is lost.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This CPU, kernel or host cannot do exitless calls: calls go by ring.
    #[error("no exitless calls: {0}")]
    Unsupported(&'static str),
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    /// The other side broke the rules.
    #[error("the peer violated the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Transport(#[from] wormhole_transport::Error),
}

impl Error {
    pub(crate) fn system(what: impl Into<String>, errno: Errno) -> Self {
        Error::System {
            what: what.into(),
            source: errno.into(),
        }
    }

    /// As C programs get it.
    pub fn errno(&self) -> i32 {
        let io = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        match self {
            Error::Unsupported(_) => libc::EOPNOTSUPP,
            Error::System { source, .. } => io(source),
            Error::Protocol(_) => libc::EPROTO,
            Error::Transport(error) => match error {
                wormhole_transport::Error::PeerGone => libc::ECONNRESET,
                wormhole_transport::Error::TimedOut => libc::ETIMEDOUT,
                wormhole_transport::Error::Setup { source, .. } => io(source),
                wormhole_transport::Error::Io(source) => io(source),
                _ => libc::EPROTO,
            },
        }
    }
}
