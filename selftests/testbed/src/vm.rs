// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual machine on the Intel host: a stock QEMU process with a directory of its own in `/run/vm`.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::channel::{Frame, Request, Stream, MAX_PAYLOAD};
use crate::network::{self, ADDRESS_OPTION};
use crate::session::{OUT, SERIAL_SUFFIX};

/// Kernel and initramfs of the VMs.
const KERNEL: &str = "/guest/vmlinux";
const INITRD: &str = "/guest/initrd";

/// Warnings and worse go to the serial line (a VM's kernel that prints more costs thousands of exits).
const KERNEL_COMMAND_LINE: &str =
    "console=ttyS0 nokaslr mitigations=off tsc=reliable no_timer_check panic=-1 loglevel=5 testbed.role=guest";

/// The first context ID that vsock has for a guest.
const FIRST_CID: u32 = 3;

const POLL: Duration = Duration::from_millis(50);

/// How to start a VM.
pub struct Options {
    /// `server` or `client`
    pub image: String,
    /// MiB
    pub memory: u32,
    pub cpus: u32,
    /// Paths of ivshmem servers' sockets, of a device each
    pub ivshmem: Vec<PathBuf>,
    /// MSI-X vectors of the ivshmem devices
    pub vectors: u32,
    /// Address on the VMs' network, with the prefix length
    pub network: Option<String>,
    pub machine: String,
    /// Added to the kernel command line
    pub append: String,
    /// Added to QEMU's arguments
    pub qemu: Vec<String>,
}

/// How a command in a VM ended.
pub struct Outcome {
    /// As a shell gives it
    pub status: i32,
    /// VM exits that the VM caused while the command ran (the agent's part included)
    pub exits: Option<u64>,
    /// Ticks of the host's time-stamp counter meanwhile
    pub ticks: u64,
}

/// A VM that has been started, and may have ended since.
pub struct Vm {
    name: String,
    directory: PathBuf,
    pid: Pid,
    cid: u32,
}

impl Vm {
    /// Starts a VM; returns when QEMU has made the machine (and connected to the ivshmem server).
    pub fn start(name: &str, options: &Options) -> Result<Vm> {
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            || name.starts_with('.')
        {
            bail!("{name:?} is no name for a VM: letters, digits, '.', '_' and '-'");
        }
        let directory = Path::new("/run/vm").join(name);
        if let Ok(vm) = Vm::find(name) {
            if vm.is_alive() {
                bail!("VM {name} is running already (QEMU's pid is {})", vm.pid);
            }
        }
        fs::create_dir_all(&directory)?;
        let cid = next_cid()?;
        let pid_file = directory.join("pid");
        let _ = fs::remove_file(&pid_file);
        let images = Path::new("/guest");
        let disk = |path: PathBuf, id: &str| {
            [
                "-drive".to_owned(),
                format!(
                    "file={},format=raw,if=none,id={id},readonly=on",
                    path.display()
                ),
                "-device".to_owned(),
                format!("virtio-blk-pci,drive={id}"),
            ]
        };
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-name",
            name,
            "-machine",
            &options.machine,
            "-accel",
            "kvm",
            "-cpu",
            "host",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-daemonize",
        ])
        .arg("-pidfile")
        .arg(&pid_file)
        .args([
            "-m",
            &options.memory.to_string(),
            "-smp",
            &options.cpus.to_string(),
        ])
        .args(["-kernel", KERNEL, "-initrd", INITRD])
        .args(["-append", &kernel_command_line(options)])
        .args(["-serial", &format!("file:{OUT}/{name}{SERIAL_SUFFIX}")])
        .args(disk(images.join(format!("{}.img", options.image)), "base"))
        .args(disk(
            images.join("stage").join(format!("{}.img", options.image)),
            "stage",
        ))
        .args(["-device", &format!("vhost-vsock-pci,guest-cid={cid}")]);
        for (number, socket) in options.ivshmem.iter().enumerate() {
            let (id, vectors) = (format!("wh{number}"), options.vectors);
            qemu.arg("-chardev")
                .arg(format!("socket,id={id},path={}", socket.display()))
                .arg("-device")
                .arg(format!("ivshmem-doorbell,chardev={id},vectors={vectors}"));
        }
        if options.network.is_some() {
            network::make_bridge()?;
            qemu.args(network::qemu_arguments(cid));
        }
        qemu.args(&options.qemu);
        let output = qemu.output().context("cannot run qemu-system-x86_64")?;
        io::stderr().write_all(&output.stderr)?;
        if !output.status.success() {
            bail!("VM {name} did not start: QEMU ended with {}", output.status);
        }
        fs::write(directory.join("cid"), cid.to_string())?;
        if options.network.is_some() {
            network::join_bridge(cid)?;
        }
        Vm::find(name)
    }

    /// Finds a VM that was started under this name.
    pub fn find(name: &str) -> Result<Vm> {
        let directory = Path::new("/run/vm").join(name);
        if !directory.is_dir() {
            bail!("there is no VM {name}");
        }
        let read = |file: &str| -> Result<String> {
            let path = directory.join(file);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            Ok(text.trim().to_owned())
        };
        let pid = Pid::from_raw(read("pid")?.parse().context("QEMU's pid file")?);
        let cid = read("cid")?.parse().context("cid file")?;
        Ok(Vm {
            name: name.to_owned(),
            directory,
            pid,
            cid,
        })
    }

    /// Whether its QEMU process is there.
    pub fn is_alive(&self) -> bool {
        // a process that has ended but was not waited for yet has no command line
        fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|line| !line.is_empty())
    }

    /// Context ID by which vsock reaches it.
    pub fn cid(&self) -> u32 {
        self.cid
    }

    /// QEMU's process ID.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the agent in the VM answers.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            match Stream::connect(self.cid) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > limit => {
                    bail!(
                        "VM {} did not come up in {} s: {error}\n{}",
                        self.name,
                        limit.as_secs(),
                        self.serial_tail()
                    )
                }
                Err(_) => {}
            }
            if !self.is_alive() {
                bail!(
                    "VM {} has ended before it came up\n{}",
                    self.name,
                    self.serial_tail()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Runs a command in the VM, passes its output on, and its input if `input` is set.
    pub fn exec(
        &self,
        request: Request,
        mut input: Option<Box<dyn Read + Send>>,
        mut output: impl Write,
        limit: Option<Duration>,
    ) -> Result<Outcome> {
        let detached = request.detach_log.is_some();
        let lost = || format!("lost VM {}", self.name);
        let mut stream =
            Stream::connect(self.cid).with_context(|| format!("cannot reach VM {}", self.name))?;
        let before = self.exits().ok();
        let begin = time_stamp();
        Frame::Request(request)
            .write(&mut stream)
            .with_context(lost)?;
        if !detached {
            let mut to = stream.try_clone()?;
            if input.is_none() {
                // Fails if the command has ended by now and the agent closed the connection: the answer is there.
                let _ = Frame::Stdin(Vec::new()).write(&mut to);
            }
            thread::spawn(move || {
                let Some(from) = input.as_mut() else { return };
                let mut buffer = vec![0; MAX_PAYLOAD];
                loop {
                    // an unreadable input is an ended one
                    let length = from.read(&mut buffer).unwrap_or(0);
                    if Frame::Stdin(buffer[..length].to_vec())
                        .write(&mut to)
                        .is_err()
                        || length == 0
                    {
                        break;
                    }
                }
            });
        }
        let (sender, frames) = mpsc::channel();
        let mut from = stream.try_clone()?;
        thread::spawn(move || loop {
            let frame = Frame::read(&mut from);
            let last = !matches!(frame, Ok(Some(Frame::Stdout(_) | Frame::Stderr(_))));
            if sender.send(frame).is_err() || last {
                break;
            }
        });
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let frame = match deadline {
                None => frames
                    .recv()
                    .map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                Some(deadline) => {
                    frames.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                }
            };
            match frame {
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    stream.shut_down();
                    bail!(
                        "the command in VM {} took more than {} s",
                        self.name,
                        limit.unwrap_or_default().as_secs()
                    );
                }
                Err(mpsc::RecvTimeoutError::Disconnected) | Ok(Ok(None)) => {
                    bail!("VM {} has gone\n{}", self.name, self.serial_tail())
                }
                Ok(Err(error)) => return Err(error).with_context(lost),
                Ok(Ok(Some(Frame::Stdout(bytes)))) => output.write_all(&bytes)?,
                Ok(Ok(Some(Frame::Stderr(bytes)))) => io::stderr().write_all(&bytes)?,
                Ok(Ok(Some(Frame::Exit(status)))) => {
                    let ticks = time_stamp().saturating_sub(begin);
                    let after = self.exits().ok();
                    let exits = before
                        .zip(after)
                        .and_then(|(before, after)| after.checked_sub(before));
                    output.flush()?;
                    return Ok(Outcome {
                        status,
                        exits,
                        ticks,
                    });
                }
                Ok(Ok(Some(frame))) => bail!("VM {} answered {frame:?}", self.name),
            }
        }
    }

    /// VM exits that the VM caused so far: all exits less those for the host's own interrupts, as KVM counts them.
    pub fn exits(&self) -> Result<u64> {
        Ok(self
            .kvm_stat("exits")?
            .saturating_sub(self.kvm_stat("irq_exits")?))
    }

    /// One of KVM's statistics of this VM, from debugfs.
    pub fn kvm_stat(&self, stat: &str) -> Result<u64> {
        let prefix = format!("{}-", self.pid);
        let statistics = Path::new("/sys/kernel/debug/kvm");
        let list = fs::read_dir(statistics).context("KVM's statistics (is debugfs mounted?)")?;
        for entry in list.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let path = entry.path().join(stat);
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("KVM has no statistic {}", path.display()))?;
                return text
                    .trim()
                    .parse()
                    .with_context(|| format!("{}: {text}", path.display()));
            }
        }
        bail!("KVM knows no VM of process {}", self.pid)
    }

    /// Powers the VM off and waits for QEMU to end.
    pub fn stop(&self, limit: Duration) -> Result<()> {
        if self.is_alive() {
            let mut stream = Stream::connect(self.cid)
                .with_context(|| format!("cannot reach VM {}", self.name))?;
            Frame::PowerOff.write(&mut stream)?;
            self.wait_gone(limit)?;
        }
        Ok(())
    }

    /// Kills QEMU with SIGKILL and waits for its end.
    pub fn kill(&self) -> Result<()> {
        match kill(self.pid, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => self.wait_gone(Duration::from_secs(30)),
            Err(error) => Err(error).context("kill"),
        }
    }

    /// Waits for QEMU's end.
    pub fn wait_gone(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() > limit {
                bail!(
                    "VM {} is still there after {} s\n{}",
                    self.name,
                    limit.as_secs(),
                    self.serial_tail()
                );
            }
            thread::sleep(POLL);
        }
        let _ = fs::remove_dir_all(&self.directory);
        Ok(())
    }

    fn serial_tail(&self) -> String {
        let path = format!("{OUT}/{}{SERIAL_SUFFIX}", self.name);
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        format!("the last lines of its console ({path}):\n{tail}")
    }
}

fn kernel_command_line(options: &Options) -> String {
    let mut line = KERNEL_COMMAND_LINE.to_owned();
    if let Some(address) = &options.network {
        line = format!("{line} {ADDRESS_OPTION}{address}");
    }
    format!("{line} {}", options.append).trim_end().to_owned()
}

/// Returns a context ID that no VM of this boot had: a stale connection never reaches another VM.
fn next_cid() -> Result<u32> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open("/run/vm/next-cid")?;
    let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let cid = if text.is_empty() {
        FIRST_CID
    } else {
        text.trim().parse().context("/run/vm/next-cid")?
    };
    io::Seek::rewind(&mut *file)?;
    file.write_all((cid + 1).to_string().as_bytes())?;
    Ok(cid)
}

/// The CPU's time-stamp counter: instructions, on an emulated host with one CPU.
pub fn time_stamp() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC, and Linux lets every process use it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Standard input, unless it is a terminal or not asked for.
pub fn standard_input(wanted: bool) -> Option<Box<dyn Read + Send>> {
    (wanted && !io::stdin().is_terminal()).then(|| Box::new(io::stdin()) as Box<dyn Read + Send>)
}
