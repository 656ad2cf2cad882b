// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disk of one run: what is ours goes in, results come out. Made with `mke2fs -d`, read with `debugfs`; nothing is
//! mounted on the build machine.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{anyhow, bail, Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{modules, session};

/// Bytes of a cylinder in the emulated disk's geometry; its size must be a multiple of this.
const CYLINDER: u64 = 16 * 63 * 512;

/// ext4 label of a disk that is laid over a base image.
pub const STAGE_LABEL: &str = "stage";

/// Room for results, in bytes.
const RESULTS: u64 = 256 << 20;

/// Folders that the build leaves, and the one of this run.
pub struct Folders {
    /// `build/`
    pub build: PathBuf,
    /// `build/run/NAME/`
    pub run: PathBuf,
    /// Folders below `build` with trees for `host`, `server` and `client`; a file in a later one replaces one before
    pub stages: Vec<PathBuf>,
}

/// Everything that a machine boots from.
pub struct Media {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// The host's base image; never written.
    pub base: PathBuf,
    /// This run's disk.
    pub disk: PathBuf,
    /// Keeps others out of the run's folder.
    _lock: Flock<File>,
}

impl Folders {
    /// Lays out the run's disk, the initramfs and the VMs' overlays. `command` is what the host runs, a shell if empty.
    pub fn assemble(&self, command: &[String]) -> Result<Media> {
        let release = fs::read_to_string(self.build.join("kernel/release"))
            .context("no kernel yet: kernel.sh fetches it")?;
        let release = release.trim();
        let kernel = self.build.join("kernel").join(release);
        let module_folder = kernel.join("lib/modules").join(release);
        let base = self.build.join("images/host.img");
        if !base.exists() {
            bail!("{} is missing: images.sh makes it", base.display());
        }
        let parent = self.run.parent().context("the run's folder")?;
        fs::create_dir_all(parent)?;
        let lock_path = self.run.with_extension("lock");
        let lock = File::create(&lock_path).with_context(|| lock_path.display().to_string())?;
        let lock =
            Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(
                |(_, error)| match error {
                    Errno::EWOULDBLOCK => anyhow!(
                        "{} is in use by another run: give this one another --name",
                        self.run.display()
                    ),
                    error => anyhow!("{}: {error}", lock_path.display()),
                },
            )?;
        let _ = fs::remove_dir_all(&self.run);
        fs::create_dir_all(&self.run)?;
        let programs = std::env::current_exe()?;
        let programs = programs.parent().context("this program's folder")?;

        // the VMs
        let guest = self.run.join("contents/tree/guest");
        fs::create_dir_all(guest.join("stage"))?;
        for image in ["server", "client"] {
            let contents = self.run.join(image);
            let tree = contents.join("tree");
            fs::create_dir_all(&tree)?;
            self.add_stages(image, &tree)?;
            make_image(
                &contents,
                &guest.join("stage").join(format!("{image}.img")),
                0,
            )?;
            fs::remove_dir_all(&contents)?;
        }
        let vmlinux = kernel.join("vmlinux");
        if !vmlinux.exists() {
            bail!("{} is missing: kernel.sh makes it", vmlinux.display());
        }
        fs::hard_link(&vmlinux, guest.join("vmlinux"))?;
        make_initramfs(
            &programs.join("init"),
            &module_folder,
            modules::GUEST,
            &guest.join("initrd"),
        )?;

        // the host
        let contents = self.run.join("contents");
        let tree = contents.join("tree");
        fs::create_dir_all(contents.join("out"))?;
        self.add_stages("host", &tree)?;
        install(&programs.join("vm"), &tree.join("usr/local/bin/vm"))?;
        let command_file = tree.join(session::COMMAND_FILE.trim_start_matches('/'));
        fs::create_dir_all(command_file.parent().context("command file")?)?;
        fs::write(&command_file, serde_json::to_vec(command)?)?;
        let target = tree.join("lib/modules").join(release);
        // /lib is a link to usr/lib in Debian; a folder here would hide it
        let target = tree.join("usr").join(target.strip_prefix(&tree)?);
        let wanted = [modules::HOST, modules::HOST_NETWORK].concat();
        for path in modules::load_order(&module_folder, &wanted)? {
            install(&module_folder.join(&path), &target.join(&path))?;
        }
        for index in [
            "modules.order",
            "modules.builtin",
            "modules.builtin.modinfo",
        ] {
            install(&module_folder.join(index), &target.join(index))?;
        }
        run(Command::new("depmod")
            .arg("-b")
            .arg(tree.join("usr"))
            .arg(release))?;
        let disk = self.run.join("disk.img");
        make_image(&contents, &disk, RESULTS)?;
        fs::remove_dir_all(&contents)?;

        let initrd = self.run.join("initrd");
        make_initramfs(
            &programs.join("init"),
            &module_folder,
            modules::HOST,
            &initrd,
        )?;
        Ok(Media {
            kernel: kernel.join("vmlinuz"),
            initrd,
            base,
            disk,
            _lock: lock,
        })
    }

    /// Lays the stages' trees of `name`, where there are any, into `tree`, by hard links.
    fn add_stages(&self, name: &str, tree: &Path) -> Result<()> {
        for stage in &self.stages {
            let stage = self.build.join(stage).join(name);
            if stage.exists() {
                run(Command::new("cp")
                    .arg("-alf")
                    .arg(stage.join("."))
                    .arg(tree))?;
            }
        }
        for (link, target) in [
            ("bin", "usr/bin"),
            ("sbin", "usr/sbin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
        ] {
            if tree.join(link).exists() {
                bail!("what is staged for {name} has /{link}, which is a link to /{target} in Debian: put it there");
            }
        }
        Ok(())
    }

    /// Brings back what the host left in `/out` of its disk, into the run's folder `out`.
    pub fn extract(&self, media: &Media) -> Result<PathBuf> {
        let out = self.run.join("out");
        let _ = fs::remove_dir_all(&out);
        let request = format!("rdump /out {}", self.run.display());
        let result = Command::new("debugfs")
            .arg("-R")
            .arg(request)
            .arg(&media.disk)
            .stdin(Stdio::null())
            .output();
        let result = result.context("cannot run debugfs")?;
        if !out.is_dir() {
            bail!(
                "cannot read the run's disk: {}",
                String::from_utf8_lossy(&result.stderr).trim()
            );
        }
        Ok(out)
    }
}

/// Makes an initramfs with `init` and, in `/modules`, the modules `wanted` and what they depend on.
fn make_initramfs(init: &Path, module_folder: &Path, wanted: &[&str], out: &Path) -> Result<()> {
    let tree = out.with_extension("tree");
    fs::create_dir_all(tree.join("modules"))?;
    install(init, &tree.join("init"))?;
    // the kernel opens it for the first process
    fs::create_dir_all(tree.join("dev"))?;
    run(Command::new("mknod")
        .arg(tree.join("dev/console"))
        .args(["c", "5", "1"]))?;
    for (index, path) in modules::load_order(module_folder, wanted)?
        .iter()
        .enumerate()
    {
        let name = Path::new(path)
            .file_name()
            .context("module path")?
            .to_string_lossy()
            .into_owned();
        install(
            &module_folder.join(path),
            &tree.join(format!("modules/{index:02}-{name}")),
        )?;
    }
    let mut cpio = Command::new("cpio")
        .args([
            "--create",
            "--null",
            "--format=newc",
            "--quiet",
            "--owner=0:0",
            "-D",
        ])
        .arg(&tree)
        .stdin(Stdio::piped())
        .stdout(File::create(out)?)
        .spawn()
        .context("cannot run cpio")?;
    let list = Command::new("find")
        .arg(".")
        .arg("-print0")
        .current_dir(&tree)
        .output()
        .context("cannot run find")?;
    cpio.stdin
        .take()
        .context("cpio's input")?
        .write_all(&list.stdout)?;
    if !cpio.wait()?.success() {
        bail!("cpio failed");
    }
    fs::remove_dir_all(&tree)?;
    Ok(())
}

/// Makes an ext4 image of `contents`, with `extra` bytes of free room.
fn make_image(contents: &Path, image: &Path, extra: u64) -> Result<()> {
    let (bytes, files) = usage(contents)?;
    // a block more per file for rounding and directories, and what ext4 needs for itself
    let size = bytes + files * 4096 + bytes / 16 + (8 << 20) + extra;
    let size = (size / CYLINDER + 1) * CYLINDER;
    File::create(image)?.set_len(size)?;
    run(Command::new("mke2fs")
        .args([
            "-q",
            "-t",
            "ext4",
            "-O",
            "^has_journal,^resize_inode",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,root_owner=0:0",
        ])
        .args(["-N", &(files + 1024).to_string(), "-L", STAGE_LABEL, "-d"])
        .arg(contents)
        .arg(image))
}

/// Bytes and number of the files below `folder`.
fn usage(folder: &Path) -> Result<(u64, u64)> {
    let (mut bytes, mut files) = (0, 1);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.path().symlink_metadata()?;
        if metadata.is_dir() {
            let (inner_bytes, inner_files) = usage(&entry.path())?;
            bytes += inner_bytes;
            files += inner_files;
        } else {
            bytes += metadata.size();
            files += 1;
        }
    }
    Ok((bytes, files))
}

fn install(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a folder")?)?;
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(|_| ()))
        .with_context(|| from.display().to_string())
}

/// Runs a tool; its output is shown only if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&text).trim()
        );
    }
    Ok(())
}
