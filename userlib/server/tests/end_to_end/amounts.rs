// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Much of something, and that nothing of it stays behind.

use std::io::Write;
use std::process::Command;

use crate::daemon::{Daemon, Transport};
use crate::program::{compile, last_line, run, stdout_of};

/// Runs a part of amounts.c.
fn amount(transport: Transport, of: &str) {
    let program = compile("tests/end_to_end/amounts.c");
    let mut daemon = Daemon::start(transport);
    let mut command = Command::new(&program);
    daemon.point(&mut command);
    let stdout = stdout_of(&run(command.arg(of).env("WORMHOLE_LOG", "warn")));
    if let Some(why) = stdout.strip_prefix("skipped: ") {
        // Past the harness, which keeps what successful tests say to itself.
        let line = format!("skipped: {of} over {transport:?}: {why}");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }
    assert_eq!(last_line(&stdout), "all as expected");
    daemon.wait_for_clean();
    daemon.stop();
}

#[test]
fn thousands_of_objects_over_tcp() {
    amount(Transport::Tcp, "objects");
}

#[test]
fn thousands_of_objects_over_the_ring() {
    amount(Transport::Memfd, "objects");
}

#[test]
fn a_million_calls_over_tcp() {
    amount(Transport::Tcp, "calls");
}

#[test]
fn a_million_calls_over_the_ring() {
    amount(Transport::Memfd, "calls");
}

#[test]
fn a_buffer_of_more_than_4_gib() {
    for transport in [Transport::Tcp, Transport::Memfd] {
        amount(transport, "large");
    }
}

/// The count itself: a program that releases nothing, and a context that the vendor still needs.
#[test]
fn what_is_left_is_counted() {
    let mut daemon = Daemon::start(Transport::Tcp);
    let mut command = Command::new(compile("tests/end_to_end/leaves.c"));
    daemon.point(&mut command);
    stdout_of(&run(&mut command));
    let objects = "1 cl_command_queue, 2 cl_mem, 1 cl_program, 2 cl_kernel, 1 cl_event";
    // The event keeps its queue, the buffers keep the context.
    let expected = (
        format!("1 cl_context, {objects}"),
        format!("1 cl_context, {objects}"),
    );
    assert_eq!(daemon.wait_for_left(), expected);
    daemon.stop();
}
