// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of functions in another VM without a VM exit.
//!
//! [`Service`] and [`Caller`] are the two sides that most programs want: the
//! server gives one function of six words, the client calls it. Where the host
//! can, the client's own vCPU executes the function in the server's memory
//! ([`Server`], [`Client`]); where it cannot, the words and the result go by
//! messages, and one line on stderr says why.
//!
//! # What a function that is called so may do
//!
//! All that it likes. But what only the server VM can do (a system call, an
//! access of memory that is not registered) takes the call home: a carrier
//! thread of the server goes on with it, the client waits, and that call costs
//! as much as a message. The function sees the thread-local variables of the
//! carrier thread. It must return; it must not unwind.
//!
//! # Signals in the client
//!
//! A signal can come at any time: its handler finds its own thread, with its
//! thread-local variables, and the call goes on when it has returned. It must
//! return: by a longjmp the call would be lost, and its carrier with it.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("exitless calls are for x86-64 Linux");

mod client;
mod cpu;
mod device;
mod error;
mod gate;
mod hop;
mod maps;
mod message;
mod present;
mod range;
mod region;
mod rseq;
mod server;
mod service;
mod stay;
mod stub;

pub use client::{CallError, Called, Client};
pub use device::{Channel, Role};
pub use error::Error;
pub use server::{take_hop, Options, Rights, Server};
pub use service::{Caller, Listener, Path, Service};

/// A function that clients call. It may use all of the server's memory, of
/// which only the client's honesty decides what it gets told to use: check
/// every argument.
pub type Entry = extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;
