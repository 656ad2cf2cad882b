// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Intel host as a process: the emulator Bochs, or, where this machine's CPU has VMX, QEMU with nested VMX. Both boot
//! the same kernel, initramfs and disks.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::disk::{run, Media};

/// MiB; the most that Bochs 3.0 can have.
const MEMORY: u32 = 2048;

/// `idle=halt`: with mwait, which the emulated CPU has, each wait for the other CPU costs seconds.
const KERNEL_COMMAND_LINE: &str =
    "console=ttyS0 nokaslr mitigations=off nomodeset tsc=reliable no_timer_check \
    idle=halt panic=-1 loglevel=5 testbed.role=host";

/// What runs the Intel host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Emulated
    Bochs,
    /// This machine's own VMX, nested
    Kvm,
}

impl Kind {
    /// The real CPU where it can be used, the emulator elsewhere.
    pub fn of_this_machine() -> Kind {
        let vmx = fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| {
            info.lines().any(|line| {
                line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "vmx")
            })
        });
        if vmx
            && File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok()
        {
            Kind::Kvm
        } else {
            Kind::Bochs
        }
    }

    /// For people.
    pub fn description(self) -> &'static str {
        match self {
            Kind::Bochs => "emulated Intel host (Bochs: this machine's CPU offers no VMX)",
            Kind::Kvm => "Intel host on this machine's own VMX (QEMU with nested virtualisation)",
        }
    }
}

/// Where the host's serial line goes.
pub enum Serial<'a> {
    File(&'a Path),
    /// The terminal side of a pseudo-terminal
    Terminal(&'a Path),
}

/// A running host; it is killed when this is dropped.
pub struct Machine(Child);

impl Machine {
    /// Starts the host with `cpus` CPUs. Working files and logs go to the folder `directory`.
    pub fn start(
        kind: Kind,
        media: &Media,
        cpus: u32,
        serial: &Serial,
        build: &Path,
        directory: &Path,
    ) -> Result<Machine> {
        let mut command = match kind {
            Kind::Bochs => bochs(media, cpus, serial, build, directory)?,
            Kind::Kvm => qemu(media, cpus, serial),
        };
        let log = File::create(directory.join("machine.log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        Ok(Machine(
            child.with_context(|| format!("cannot run {command:?}"))?,
        ))
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // an error means that it has ended
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bochs(
    media: &Media,
    cpus: u32,
    serial: &Serial,
    build: &Path,
    directory: &Path,
) -> Result<Command> {
    let medium = boot_medium(media, directory)?;
    // The lock file lies beside the image's name: with a name of its own a run never meets another one's.
    let base = directory.join("base.img");
    symlink(&media.base, &base)?;
    for image in [&base, &media.disk] {
        // Bochs crashes on a lock that a killed one left
        let _ = fs::remove_file(format!("{}.lock", image.display()));
    }
    let com1 = match serial {
        Serial::File(path) => format!("mode=file, dev={}", path.display()),
        Serial::Terminal(path) => format!("mode=term, dev={}", path.display()),
    };
    let config = format!(
        "display_library: nogui
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: model=tigerlake, count={cpus}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={MEMORY}, host={MEMORY}
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, mode=flat, path={base}
ata0-slave: type=disk, mode=flat, path={disk}
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata1-master: type=cdrom, path={medium}, status=inserted
boot: cdrom
com1: enabled=1, {com1}
clock: sync=none
log: {log}
panic: action=report
error: action=report
info: action=ignore
debug: action=ignore
",
        base = base.display(),
        disk = media.disk.display(),
        medium = medium.display(),
        log = directory.join("bochs.log").display(),
    );
    let config_file = directory.join("bochsrc");
    fs::write(&config_file, config)?;
    let mut command = Command::new(build.join("bochs/bochs"));
    command.arg("-q").arg("-f").arg(config_file);
    Ok(command)
}

/// Makes a CD image that boots the kernel.
fn boot_medium(media: &Media, directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("medium");
    fs::create_dir_all(&tree)?;
    for (from, name) in [
        (Path::new("/usr/lib/ISOLINUX/isolinux.bin"), "isolinux.bin"),
        (
            Path::new("/usr/lib/syslinux/modules/bios/ldlinux.c32"),
            "ldlinux.c32",
        ),
        (&media.kernel, "vmlinuz"),
        (&media.initrd, "initrd"),
    ] {
        fs::copy(from, tree.join(name)).with_context(|| from.display().to_string())?;
    }
    let config = format!("DEFAULT linux\nPROMPT 0\nLABEL linux\nKERNEL vmlinuz\nINITRD initrd\nAPPEND {KERNEL_COMMAND_LINE}\n");
    fs::write(tree.join("isolinux.cfg"), config)?;
    let medium = directory.join("boot.iso");
    run(Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-o"])
        .arg(&medium)
        .args([
            "-b",
            "isolinux.bin",
            "-c",
            "boot.cat",
            "-no-emul-boot",
            "-boot-load-size",
            "4",
            "-boot-info-table",
        ])
        .arg(&tree))?;
    fs::remove_dir_all(&tree)?;
    Ok(medium)
}

fn qemu(media: &Media, cpus: u32, serial: &Serial) -> Command {
    let drive = |path: &Path, index: u32| {
        format!("file={},format=raw,if=ide,index={index}", path.display())
    };
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-machine",
            "pc",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-m", &MEMORY.to_string(), "-smp", &cpus.to_string()])
        .arg("-kernel")
        .arg(&media.kernel)
        .arg("-initrd")
        .arg(&media.initrd)
        .args(["-append", KERNEL_COMMAND_LINE])
        // IDE disks cannot be read-only in QEMU; the snapshot takes what a driver might write
        .args(["-drive", &format!("{},snapshot=on", drive(&media.base, 0))])
        .args(["-drive", &drive(&media.disk, 1)])
        .arg("-serial")
        .arg(match serial {
            Serial::File(path) => format!("file:{}", path.display()),
            Serial::Terminal(path) => path.display().to_string(),
        });
    command
}
