// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages as frames over a connected stream socket. Both ends of `tcp` and
//! `vsock`, and of the pair for tests, are made of this.

mod client;
mod frame;
mod hello;
mod listener;
mod server;
mod socket;

pub(crate) use client::StreamClient;
pub(crate) use listener::{Family, StreamConnection, StreamListener};
pub(crate) use server::StreamServer;
