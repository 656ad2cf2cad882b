// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl`: pairs the KVM virtual machines of Wormhole. The command
//! itself is a thin `main`; everything that it does is here, where tests
//! reach it.

pub mod cli;
pub mod command;
pub mod control;
pub mod error;
pub mod host;
pub mod kvm_counters;
pub mod logger;
pub mod pairing_file;
pub mod process;
pub mod serve;
pub mod size;
pub mod socket;
pub mod status;
pub mod stop;
