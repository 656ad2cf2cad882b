// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boots the Intel host and runs one command on it, or gives a person a shell there. Runs in the build root.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use clap::{Args, Parser, Subcommand};
use nix::fcntl::OFlag;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg, Termios};
use wormhole_testbed::console::Console;
use wormhole_testbed::disk::Folders;
use wormhole_testbed::machine::{Kind, Machine, Serial};
use wormhole_testbed::session::{SERIAL_SUFFIX, SHELL_READY};
use wormhole_testbed::splat::is_splat;

const POLL: Duration = Duration::from_millis(50);

/// Console output that is awaited after the first line of a kernel's report, so that the whole report is shown.
const REPORT_TIME: Duration = Duration::from_secs(3);

/// Boot the Intel host and run a command on it.
#[derive(Parser)]
#[command(name = "testbed")]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Subcommand)]
enum Sub {
    /// Run a command on the host; its exit status is this one's
    Run(Run),
    /// Give an interactive shell on the host
    Shell {
        #[command(flatten)]
        host: Host,
    },
}

#[derive(Args)]
struct Host {
    /// Folder of the build
    #[arg(long, default_value = "/wormhole/build")]
    build: PathBuf,
    /// CPUs of the host
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// Name of the run: its files go to BUILD/run/NAME
    #[arg(long, default_value = "run")]
    name: String,
    /// Folder below BUILD with trees to lay over the images after those of BUILD/stage; there can be several
    #[arg(long, value_name = "FOLDER")]
    add: Vec<PathBuf>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    host: Host,
    /// Fail after this many seconds
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// Fail when the console is silent for this many seconds
    #[arg(long, default_value_t = 180)]
    silence: u64,
    /// The command, as it is on the host
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Sub::Run(options) => run(&options),
        Sub::Shell { host } => shell(&host),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn folders(host: &Host) -> Result<Folders> {
    let name = &host.name;
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        bail!("{name:?} is no name for a run");
    }
    Ok(Folders {
        build: host.build.clone(),
        run: host.build.join("run").join(name),
        stages: [&[PathBuf::from("stage")], host.add.as_slice()].concat(),
    })
}

fn run(options: &Run) -> Result<u8> {
    let folders = folders(&options.host)?;
    let kind = Kind::of_this_machine();
    let start = Instant::now();
    let media = folders.assemble(&options.command)?;
    eprintln!(
        "== {}: booting, {} CPU(s)",
        kind.description(),
        options.host.cpus
    );
    let console_file = folders.run.join("console");
    let mut console = Console::follow(&console_file)?;
    let serial = Serial::File(&console_file);
    let mut machine = Machine::start(
        kind,
        &media,
        options.host.cpus,
        &serial,
        &folders.build,
        &folders.run,
    )?;
    let failure = watch(options, &mut machine, &mut console)?;
    drop(machine);

    let out = folders.extract(&media);
    if let Some(failure) = failure {
        let _ = out;
        eprintln!("== the console's last lines:");
        for line in console.tail() {
            eprintln!("| {line}");
        }
        bail!(
            "{failure} (console: {}, results: {})",
            console_file.display(),
            folders.run.join("out").display()
        );
    }
    let out = out?;
    if let Some(report) = find_splat(&out)? {
        bail!("a kernel reported trouble: {report}");
    }
    let status = fs::read_to_string(out.join("exit-status")).with_context(|| {
        format!(
            "the host went down before the command ended (console: {})",
            console_file.display()
        )
    })?;
    let status: i32 = status.trim().parse().context("exit-status")?;
    eprintln!(
        "== {} ended with status {status} after {} s; results in {}",
        options.command[0],
        start.elapsed().as_secs(),
        out.display()
    );
    Ok(u8::try_from(status).unwrap_or(125))
}

/// Follows the console until the machine ends; returns why the run has failed, if it has.
fn watch(options: &Run, machine: &mut Machine, console: &mut Console) -> Result<Option<String>> {
    let timeout = Duration::from_secs(options.timeout);
    let silence = Duration::from_secs(options.silence);
    let start = Instant::now();
    let mut reported: Option<Instant> = None;
    loop {
        let running = machine.is_running()?;
        console.read_on(&mut io::stdout().lock())?;
        if let Some(splat) = console.splat() {
            let reported = *reported.get_or_insert_with(Instant::now);
            if !running || reported.elapsed() > REPORT_TIME {
                return Ok(Some(format!("a kernel reported trouble: {splat}")));
            }
        } else if start.elapsed() > timeout {
            return Ok(Some(format!(
                "the run took more than {} s",
                options.timeout
            )));
        } else if console.last_output().elapsed() > silence {
            return Ok(Some(format!(
                "the console was silent for {} s",
                options.silence
            )));
        }
        if !running {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Looks for kernel trouble in the kernel logs that came back.
fn find_splat(out: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "host.dmesg" && !name.ends_with(SERIAL_SUFFIX) {
            continue;
        }
        let text = fs::read(entry.path())?;
        if let Some(line) = String::from_utf8_lossy(&text)
            .lines()
            .find(|line| is_splat(line))
        {
            return Ok(Some(format!("{name}: {line}")));
        }
    }
    Ok(None)
}

/// The user's terminal in raw mode, for as long as this lives.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Result<Option<RawTerminal>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Some(RawTerminal(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // nothing is left to be done about a terminal that has gone
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

fn shell(host: &Host) -> Result<u8> {
    let folders = folders(host)?;
    let kind = Kind::of_this_machine();
    let media = folders.assemble(&[])?;
    let pty = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&pty)?;
    unlockpt(&pty)?;
    let terminal = PathBuf::from(ptsname_r(&pty)?);
    // Held open and raw: what is sent to it must not be echoed, nor lost before the machine opens it.
    let held = fs::File::options().read(true).write(true).open(&terminal)?;
    let mut settings = tcgetattr(&held)?;
    cfmakeraw(&mut settings);
    tcsetattr(&held, SetArg::TCSANOW, &settings)?;
    eprintln!(
        "== {}: booting; exit the shell to switch it off, Ctrl-] to kill it",
        kind.description()
    );
    let serial = Serial::Terminal(&terminal);
    let mut machine = Machine::start(
        kind,
        &media,
        host.cpus,
        &serial,
        &folders.build,
        &folders.run,
    )?;
    let pty: OwnedFd = pty.as_fd().try_clone_to_owned()?;
    let raw = RawTerminal::enter()?;
    let result = relay(&pty, &mut machine);
    drop(raw);
    drop(machine);
    result?;
    let out = folders.extract(&media)?;
    eprintln!("\n== what was left in /out is in {}", out.display());
    Ok(0)
}

/// Passes bytes between the user and the machine until it ends.
fn relay(pty: &OwnedFd, machine: &mut Machine) -> Result<()> {
    const ESCAPE: u8 = 0x1d;
    const END_OF_INPUT: u8 = 0x04;
    let mut pty_file = fs::File::from(pty.try_clone()?);
    // What is typed earlier would go to the firmware and be lost.
    let mut ready = false;
    let mut boot = Vec::new();
    let mut input_open = true;
    let mut buffer = [0; 4096];
    while machine.is_running()? {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(pty.as_fd(), PollFlags::POLLIN)];
        if ready && input_open {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        poll(
            &mut fds,
            PollTimeout::from(if input_open { 200u16 } else { 3000 }),
        )?;
        let readable = |fd: Option<&PollFd>| fd.and_then(PollFd::any).unwrap_or(false);
        let (from_machine, from_user) = (readable(fds.first()), readable(fds.get(1)));
        if from_machine {
            let length = pty_file.read(&mut buffer)?;
            io::stdout().write_all(&buffer[..length])?;
            io::stdout().flush()?;
            if !ready {
                boot.extend_from_slice(&buffer[..length]);
                ready = boot
                    .windows(SHELL_READY.len())
                    .any(|window| window == SHELL_READY.as_bytes());
            }
        }
        if !input_open && !from_machine {
            // The shell is to see the end of its input too. Again whenever the machine is silent: a shell that is not
            // at its prompt does not take it.
            pty_file.write_all(&[END_OF_INPUT])?;
        }
        if from_user {
            let length = nix::unistd::read(stdin.as_fd(), &mut buffer)?;
            input_open = length != 0;
            if buffer[..length].contains(&ESCAPE) {
                break;
            }
            pty_file.write_all(&buffer[..length])?;
        }
    }
    Ok(())
}
