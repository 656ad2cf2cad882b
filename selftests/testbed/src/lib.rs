// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The testbed's programs: `testbed` boots the Intel host, `init` is the first process of the host and of every VM,
//! `vm` starts VMs on the host and runs commands in them, through `init`'s agent.

pub mod agent;
pub mod channel;
pub mod console;
pub mod disk;
pub mod machine;
pub mod modules;
pub mod network;
pub mod session;
pub mod splat;
pub mod vm;
