// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starts virtual machines on the Intel host and runs commands in them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::{Args, Parser, Subcommand};
use wormhole_testbed::channel::Request;
use wormhole_testbed::vm::{standard_input, time_stamp, Options, Vm};

/// Start virtual machines on the testbed's Intel host and run commands in them.
///
/// Seconds are the host's own: an emulated host's clock is slower than the clock on the wall while it works, and faster
/// while it waits.
#[derive(Parser)]
#[command(name = "vm")]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Subcommand)]
enum Sub {
    /// Start a VM
    Start(Start),
    /// Wait until VMs are up
    Wait {
        #[arg(required = true)]
        names: Vec<String>,
        /// Give up after this many seconds
        #[arg(long, default_value_t = 300)]
        timeout: u64,
    },
    /// Run a command in a VM; its exit status is this one's (125: the VM is gone, or the command took too long)
    Exec(Exec),
    /// Copy a file into a VM
    Push {
        name: String,
        from: PathBuf,
        to: String,
    },
    /// Copy a file out of a VM
    Pull {
        name: String,
        from: String,
        to: PathBuf,
    },
    /// Power VMs off and wait for their end
    Stop {
        #[arg(required = true)]
        names: Vec<String>,
        #[arg(long, default_value_t = 120)]
        timeout: u64,
    },
    /// Kill a VM's QEMU with SIGKILL
    Kill9 { name: String },
    /// Wait for a VM's end
    Gone {
        name: String,
        #[arg(long, default_value_t = 120)]
        timeout: u64,
    },
    /// Print QEMU's process ID
    Pid { name: String },
    /// Print the context ID by which vsock reaches a VM
    Cid { name: String },
    /// Print how many VM exits a VM has caused (exits less those for the host's interrupts), or another KVM statistic
    Exits {
        name: String,
        /// A file of KVM's debugfs folder of the VM, for example halt_exits
        #[arg(long)]
        stat: Option<String>,
    },
    /// Print the host's time-stamp counter
    Ticks,
}

#[derive(Args)]
struct Start {
    name: String,
    /// Image: server or client
    #[arg(long)]
    image: String,
    /// Memory in MiB
    #[arg(long, default_value_t = 384)]
    memory: u32,
    /// Virtual CPUs
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// Add an ivshmem-doorbell device with this server socket; there can be several
    #[arg(long, value_name = "SOCKET")]
    ivshmem: Vec<PathBuf>,
    /// MSI-X vectors of the ivshmem-doorbell devices
    #[arg(long, default_value_t = 2)]
    vectors: u32,
    /// Join the VMs' private network with this address, for example 192.0.2.1/24
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    network: Option<String>,
    /// QEMU's machine type and its properties
    #[arg(
        long,
        default_value = "q35,usb=off,smbus=off,sata=off,vmport=off,hpet=off,graphics=off"
    )]
    machine: String,
    /// Added to the kernel command line
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Added to QEMU's arguments
    #[arg(last = true)]
    qemu: Vec<String>,
}

#[derive(Args)]
struct Exec {
    name: String,
    /// Kill the command and fail after this many seconds
    #[arg(long)]
    timeout: Option<u64>,
    /// Set a variable, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Pass standard input on
    #[arg(short, long)]
    input: bool,
    /// Leave the command running in the background, with its output in this file in the VM
    #[arg(long, value_name = "LOG", conflicts_with_all = ["input", "timeout", "exits", "ticks"])]
    detach: Option<String>,
    /// Write the number of VM exits that the VM caused meanwhile into this file
    #[arg(long, value_name = "FILE")]
    exits: Option<PathBuf>,
    /// Write how far the host's time-stamp counter went meanwhile into this file
    #[arg(long, value_name = "FILE")]
    ticks: Option<PathBuf>,
    #[arg(last = true, required = true)]
    argv: Vec<String>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn run(command: Sub) -> Result<u8> {
    match command {
        Sub::Start(start) => {
            let options = Options {
                image: start.image,
                memory: start.memory,
                cpus: start.smp,
                ivshmem: start.ivshmem,
                vectors: start.vectors,
                network: start.network,
                machine: start.machine,
                append: start.append,
                qemu: start.qemu,
            };
            Vm::start(&start.name, &options)?;
        }
        Sub::Wait { names, timeout } => {
            for name in names {
                Vm::find(&name)?.wait(Duration::from_secs(timeout))?;
            }
        }
        Sub::Exec(exec) => return run_exec(exec),
        Sub::Push { name, from, to } => {
            let file = File::open(&from).with_context(|| from.display().to_string())?;
            let mode = format!("{:o}", file.metadata()?.permissions().mode() & 0o7777);
            let script = r#"cat >"$0" && chmod "$1" "$0""#;
            let request =
                command_request(["sh", "-c", script, &to, &mode].map(str::to_owned).to_vec());
            let outcome = Vm::find(&name)?.exec(request, Some(Box::new(file)), io::sink(), None)?;
            if outcome.status != 0 {
                bail!("cannot write {to} in VM {name}");
            }
        }
        Sub::Pull { name, from, to } => {
            let partial = to.with_extension("part");
            let file = File::create(&partial).with_context(|| partial.display().to_string())?;
            let request = command_request(["cat", "--", &from].map(str::to_owned).to_vec());
            let outcome = Vm::find(&name)?.exec(request, None, file, None)?;
            if outcome.status != 0 {
                bail!("cannot read {from} in VM {name}");
            }
            fs::rename(partial, to)?;
        }
        Sub::Stop { names, timeout } => {
            for name in names {
                Vm::find(&name)?.stop(Duration::from_secs(timeout))?;
            }
        }
        Sub::Kill9 { name } => Vm::find(&name)?.kill()?,
        Sub::Gone { name, timeout } => Vm::find(&name)?.wait_gone(Duration::from_secs(timeout))?,
        Sub::Pid { name } => println!("{}", Vm::find(&name)?.pid()),
        Sub::Cid { name } => println!("{}", Vm::find(&name)?.cid()),
        Sub::Ticks => println!("{}", time_stamp()),
        Sub::Exits { name, stat } => {
            let vm = Vm::find(&name)?;
            println!(
                "{}",
                stat.map_or_else(|| vm.exits(), |stat| vm.kvm_stat(&stat))?
            );
        }
    }
    Ok(0)
}

fn command_request(argv: Vec<String>) -> Request {
    Request {
        argv,
        env: Vec::new(),
        detach_log: None,
    }
}

fn run_exec(exec: Exec) -> Result<u8> {
    let mut env = Vec::new();
    for assignment in &exec.env {
        let (name, value) = assignment
            .split_once('=')
            .with_context(|| format!("--env {assignment}: not NAME=VALUE"))?;
        env.push((name.to_owned(), value.to_owned()));
    }
    let request = Request {
        argv: exec.argv,
        env,
        detach_log: exec.detach,
    };
    let input = standard_input(exec.input);
    let outcome = Vm::find(&exec.name)?.exec(
        request,
        input,
        io::stdout(),
        exec.timeout.map(Duration::from_secs),
    )?;
    if let Some(file) = exec.exits {
        let exits = outcome
            .exits
            .context("KVM's statistics could not be read")?;
        write_number(&file, exits)?;
    }
    if let Some(file) = exec.ticks {
        write_number(&file, outcome.ticks)?;
    }
    Ok(u8::try_from(outcome.status).unwrap_or(125))
}

fn write_number(file: &Path, number: u64) -> Result<()> {
    fs::write(file, format!("{number}\n")).with_context(|| file.display().to_string())
}
