// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests /dev/wormhole on a KVM host, as root:
//!
//!     wormhole-ioctl-test wormhole.ko [kvm.ko … kvm-intel.ko]
//!
//! No VM may be running, and debugfs must be mounted. The module is unloaded and loaded again. If KVM's modules are
//! given, in the order in which they load, they are too, to see what happens without them. Prints TAP; the exit status
//! says whether all is well.

mod arguments;
mod device;
mod kvm;
mod lifetime;
mod module;
mod observe;
mod process;
mod robustness;
mod tap;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;

use tap::Test;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(first) = args.next() else {
        eprintln!("usage: wormhole-ioctl-test wormhole.ko [kvm.ko … kvm-intel.ko]");
        return ExitCode::from(2);
    };
    match first.to_str() {
        Some(process::VM) => process::vm_main(),
        Some(process::PAIRED) => process::paired_main(),
        Some(arguments::UNPRIVILEGED) => arguments::unprivileged_main(),
        _ => return run(PathBuf::from(first), args.map(PathBuf::from).collect()),
    }
    ExitCode::SUCCESS
}

fn run(module: PathBuf, kvm_modules: Vec<PathBuf>) -> ExitCode {
    let log = RefCell::new(module::KernelLog::new());
    if module::is_loaded("wormhole") {
        module::unload(c"wormhole").expect("wormhole can be unloaded before the tests");
    }

    let mut tests = vec![
        Test::with_outcome("load_without_kvm", || {
            lifetime::load_without_kvm(&module, &kvm_modules)
        }),
        Test::new("load", || lifetime::load(&module)),
    ];
    tests.extend(arguments::tests());
    tests.extend(lifetime::tests(&module));
    tests.extend(robustness::tests());
    tests.push(Test::new("unload", lifetime::unload));
    tests.push(Test::new("kernel_log_is_clean", || {
        robustness::log_is_clean(&log.borrow_mut().read())
    }));

    if tap::run(&tests) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
