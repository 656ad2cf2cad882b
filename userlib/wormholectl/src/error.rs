// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What ends a command, and its exit code.

use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What sort of failure it was; the process's exit code says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something failed.
    Failure,
    /// The command line was wrong.
    Usage,
    /// A device, pairing, process or VM is not there.
    NotThere,
    /// It is taken already, or not permitted.
    Refused,
}

impl Kind {
    /// Exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::Failure => 1,
            Kind::Usage => 2,
            Kind::NotThere => 3,
            Kind::Refused => 4,
        }
    }

    /// The kind that a system call's error number amounts to.
    pub const fn of_errno(errno: Errno) -> Kind {
        match errno {
            Errno::ENOENT | Errno::ESRCH | Errno::ENXIO | Errno::ENODEV => Kind::NotThere,
            Errno::EACCES | Errno::EPERM | Errno::EBUSY | Errno::EADDRINUSE => Kind::Refused,
            _ => Kind::Failure,
        }
    }
}

/// Why a command failed: one sentence for people, and its [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    pub message: String,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }

    pub fn failure(message: impl Into<String>) -> Error {
        Error::new(Kind::Failure, message)
    }

    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    pub fn not_there(message: impl Into<String>) -> Error {
        Error::new(Kind::NotThere, message)
    }

    pub fn refused(message: impl Into<String>) -> Error {
        Error::new(Kind::Refused, message)
    }

    /// A failed system call; `what` says what was tried.
    pub fn os(what: impl std::fmt::Display, errno: Errno) -> Error {
        Error::new(Kind::of_errno(errno), format!("{what}: {}", errno.desc()))
    }

    /// A failed input or output operation; `what` says what was tried.
    pub fn io(what: impl std::fmt::Display, error: &io::Error) -> Error {
        match error.raw_os_error() {
            Some(number) => Error::os(what, Errno::from_raw(number)),
            None => Error::failure(format!("{what}: {error}")),
        }
    }

    /// `{"error":{"kind":…,"message":…}}`
    pub fn to_json(&self) -> serde_json::Value {
        json!({ "error": self })
    }
}
