// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the ioctls take, what they refuse, and with which error.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr::{null_mut, without_provenance_mut};

use rustix::event::{eventfd, EventfdFlags};
use rustix::io::{fcntl_getfd, Errno, FdFlags};
use rustix::mm::{mmap_anonymous, mprotect, munmap, MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use wormhole_uapi as uapi;
use wormhole_uapi::{wormhole_info, wormhole_pair, WORMHOLE_IOC_INFO, WORMHOLE_IOC_PAIR};

use crate::device::{bytes_of, pair_args, raw, with_bytes, Device, PATH};
use crate::kvm::Vm;
use crate::observe::{debugfs, fdinfo, hangs_up, table, DEBUGFS};
use crate::tap::Test;

/// Argument: standard input is /dev/wormhole, opened by root; try what a user can do with it.
pub const UNPRIVILEGED: &str = "--unprivileged";

pub fn tests() -> Vec<Test<'static>> {
    macro_rules! test {
        ($name:ident) => {
            Test::new(stringify!($name), $name)
        };
    }
    vec![
        test!(device_node),
        test!(info_agrees_with_the_kernel),
        test!(unknown_ioctls),
        test!(bad_addresses),
        test!(info_sizes),
        test!(pair_sizes),
        test!(sizes_across_the_end_of_memory),
        test!(flags),
        test!(server_event),
        test!(names),
        test!(not_open),
        test!(not_a_vm),
        test!(same_vm),
        test!(good_pairing),
        test!(one_pairing_per_role),
        test!(a_server_of_several_clients),
        test!(unprivileged),
        test!(no_free_file_descriptor),
        test!(pairing_file_does_nothing_else),
    ]
}

fn open() -> Device {
    Device::open().expect("/dev/wormhole opens")
}

fn error<T>(result: Result<T, Errno>) -> Errno {
    result.err().expect("an error")
}

fn device_node() {
    let metadata = fs::metadata(PATH).expect("the device node");
    assert!(metadata.file_type().is_char_device());
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o600));
}

/// The flags of /proc/cpuinfo's line `key`.
fn cpuinfo(key: &str) -> Vec<String> {
    fs::read_to_string("/proc/cpuinfo")
        .expect("/proc/cpuinfo")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, flags)| flags.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn info_agrees_with_the_kernel() {
    let info = open().info().expect("INFO");
    assert_eq!(info.size as usize, size_of::<wormhole_info>());
    assert_eq!(info.abi_version, uapi::WORMHOLE_ABI_VERSION);
    assert_eq!((info.pairings, info.reserved), (0, 0));

    let has = |key, flag: &str| cpuinfo(key).iter().any(|found| found == flag);
    let vmx = |flag| has("vmx flags", flag);
    for (bit, expected) in [
        (uapi::WORMHOLE_CPU_VMX, has("flags", "vmx")),
        (uapi::WORMHOLE_CPU_EPT, vmx("ept")),
        (uapi::WORMHOLE_CPU_POSTED_INTR, vmx("posted_intr")),
    ] {
        assert_eq!(
            info.cpu_features & u64::from(bit) != 0,
            expected,
            "CPU feature {bit:#x}"
        );
    }
    // No equality here: for "eptp_switching" Linux looks at the upper half of IA32_VMX_VMFUNC (init_vmx_capabilities()
    // in feat_ctl.c), which is always zero.
    if info.cpu_features & u64::from(uapi::WORMHOLE_CPU_VMFUNC) != 0 {
        assert!(vmx("ept") && vmx("ept_x_only"));
    }
    let parameter = fs::read_to_string("/sys/module/kvm_intel/parameters/enable_apicv");
    for (bit, expected) in [
        (uapi::WORMHOLE_KERNEL_KVM, true),
        (uapi::WORMHOLE_KERNEL_KVM_INTEL, parameter.is_ok()),
        (
            uapi::WORMHOLE_KERNEL_APICV,
            parameter.is_ok_and(|value| value.trim() == "Y"),
        ),
    ] {
        assert_eq!(
            info.kernel_features & u64::from(bit) != 0,
            expected,
            "kernel feature {bit:#x}"
        );
    }
    let known = uapi::WORMHOLE_CPU_VMX
        | uapi::WORMHOLE_CPU_EPT
        | uapi::WORMHOLE_CPU_VMFUNC
        | uapi::WORMHOLE_CPU_POSTED_INTR;
    assert_eq!(info.cpu_features & !u64::from(known), 0);
}

fn unknown_ioctls() {
    const DIRECTIONS: u64 = 3 << 30;
    let device = open();
    for number in [
        0,
        WORMHOLE_IOC_INFO + 2,
        WORMHOLE_IOC_INFO + 0x40,
        WORMHOLE_IOC_INFO ^ 0x100,
        WORMHOLE_IOC_INFO & !DIRECTIONS,
        WORMHOLE_IOC_PAIR | DIRECTIONS,
        u64::from(u32::MAX),
    ] {
        assert_eq!(
            with_bytes(&device, number, &[0; 64]),
            Err(Errno::NOTTY),
            "{number:#x}"
        );
    }
}

fn bad_addresses() {
    let device = open();
    for number in [WORMHOLE_IOC_INFO, WORMHOLE_IOC_PAIR] {
        for address in [
            0,
            1,
            0xdead_0000,
            0x7fff_ffff_f000,
            0x8000_0000_0000,
            0xffff_8880_0000_0000,
            usize::MAX,
        ] {
            // SAFETY: Nothing of this process is there.
            let result = unsafe { raw(&device, number, without_provenance_mut(address)) };
            assert_eq!(result, Err(Errno::FAULT), "{address:#x}");
        }
    }
}

/// An ioctl with a structure whose size field says `size`, and which is `size` long, of zeros but for the field and
/// `last`, the last byte.
fn with_size(number: u64, good: &[u8], size: u32, last: u8) -> Result<i32, Errno> {
    let mut bytes = good.to_vec();
    bytes.resize(bytes.len().max(size as usize), 0);
    bytes[..4].copy_from_slice(&size.to_ne_bytes());
    if size as usize > good.len() {
        *bytes.last_mut().expect("not empty") = last;
    }
    with_bytes(open(), number, &bytes)
}

/// `fine` is what the ioctl returns for a structure that it accepts the size of.
fn sizes(number: u64, good: &[u8], fine: Result<i32, Errno>) {
    let len = good.len() as u32;
    for size in [0, 1, 3, 4, len - 1] {
        assert_eq!(
            with_size(number, good, size, 0),
            Err(Errno::INVAL),
            "{size}"
        );
    }
    for size in [
        len,
        len + 1,
        len + 8,
        len + 63,
        len + 64,
        len + 65,
        4095,
        4096,
    ] {
        assert_eq!(with_size(number, good, size, 0), fine, "{size}");
    }
    for size in [len + 1, len + 8, len + 64, len + 65, 4096] {
        assert_eq!(
            with_size(number, good, size, 1),
            Err(Errno::TOOBIG),
            "{size}"
        );
    }
    for size in [4097, 1 << 20] {
        assert_eq!(
            with_size(number, good, size, 0),
            Err(Errno::TOOBIG),
            "{size}"
        );
    }
    for size in [i32::MAX as u32, u32::MAX] {
        let mut bytes = good.to_vec();
        bytes[..4].copy_from_slice(&size.to_ne_bytes());
        assert_eq!(
            with_bytes(open(), number, &bytes),
            Err(Errno::TOOBIG),
            "{size}"
        );
    }
    // The size in the ioctl's number does not count.
    for size in [0, u64::from(len) + 8, (1 << 14) - 1] {
        let number = number & !(((1 << 14) - 1) << 16) | (size << 16);
        assert_eq!(with_size(number, good, len, 0), fine, "{number:#x}");
    }
}

fn info_sizes() {
    sizes(
        WORMHOLE_IOC_INFO,
        &bytes_of(&wormhole_info::default()),
        Ok(0),
    );
}

fn pair_sizes() {
    sizes(
        WORMHOLE_IOC_PAIR,
        &bytes_of(&pair_args(-1, -1, "")),
        Err(Errno::BADF),
    );
}

fn sizes_across_the_end_of_memory() {
    const PAGE: usize = 4096;
    let device = open();
    // SAFETY: A new mapping, of which the second page is taken away again, and which nobody else uses.
    let memory = unsafe {
        let memory = mmap_anonymous(
            null_mut(),
            2 * PAGE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
        .expect("mmap");
        munmap(memory.byte_add(PAGE), PAGE).expect("munmap");
        memory.cast::<u8>()
    };
    for (number, good, fine) in [
        (
            WORMHOLE_IOC_INFO,
            bytes_of(&wormhole_info::default()),
            Ok(0),
        ),
        (
            WORMHOLE_IOC_PAIR,
            bytes_of(&pair_args(-1, -1, "")),
            Err(Errno::BADF),
        ),
    ] {
        let len = good.len();
        for (start, size, expected) in [
            (PAGE - len, len, fine),
            (PAGE - len, len + 1, Err(Errno::FAULT)),
            (PAGE - len + 1, len, Err(Errno::FAULT)),
            (PAGE - 4, len, Err(Errno::FAULT)),
            (PAGE - 3, len, Err(Errno::FAULT)),
            (0, PAGE, fine),
        ] {
            // SAFETY: Within the page; the kernel writes at most the structure.
            let result = unsafe {
                memory.write_bytes(0, PAGE);
                let mut bytes = good.clone();
                bytes[..4].copy_from_slice(&(size as u32).to_ne_bytes());
                let fits = bytes.len().min(PAGE - start);
                memory.add(start).copy_from(bytes.as_ptr(), fits);
                raw(&device, number, memory.add(start).cast())
            };
            assert_eq!(result, expected, "{number:#x}: {size} bytes at {start}");
        }
    }

    // INFO into memory that may be read only
    let args = wormhole_info {
        size: size_of::<wormhole_info>() as u32,
        ..Default::default()
    };
    // SAFETY: Within the page; the kernel cannot write it.
    let result = unsafe {
        memory.copy_from(bytes_of(&args).as_ptr(), size_of::<wormhole_info>());
        mprotect(memory.cast(), PAGE, MprotectFlags::READ).expect("mprotect");
        raw(&device, WORMHOLE_IOC_INFO, memory.cast())
    };
    assert_eq!(result, Err(Errno::FAULT));
    // SAFETY: Nobody uses the page.
    unsafe { munmap(memory.cast(), PAGE).expect("munmap") };
}

fn flags() {
    let (client, server) = (Vm::new(), Vm::new());
    for bit in 1..32 {
        let mut args = pair_args(client.as_fd().as_raw_fd(), server.as_fd().as_raw_fd(), "");
        args.flags = 1 << bit;
        assert_eq!(error(open().pair_raw(&args)), Errno::INVAL, "bit {bit}");
    }
}

fn server_event() {
    let device = open();
    let (client, server) = (Vm::new(), Vm::new());
    let event = eventfd(0, EventfdFlags::empty()).expect("eventfd");
    let good = wormhole_pair {
        flags: uapi::WORMHOLE_PAIR_SERVER_EVENT,
        server_event_fd: event.as_raw_fd(),
        ..pair_args(client.as_fd().as_raw_fd(), server.as_fd().as_raw_fd(), "")
    };
    let bad = [
        (wormhole_pair { flags: 0, ..good }, Errno::INVAL),
        (
            wormhole_pair {
                server_event_fd: -1,
                ..good
            },
            Errno::BADF,
        ),
        (
            wormhole_pair {
                server_event_fd: client.as_fd().as_raw_fd(),
                ..good
            },
            Errno::INVAL,
        ),
    ];
    for (args, errno) in bad {
        assert_eq!(error(device.pair_raw(&args)), errno);
    }
    drop(device.pair_raw(&good).expect("PAIR"));
}

fn names() {
    let device = open();
    let (client, server) = (Vm::new(), Vm::new());
    for name in ["", "gpu0", "A-b_c.9", "0123456789012345678901234567890"] {
        let pairing = device.pair(&client, &server, name).expect("a good name");
        assert_eq!(fdinfo(&pairing)["name"], name);
    }
    for name in [
        "a/b",
        "a b",
        "a\n",
        "ü",
        "%s",
        "01234567890123456789012345678901",
    ] {
        assert_eq!(
            error(device.pair(&client, &server, name)),
            Errno::INVAL,
            "{name}"
        );
    }
    // what follows the NUL does not count
    let mut args = pair_args(client.as_fd().as_raw_fd(), server.as_fd().as_raw_fd(), "a");
    args.name[2..].fill(b'/' as core::ffi::c_char);
    let pairing = device.pair_raw(&args).expect("a good name");
    assert_eq!(fdinfo(&pairing)["name"], "a");
}

fn not_open() {
    let device = open();
    let vm = Vm::new();
    let good = vm.as_fd().as_raw_fd();
    let closed = File::open("/dev/null").expect("/dev/null").as_raw_fd();
    for bad in [
        -1,
        i32::MIN,
        i32::MAX,
        1 << 20,
        closed,
        -100, /* AT_FDCWD */
    ] {
        for (client, server) in [(bad, good), (good, bad), (bad, bad)] {
            assert_eq!(
                error(device.pair_raw(&pair_args(client, server, ""))),
                Errno::BADF,
                "{client} {server}"
            );
        }
    }
}

fn not_a_vm() {
    let device = open();
    let vm = Vm::new();
    let vcpu = vm.vcpu();
    let (socket, peer) = UnixStream::pair().expect("a pair of sockets");
    let null = File::open("/dev/null").expect("/dev/null");
    let kvm = File::open("/dev/kvm").expect("/dev/kvm");
    for bad in [
        null.as_fd(),
        kvm.as_fd(),
        vcpu.as_fd(),
        device.as_fd(),
        socket.as_fd(),
        peer.as_fd(),
    ] {
        assert_eq!(error(device.pair(bad, &vm, "")), Errno::MEDIUMTYPE);
        assert_eq!(error(device.pair(&vm, bad, "")), Errno::MEDIUMTYPE);
    }
    let other = Vm::new();
    let pairing = device.pair(&vm, &other, "").expect("two VMs");
    assert_eq!(error(device.pair(&pairing, &vm, "")), Errno::MEDIUMTYPE);
}

fn same_vm() {
    let device = open();
    let vm = Vm::new();
    let again = vm.as_fd().try_clone_to_owned().expect("dup");
    assert_eq!(error(device.pair(&vm, &vm, "")), Errno::LOOP);
    assert_eq!(error(device.pair(&vm, &again, "")), Errno::LOOP);
    assert_eq!(device.info().expect("INFO").pairings, 0);
}

fn good_pairing() {
    let device = open();
    let (client, server) = (Vm::new(), Vm::new());
    let vcpu = client.run_outs(3);
    let pairing = device.pair(&client, &server, "good").expect("PAIR");
    assert!(fcntl_getfd(&pairing)
        .expect("F_GETFD")
        .contains(FdFlags::CLOEXEC));
    assert!(!hangs_up(&pairing, std::time::Duration::ZERO));
    assert_eq!(device.info().expect("INFO").pairings, 1);

    let info = fdinfo(&pairing);
    let keys = [
        "age-seconds",
        "calls",
        "client-exits",
        "client-interrupt-exits",
        "client-pid",
        "hops-client",
        "hops-exception",
        "hops-instruction",
        "hops-memory",
        "hops-system-call",
        "id",
        "name",
        "refusals",
        "resumes",
        "server-exits",
        "server-interrupt-exits",
        "server-pid",
        "state",
        "stops",
        "table-bytes",
    ];
    assert_eq!(info.keys().map(String::as_str).collect::<Vec<_>>(), keys);
    let own = std::process::id().to_string();
    assert_eq!(
        (info["state"].as_str(), info["name"].as_str()),
        ("paired", "good")
    );
    assert_eq!((&info["client-pid"], &info["server-pid"]), (&own, &own));
    assert!(info["age-seconds"].parse::<u64>().expect("a number") < 3600);

    // the exits are KVM's, and only the client had a vCPU
    let fd = client.as_fd().as_raw_fd();
    let exits =
        fs::read_to_string(format!("/sys/kernel/debug/kvm/{own}-{fd}/exits")).expect("KVM's count");
    assert_eq!(info["client-exits"], exits.trim());
    assert!(info["client-exits"].parse::<u64>().expect("a number") >= 3);
    assert_eq!(
        (
            info["server-exits"].as_str(),
            info["server-interrupt-exits"].as_str()
        ),
        ("0", "0")
    );

    let id = &info["id"];
    for key in keys
        .iter()
        .filter(|&&key| key != "id" && key != "age-seconds")
    {
        assert_eq!(debugfs(id, &key.replace('-', "_")), info[*key], "{key}");
    }
    assert!(debugfs(id, "age_seconds").parse::<u64>().is_ok());
    let table_line = table();
    assert_eq!(table_line.len(), 1);
    assert!(
        table_line[0].starts_with(&format!("{id} paired ")) && table_line[0].ends_with(" good"),
        "{table_line:?}"
    );

    // it is the last copy of the file that counts
    let copy = pairing.try_clone().expect("dup");
    drop(pairing);
    assert_eq!(fdinfo(&copy)["state"], "paired");
    drop(copy);
    assert_eq!(device.info().expect("INFO").pairings, 0);
    assert!(!fs::exists(format!("{DEBUGFS}/{id}")).expect("debugfs"));
    assert!(table().is_empty());
    drop(vcpu);
}

fn one_pairing_per_role() {
    let device = open();
    let (a, b, c) = (Vm::new(), Vm::new(), Vm::new());
    let first = device.pair(&a, &b, "first").expect("PAIR");
    assert_eq!(error(device.pair(&a, &b, "")), Errno::BUSY);
    assert_eq!(error(device.pair(&a, &c, "")), Errno::BUSY);
    assert_eq!(error(device.pair(&c, &b, "")), Errno::BUSY);
    // the other role is free
    let second = device.pair(&b, &a, "second").expect("roles swapped");
    assert_ne!(fdinfo(&first)["id"], fdinfo(&second)["id"]);
    assert_eq!(device.info().expect("INFO").pairings, 2);
    drop(first);
    assert_eq!(error(device.pair(&b, &c, "")), Errno::BUSY);
    let third = device
        .pair(&a, &c, "third")
        .expect("A serves in one pairing and is a client in another");
    drop((second, third));
    drop(device.pair(&a, &b, "again").expect("all are free again"));
}

fn a_server_of_several_clients() {
    let device = open();
    let (server, a, b, c) = (Vm::new(), Vm::new(), Vm::new(), Vm::new());
    let first = device.pair_by(1, &a, &server, "a").expect("PAIR");
    let second = device.pair_by(2, &b, &server, "b").expect("PAIR");
    assert_eq!(device.info().expect("INFO").pairings, 2);
    for key in [1, 2] {
        let again = device.pair_by(key, &c, &server, "");
        assert_eq!(error(again), Errno::BUSY, "key {key}");
    }
    // A client has one server, whatever the key, which another server may have too.
    assert_eq!(error(device.pair_by(3, &a, &server, "")), Errno::BUSY);
    assert_eq!(error(device.pair_by(3, &a, &c, "")), Errno::BUSY);
    let other = device.pair_by(1, &server, &c, "other").expect("PAIR");
    drop(first);
    let third = device.pair_by(1, &c, &server, "c").expect("PAIR");
    assert_eq!(fdinfo(&second)["state"], "paired");
    drop((second, third, other));
    assert_eq!(device.info().expect("INFO").pairings, 0);
}

fn unprivileged() {
    let device = open();
    let status = Command::new("/proc/self/exe")
        .arg(UNPRIVILEGED)
        .stdin(Stdio::from(
            device.as_fd().try_clone_to_owned().expect("dup"),
        ))
        .stdout(Stdio::null())
        .uid(65534)
        .gid(65534)
        .status()
        .expect("this program starts as nobody");
    assert!(status.success(), "what nobody could do is above");
}

/// The other side of [`unprivileged`].
pub fn unprivileged_main() {
    let device = std::io::stdin();
    assert_eq!(
        Device::open().err().expect("no access").kind(),
        ErrorKind::PermissionDenied
    );
    let args = wormhole_info {
        size: size_of::<wormhole_info>() as u32,
        ..Default::default()
    };
    assert_eq!(
        with_bytes(&device, WORMHOLE_IOC_INFO, &bytes_of(&args)),
        Ok(0)
    );
    // before anything else is looked at
    for args in [pair_args(-1, -1, ""), wormhole_pair::default()] {
        assert_eq!(
            with_bytes(&device, WORMHOLE_IOC_PAIR, &bytes_of(&args)),
            Err(Errno::PERM)
        );
    }
}

fn no_free_file_descriptor() {
    let device = open();
    let (client, server) = (Vm::new(), Vm::new());
    let limit = getrlimit(Resource::Nofile);
    let next = client
        .as_fd()
        .try_clone_to_owned()
        .expect("dup")
        .as_raw_fd();
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(next as u64),
            ..limit
        },
    )
    .expect("setrlimit");
    let result = device.pair(&client, &server, "");
    setrlimit(Resource::Nofile, limit).expect("setrlimit");
    assert_eq!(error(result), Errno::MFILE);
    // nothing of it is left
    assert_eq!(device.info().expect("INFO").pairings, 0);
    drop(device.pair(&client, &server, "").expect("PAIR"));
}

fn pairing_file_does_nothing_else() {
    let device = open();
    let (client, server) = (Vm::new(), Vm::new());
    let pairing = device.pair(&client, &server, "").expect("PAIR");
    assert_eq!(
        with_bytes(&pairing, WORMHOLE_IOC_INFO, &[0; 64]),
        Err(Errno::NOTTY)
    );
    assert_eq!(
        rustix::io::read(&pairing, &mut [0_u8; 8][..]).err(),
        Some(Errno::INVAL)
    );
    assert_eq!(rustix::io::write(&pairing, &[0; 8]), Err(Errno::INVAL));
    // SAFETY: A mapping of its own, if it works.
    let map = unsafe {
        rustix::mm::mmap(
            null_mut(),
            4096,
            ProtFlags::READ,
            MapFlags::SHARED,
            &pairing,
            0,
        )
    };
    assert_eq!(map.err(), Some(Errno::NODEV));
}
