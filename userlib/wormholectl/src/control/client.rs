// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks the holder of a pairing.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::protocol::{Op, Request, Response, RESPONSE_LIMIT};
use crate::error::Error;
use crate::socket::connect_now;

/// Longest wait for an answer to come or to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks over the control socket at `path`. The error is `NotThere` if nobody
/// listens, and the holder's own if it answers with one.
pub fn ask(path: &Path, op: Op) -> Result<Response, Error> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::failure(format!(
            "{}: no answer in {} s",
            path.display(),
            PATIENCE.as_secs()
        )),
        _ => Error::io(path.display(), &error),
    };
    let mut stream = connect_now(path).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => {
            Error::not_there(format!("nobody listens at {}", path.display()))
        }
        Errno::EAGAIN => Error::refused(format!("{}: too many ask at once", path.display())),
        errno => Error::os(path.display(), errno),
    })?;
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .map_err(fail)?;

    let mut line =
        serde_json::to_vec(&Request { op }).map_err(|error| Error::failure(error.to_string()))?;
    line.push(b'\n');
    // Whoever refuses us may answer and close before it has read this.
    let sent = stream.write_all(&line);

    let mut answer = Vec::new();
    BufReader::new(stream)
        .take(RESPONSE_LIMIT as u64)
        .read_until(b'\n', &mut answer)
        .map_err(fail)?;
    if answer.is_empty() {
        sent.map_err(fail)?;
    }
    match serde_json::from_slice(&answer) {
        Ok(Response::Error(error)) => Err(error),
        Ok(response) => Ok(response),
        Err(error) => Err(Error::failure(format!(
            "{}: not an answer that this program knows: {error}",
            path.display()
        ))),
    }
}
