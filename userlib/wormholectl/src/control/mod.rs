// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control socket of a pairing: one JSON line in, one JSON line out.

mod client;
mod listener;
mod protocol;

pub use client::ask;
pub use listener::{Control, RequestId};
pub use protocol::{Op, Request, Response, REQUEST_LIMIT, RESPONSE_LIMIT};
