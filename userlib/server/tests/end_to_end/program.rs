// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Building and running C programs.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use crate::daemon::PATIENCE;

/// Compiles a C file, by its path from this crate, and returns the program.
pub fn compile(source: &str) -> PathBuf {
    compile_with(source, &[])
}

/// As [`compile`], but returns a library.
pub fn compile_library(source: &str) -> PathBuf {
    compile_with(source, &["-shared", "-fPIC", "-Wl,--no-as-needed"])
}

fn compile_with(source: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let name = source
        .file_stem()
        .expect("a file")
        .to_string_lossy()
        .into_owned();
    // Tests run side by side: each compiles to a name of its own.
    let thread = format!("{:?}", thread::current().id());
    let unique: String = thread.chars().filter(char::is_ascii_digit).collect();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{unique}", std::process::id()));
    let status = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wno-unused", "-O1", "-o"])
        .arg(&program)
        .args(options)
        .arg(&source)
        .args(["-lOpenCL", "-lm", "-pthread"])
        .status()
        .expect("a C compiler");
    assert!(status.success(), "{} does not compile", source.display());
    program
}

/// Runs a command to its end, or fails when that takes too long.
pub fn run(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    wait(child)
}

/// As [`run`], for a child whose output is piped.
pub fn wait(mut child: Child) -> Output {
    fn read(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut from) = from {
                // What could not be read is not compared.
                let _ = from.read_to_end(&mut bytes);
            }
            bytes
        })
    }
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a program did not end");
        }
        thread::sleep(std::time::Duration::from_millis(10));
    };
    Output {
        status,
        stdout: stdout.join().expect("the reader does not panic"),
        stderr: stderr.join().expect("the reader does not panic"),
    }
}

/// Standard output of a program that succeeded.
pub fn stdout_of(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
        output.status
    );
    stdout
}

/// The line that says how it went.
pub fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
