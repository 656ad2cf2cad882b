// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The two sides of a pairing.

use core::fmt;

use wormhole_uapi::{WORMHOLE_ROLE_CLIENT, WORMHOLE_ROLE_SERVER};

/// The VM that owns the accelerator, or the VM that calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Server,
    Client,
}

impl Role {
    /// Both roles, in the order of their ivshmem peer IDs.
    pub const ALL: [Role; 2] = [Role::Server, Role::Client];

    /// The role of an ivshmem peer ID (`IVPosition`).
    pub const fn from_peer_id(id: u32) -> Option<Role> {
        match id {
            WORMHOLE_ROLE_SERVER => Some(Role::Server),
            WORMHOLE_ROLE_CLIENT => Some(Role::Client),
            _ => None,
        }
    }

    /// The ivshmem peer ID of this role's VM.
    pub const fn peer_id(self) -> u32 {
        match self {
            Role::Server => WORMHOLE_ROLE_SERVER,
            Role::Client => WORMHOLE_ROLE_CLIENT,
        }
    }

    /// Index of this role in the window's per-role arrays.
    pub const fn index(self) -> usize {
        self.peer_id() as usize
    }

    /// The other side.
    pub const fn peer(self) -> Role {
        match self {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        }
    }

    /// `server` or `client`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
