// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes read as messages.

use wormhole_opencl_protocol::frame::{open_request, ReplyFrame};

use crate::grammar::{read_as, MESSAGES};

/// Reads bytes as every request and reply, and as the frames around them.
pub fn read(bytes: &[u8]) {
    // Whether they are one is not the question.
    for message in &MESSAGES {
        let _ = read_as(message.function, bytes, bytes);
    }
    let _ = open_request(bytes);
    let _ = ReplyFrame::open(bytes);
}
