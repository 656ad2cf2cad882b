// SPDX-License-Identifier: Apache-2.0 OR MIT
//! First process of the Intel host and of every VM. From the initramfs it loads the modules, lays what is ours over the
//! base image (overlayfs, with a tmpfs on top: the images are never written), moves there, and runs the host's session
//! or the VM's agent. When that ends it powers the machine off.

use std::fs::{self, File};
use std::os::unix::fs::{symlink, FileExt};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use nix::kmod::{finit_module, ModuleInitFlags};
use nix::mount::{mount, MsFlags};
use nix::sys::reboot::{reboot, RebootMode};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{wait, WaitStatus};
use nix::unistd::{chdir, chroot, fork, getpid, sethostname, ForkResult, Pid};
use wormhole_testbed::network::{self, ADDRESS_OPTION};
use wormhole_testbed::{agent, disk, session};

/// Longest wait for a disk to show up.
const DISK_WAIT: Duration = Duration::from_secs(60);

fn main() {
    if getpid() != Pid::from_raw(1) {
        eprintln!(
            "init: this is the first process of the testbed's machines, it does nothing elsewhere"
        );
        std::process::exit(2);
    }
    if let Err(error) = run() {
        println!("testbed: init failed: {error:#}");
    }
    power_off();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Host,
    Guest,
}

fn run() -> Result<()> {
    for directory in [
        "/proc", "/sys", "/dev", "/base", "/stage", "/overlay", "/root",
    ] {
        fs::create_dir_all(directory)?;
    }
    mount_fs("proc", "/proc", "")?;
    mount_fs("sysfs", "/sys", "")?;
    mount_fs("devtmpfs", "/dev", "")?;
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let option = |name| {
        let mut words = command_line.split_whitespace();
        words.find_map(|word| word.strip_prefix(name))
    };
    let role = match option("testbed.role=") {
        Some("host") => Role::Host,
        Some("guest") => Role::Guest,
        other => bail!("testbed.role on the kernel command line is {other:?}, not host or guest"),
    };
    load_modules()?;
    let (base, stage) = find_disks(match role {
        Role::Host => ["/dev/sda", "/dev/sdb"],
        Role::Guest => ["/dev/vda", "/dev/vdb"],
    })?;
    mount_root(role, base, stage)?;
    prepare_root(role)?;
    std::env::set_var(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    std::env::set_var("HOME", "/root");
    std::env::set_var("LC_ALL", "C.UTF-8");
    if let Some(address) = option(ADDRESS_OPTION) {
        network::configure(address)?;
    }

    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let status = match role {
                Role::Host => session::run(),
                Role::Guest => agent::serve().map(|()| 0),
            };
            let status = status.unwrap_or_else(|error| {
                println!("testbed: {error:#}");
                125
            });
            std::process::exit(status);
        }
        ForkResult::Parent { child } => {
            let status = loop {
                match wait()? {
                    WaitStatus::Exited(pid, status) if pid == child => break status,
                    WaitStatus::Signaled(pid, signal, _) if pid == child => {
                        break 128 + signal as i32
                    }
                    _ => {}
                }
            };
            if role == Role::Host {
                println!("testbed: session ended with status {status}");
            } else if status != 0 {
                println!("testbed: the agent ended with status {status}");
            }
            Ok(())
        }
    }
}

fn mount_fs(kind: &str, target: &str, options: &str) -> Result<()> {
    mount(
        Some(kind),
        target,
        Some(kind),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| format!("cannot mount {kind} on {target}"))
}

/// Loads what the initramfs has in `/modules`, in the order of their names.
fn load_modules() -> Result<()> {
    let mut paths: Vec<_> = fs::read_dir("/modules")?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let result = finit_module(File::open(&path)?, c"", ModuleInitFlags::empty());
        // A machine without VMX has no use for kvm-intel; what needs it says so later, in its own words.
        if let Err(error) = result {
            println!("testbed: {}: {error}", path.display());
        }
    }
    Ok(())
}

/// Waits for both disks and tells the base image from what is laid over it, by the label: the kernel names disks in the
/// order in which their probing ends, and that varies.
fn find_disks([first, second]: [&'static str; 2]) -> Result<(&'static str, &'static str)> {
    let start = Instant::now();
    while !(Path::new(first).exists() && Path::new(second).exists()) {
        if start.elapsed() > DISK_WAIT {
            bail!("the disks {first} and {second} did not show up");
        }
        thread::sleep(Duration::from_millis(5));
    }
    match (
        label(first)? == disk::STAGE_LABEL,
        label(second)? == disk::STAGE_LABEL,
    ) {
        (false, true) => Ok((first, second)),
        (true, false) => Ok((second, first)),
        _ => bail!(
            "exactly one of the disks {first} and {second} should have the label {}",
            disk::STAGE_LABEL
        ),
    }
}

/// The label of an ext4 file system: 16 bytes at 0x78 of the superblock, which lies at 1024.
fn label(device: &str) -> Result<String> {
    let mut bytes = [0; 16];
    let file = File::open(device).with_context(|| device.to_owned())?;
    file.read_exact_at(&mut bytes, 1024 + 0x78)
        .with_context(|| device.to_owned())?;
    Ok(String::from_utf8_lossy(&bytes)
        .trim_end_matches('\0')
        .to_owned())
}

fn mount_root(role: Role, base: &str, stage: &str) -> Result<()> {
    let mount_disk = |disk: &str, target: &str, flags: MsFlags| {
        mount(Some(disk), target, Some("ext4"), flags, None::<&str>)
            .with_context(|| format!("cannot mount {disk} on {target}"))
    };
    mount_disk(base, "/base", MsFlags::MS_RDONLY)?;
    // the host's second disk takes what is to be brought back
    let stage_flags = if role == Role::Host {
        MsFlags::MS_NOATIME
    } else {
        MsFlags::MS_RDONLY
    };
    mount_disk(stage, "/stage", stage_flags)?;
    mount_fs("tmpfs", "/overlay", "mode=755")?;
    fs::create_dir("/overlay/upper")?;
    fs::create_dir("/overlay/work")?;
    let options = "lowerdir=/stage/tree:/base,upperdir=/overlay/upper,workdir=/overlay/work";
    mount_fs("overlay", "/root", options)?;
    if role == Role::Host {
        mount(
            Some("/stage/out"),
            "/root/out",
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .context("/out")?;
    }
    for directory in ["/proc", "/sys", "/dev"] {
        let target = format!("/root{directory}");
        mount(
            Some(directory),
            target.as_str(),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
        .with_context(|| format!("cannot move {directory}"))?;
    }
    chdir("/root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("cannot move the root")?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn prepare_root(role: Role) -> Result<()> {
    for (kind, target, options) in [
        ("tmpfs", "/run", "mode=755"),
        ("tmpfs", "/tmp", "mode=1777"),
        ("tmpfs", "/dev/shm", "mode=1777"),
        ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
    ] {
        fs::create_dir_all(target)?;
        mount_fs(kind, target, options)?;
    }
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        symlink(target, link)?;
    }
    mount_fs("debugfs", "/sys/kernel/debug", "")?;
    mount_fs("tracefs", "/sys/kernel/tracing", "")?;
    sethostname(if role == Role::Host {
        "intel-host"
    } else {
        "vm"
    })?;
    if role == Role::Host {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .context("ip")?;
        if !up.success() {
            bail!("ip link set lo up: {up}");
        }
    }
    Ok(())
}

/// Ends every process, writes the disks out and switches the machine off.
fn power_off() -> ! {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // ESRCH when there is no other process
        if kill(Pid::from_raw(-1), signal).is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    }
    let _ = mount(
        None::<&str>,
        "/out",
        None::<&str>,
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        None::<&str>,
    );
    nix::unistd::sync();
    let result = reboot(RebootMode::RB_POWER_OFF);
    println!("testbed: cannot power off: {result:?}");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
