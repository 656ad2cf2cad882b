// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent in a VM: runs the commands that `vm` on the host sends over vsock. See [`crate::channel`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{bail, Context, Result};
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

use crate::channel::{Frame, Listener, Request, Stream, MAX_PAYLOAD};

/// Serves commands until one asks for power-off.
pub fn serve() -> Result<()> {
    let listener = Listener::bind().context("cannot listen on vsock")?;
    let (power_off, ended) = std::sync::mpsc::channel();
    thread::spawn(move || loop {
        match listener.accept() {
            Ok(stream) => {
                let power_off = power_off.clone();
                thread::spawn(move || match serve_connection(&stream) {
                    Ok(true) => {
                        let _ = power_off.send(());
                    }
                    Ok(false) => stream.shut_down(),
                    Err(error) => {
                        // `vm exec` may leave when it likes
                        if error.downcast_ref::<io::Error>().map(io::Error::kind)
                            != Some(io::ErrorKind::BrokenPipe)
                        {
                            eprintln!("testbed: agent: {error:#}");
                        }
                        stream.shut_down();
                    }
                });
            }
            Err(error) => eprintln!("testbed: agent: accept: {error}"),
        }
    });
    ended.recv().context("the agent's listener has ended")
}

/// Serves one connection; returns whether it asked for power-off.
fn serve_connection(stream: &Stream) -> Result<bool> {
    let mut from = stream.try_clone()?;
    let request = match Frame::read(&mut from)? {
        Some(Frame::Request(request)) => request,
        Some(Frame::PowerOff) => return Ok(true),
        // `vm wait` only connects
        None => return Ok(false),
        Some(frame) => bail!("a connection began with {frame:?}"),
    };
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    let mut child = match spawn(&request) {
        Ok(child) => child,
        Err(error) => {
            let text = format!(
                "{}: {error}\n",
                request.argv.first().map_or("(no command)", String::as_str)
            );
            send(&writer, &Frame::Stderr(text.into_bytes()))?;
            send(&writer, &Frame::Exit(127))?;
            return Ok(false);
        }
    };
    if request.detach_log.is_some() {
        thread::spawn(move || child.wait());
        send(&writer, &Frame::Exit(0))?;
        return Ok(false);
    }
    let outputs = [
        child
            .stdout
            .take()
            .map(|pipe| forward(pipe, Frame::Stdout, &writer)),
        child
            .stderr
            .take()
            .map(|pipe| forward(pipe, Frame::Stderr, &writer)),
    ];
    // When `vm exec` is killed, or gives up, the command and what it started end too.
    let group = Pid::from_raw(i32::try_from(child.id())?);
    let mut stdin = child.stdin.take();
    thread::spawn(move || {
        while let Ok(Some(Frame::Stdin(bytes))) = Frame::read(&mut from) {
            if bytes.is_empty()
                || stdin
                    .as_mut()
                    .is_some_and(|pipe| pipe.write_all(&bytes).is_err())
            {
                stdin = None;
            }
        }
        // ESRCH if it has ended by itself
        let _ = killpg(group, Signal::SIGKILL);
    });
    let status = child.wait()?;
    for output in outputs.into_iter().flatten() {
        let _ = output.join();
    }
    send(&writer, &Frame::Exit(shell_status(status)))?;
    Ok(false)
}

fn spawn(request: &Request) -> io::Result<Child> {
    let [program, arguments @ ..] = request.argv.as_slice() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the command is empty",
        ));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(request.env.iter().cloned())
        .process_group(0);
    match &request.detach_log {
        Some(path) => {
            let log = File::create(path)?;
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
        }
        None => {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        }
    }
    command.spawn()
}

fn forward(
    mut pipe: impl Read + Send + 'static,
    frame: fn(Vec<u8>) -> Frame,
    writer: &Arc<Mutex<Stream>>,
) -> thread::JoinHandle<()> {
    let writer = Arc::clone(writer);
    thread::spawn(move || {
        let mut buffer = vec![0; MAX_PAYLOAD];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if send(&writer, &frame(buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    })
}

fn send(writer: &Mutex<Stream>, frame: &Frame) -> Result<()> {
    match writer.lock() {
        Ok(mut stream) => frame.write(&mut *stream),
        Err(_) => bail!("another thread of this connection has failed"),
    }
}

fn shell_status(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
