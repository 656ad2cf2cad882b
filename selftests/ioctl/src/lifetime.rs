// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How pairings end, and when the module can come and go.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::device::Device;
use crate::kvm::Vm;
use crate::module::{self, KernelLog};
use crate::observe::{debugfs, fdinfo, hangs_up, table};
use crate::process::{spawn_paired, VmProcess, OUTS};
use crate::tap::{Outcome, Test};

/// Far more than anything here takes, in the machine's own time.
const LONG: Duration = Duration::from_secs(60);

pub fn tests(module: &Path) -> Vec<Test<'_>> {
    macro_rules! test {
        ($name:ident $(, $argument:expr)?) => {
            Test::new(stringify!($name), move || $name($($argument)?))
        };
    }
    vec![
        test!(client_killed),
        test!(server_killed),
        test!(both_killed),
        test!(killed_while_polled),
        test!(owner_of_everything_killed),
        test!(vm_files_closed),
        test!(dead_vm_cannot_be_paired),
        test!(unload_refused_while_in_use, module),
    ]
}

pub fn load_without_kvm(module: &Path, kvm_modules: &[PathBuf]) -> Outcome {
    if kvm_modules.is_empty() {
        return Outcome::Skip("KVM's modules were not given");
    }
    for name in [c"kvm_intel", c"kvm_amd", c"kvm"] {
        if module::is_loaded(name.to_str().expect("ASCII")) {
            module::unload(name).expect("KVM can be unloaded: no VM is running");
        }
    }
    let mut log = KernelLog::new();
    let result = module::load(module);
    let messages = log.read();
    for path in kvm_modules {
        match module::load(path) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    assert_eq!(result, Err(Errno::NODEV));
    assert!(
        messages
            .iter()
            .any(|line| line.starts_with("wormhole: KVM is not loaded")),
        "{messages:?}"
    );
    assert!(
        !messages.iter().any(|line| line.contains("Unknown symbol")),
        "{messages:?}"
    );
    Outcome::Pass
}

pub fn load(module: &Path) {
    let mut log = KernelLog::new();
    module::load(module).expect("the module loads");
    let lacks: Vec<_> = log
        .read()
        .into_iter()
        .filter(|line| line.starts_with("wormhole: "))
        .collect();
    // A line per thing that is lacking, and no other.
    let info = Device::open()
        .expect("the device opens")
        .info()
        .expect("INFO");
    let all = info.cpu_features.count_ones() == 4 && info.kernel_features.count_ones() == 3;
    assert_eq!(lacks.is_empty(), all, "{lacks:?}");
}

pub fn unload() {
    module::unload(c"wormhole").expect("the module unloads: nothing is open");
    assert!(!fs::exists(crate::device::PATH).expect("/dev"));
    assert!(!fs::exists(crate::observe::DEBUGFS).expect("debugfs"));
}

/// A pairing of the VMs of two processes, of which one or both are killed.
fn killed(client_dies: bool, server_dies: bool, states: &[&str]) {
    let device = Device::open().expect("the device opens");
    let (mut client, mut server) = (VmProcess::new(), VmProcess::new());
    let pairing = device.pair(&client.fd, &server.fd, "doomed").expect("PAIR");
    let before = fdinfo(&pairing);
    assert_eq!(before["client-pid"], client.pid().to_string());
    assert_eq!(before["server-pid"], server.pid().to_string());
    assert!(before["client-exits"].parse::<usize>().expect("a number") >= OUTS);
    assert!(!hangs_up(&pairing, Duration::ZERO));

    let mut dead = Vec::new();
    for (process, dies) in [(&mut client, client_dies), (&mut server, server_dies)] {
        if dies {
            process.kill();
            dead.push(process.debugfs.clone());
        }
    }
    assert!(hangs_up(&pairing, LONG), "poll reports EPOLLHUP");

    // A shell is left, with the last statistics.
    let after = fdinfo(&pairing);
    assert!(
        states.contains(&after["state"].as_str()),
        "{}",
        after["state"]
    );
    for key in [
        "id",
        "name",
        "client-pid",
        "server-pid",
        "client-exits",
        "server-exits",
    ] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(debugfs(&after["id"], "state"), after["state"]);
    assert_eq!(table().len(), 1);
    assert_eq!(device.info().expect("INFO").pairings, 0);

    // This process's own copies are now the only thing that keeps the VMs.
    for path in &dead {
        assert!(fs::exists(path).expect("debugfs"), "{path}");
    }
    let (client_debugfs, server_debugfs) = (client.debugfs.clone(), server.debugfs.clone());
    if !client_dies || !server_dies {
        // The one that is left can be paired again, in the same role, while the shell is open.
        let other = VmProcess::new();
        let again = if client_dies {
            device.pair(&other.fd, &server.fd, "")
        } else {
            device.pair(&client.fd, &other.fd, "")
        };
        let again = again.expect("PAIR");
        assert_ne!(fdinfo(&again)["id"], after["id"]);
    }
    drop((client, server));
    for path in [client_debugfs, server_debugfs] {
        assert!(
            !fs::exists(&path).expect("debugfs"),
            "{path} is gone while the pairing's shell is open"
        );
    }
    assert!(hangs_up(&pairing, Duration::ZERO));
}

fn client_killed() {
    killed(true, false, &["client-gone"]);
}

fn server_killed() {
    killed(false, true, &["server-gone"]);
}

fn both_killed() {
    // killed one after the other
    killed(true, true, &["client-gone"]);
}

fn killed_while_polled() {
    let device = Device::open().expect("the device opens");
    let (mut client, server) = (VmProcess::new(), VmProcess::new());
    let pairing = device.pair(&client.fd, &server.fd, "").expect("PAIR");
    thread::scope(|scope| {
        let pollers = [(); 3].map(|()| scope.spawn(|| hangs_up(&pairing, LONG)));
        // Most will be asleep by then; those who are not are right too.
        thread::sleep(Duration::from_millis(20));
        client.kill();
        for poller in pollers {
            assert!(poller.join().expect("the poller"));
        }
    });
}

fn owner_of_everything_killed() {
    let device = Device::open().expect("the device opens");
    let mut process = spawn_paired();
    assert_eq!(device.info().expect("INFO").pairings, 1);
    let prefix = format!("{}-", process.id());
    let vms = || {
        fs::read_dir("/sys/kernel/debug/kvm")
            .expect("KVM's debugfs")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .count()
    };
    assert_eq!(vms(), 2);
    process.kill().expect("kill");
    process.wait().expect("wait");
    assert_eq!(device.info().expect("INFO").pairings, 0);
    assert!(table().is_empty());
    // The references may be dropped by the module's work queue a moment later.
    for _ in 0..600 {
        if vms() == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("the VMs of a process that is gone are still there");
}

fn vm_files_closed() {
    let device = Device::open().expect("the device opens");
    let (client, server) = (Vm::new(), Vm::new());
    drop(client.run_outs(2));
    let pairing = device.pair(&client, &server, "").expect("PAIR");
    drop((client, server));
    // As documented: the process lives, so the VMs do, until the pairing is closed.
    assert!(!hangs_up(&pairing, Duration::ZERO));
    let info = fdinfo(&pairing);
    assert_eq!(info["state"], "paired");
    assert!(info["client-exits"].parse::<u64>().expect("a number") >= 2);
}

fn dead_vm_cannot_be_paired() {
    let device = Device::open().expect("the device opens");
    let mut dead = VmProcess::new();
    let vm = Vm::new();
    dead.kill();
    assert_eq!(device.pair(&dead.fd, &vm, "").err(), Some(Errno::SRCH));
    assert_eq!(device.pair(&vm, &dead.fd, "").err(), Some(Errno::SRCH));
    assert_eq!(device.info().expect("INFO").pairings, 0);
}

fn unload_refused_while_in_use(module: &Path) {
    let device = Device::open().expect("the device opens");
    assert_eq!(
        module::unload(c"wormhole"),
        Err(Errno::AGAIN),
        "/dev/wormhole is open"
    );
    let (client, mut server) = (Vm::new(), VmProcess::new());
    let pairing = device.pair(&client, &server.fd, "").expect("PAIR");
    drop(device);
    assert_eq!(
        module::unload(c"wormhole"),
        Err(Errno::AGAIN),
        "there is a pairing"
    );
    server.kill();
    assert!(hangs_up(&pairing, LONG));
    assert_eq!(
        module::unload(c"wormhole"),
        Err(Errno::AGAIN),
        "there is what is left of a pairing"
    );
    drop(pairing);
    module::unload(c"wormhole").expect("nothing is open");
    module::load(module).expect("it loads again");

    // Unloaded right after a VM's death: queued work is waited for.
    let device = Device::open().expect("the device opens");
    let mut process = VmProcess::new();
    let pairing = device.pair(&client, &process.fd, "").expect("PAIR");
    drop(device);
    process.kill();
    drop(pairing);
    module::unload(c"wormhole").expect("nothing is open");
    module::load(module).expect("it loads again");
}
