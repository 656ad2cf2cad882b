// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control socket's two messages. A connection carries one of each.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::status::Status;

/// Most bytes of a request, with its newline.
pub const REQUEST_LIMIT: usize = 4096;
/// Most bytes of a response, with its newline: the status of a window with
/// all its channels open takes about 30 KB.
pub const RESPONSE_LIMIT: usize = 1 << 20;

/// `{"op":"stat"}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub op: Op,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    Stat,
    Pair,
    Unpair,
}

/// `{"status":{…}}`, `{"done":"…"}` or `{"error":{"kind":"…","message":"…"}}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    Status(Box<Status>),
    Done(String),
    Error(Error),
}
