// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Times exitless calls on a KVM host, as root, with wormhole.ko loaded:
//!
//!     wormhole-switch-bench [--emulated] [--unload] [--rows ROWS] [JSON]
//!
//! Prints a table, and writes it to the file JSON: a list of {name, unit, min, median, max, baseline, ratio, mode}.
//! ROWS has more rows for both, which another program measured on this host, see `bench_table.rs`. Of some it knows
//! exits and VMFUNCs; these also have {exits, vmfuncs, modelled_cycles}, see `model.rs`.
//! The unit "tsc" is a tick of the time-stamp counter: a cycle of its frequency on hardware, one instruction on the
//! emulated host, what the host does included ("mode" says which; --emulated if it cannot tell by itself). --unload:
//! unloads the module at the end, to time what it costs a VM that is not paired.
//!
//! The guests are this program's, and run a few instructions of its own instead of an operating system.

#[allow(dead_code, reason = "the tests use more of it")]
mod deadline;
#[path = "../../ioctl/src/device.rs"]
#[allow(dead_code, reason = "the other test programs use more of it")]
mod device;
#[macro_use]
#[allow(dead_code, reason = "the tests use more of it")]
mod guest_code;
mod bench_code;
mod bench_table;
#[allow(dead_code, reason = "the tests use more of it")]
mod layout;
#[allow(dead_code, reason = "the tests use more of it")]
mod memory;
mod model;
#[path = "../../ioctl/src/observe.rs"]
#[allow(dead_code, reason = "the other test programs use more of it")]
mod observe;
#[allow(dead_code, reason = "the tests use more of it")]
mod paging;
#[allow(dead_code, reason = "the tests use more of it")]
mod pair;
#[allow(dead_code, reason = "the tests use more of it")]
mod vm;

use std::ffi::CString;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use kvm_bindings::kvm_regs;
use rustix::io::Errno;
use wormhole_uapi as uapi;

use bench_code as bench;
use bench_table::{Baseline, Table};
use guest_code as code;
use layout::*;
use observe::fdinfo;
use pair::{map_gate, refused, write_gate, Pair};
use vm::{Guest, Vcpu};

const ROUNDS: usize = 5;
const CALLS: u64 = 100_000;
/// Of all else, which takes thousands of instructions.
const COUNT: u64 = 2_000;
/// What a delegated call may take, in instructions.
const TARGET: f64 = 150.0;
const LIMIT: Duration = Duration::from_secs(120);

fn prepare(guest: &Guest) {
    guest.memory.write(bench::BENCH_CODE, bench::bench());
}

fn regs(rip: u64, count: u64) -> kvm_regs {
    kvm_regs {
        rip,
        rsp: bench::BENCH_STACK_TOP,
        rbx: bench::BENCH_DATA,
        r12: count,
        ..Default::default()
    }
}

/// Runs until it is done.
fn run(vcpu: &mut Vcpu) {
    loop {
        let stop = vcpu.run_until(LIMIT).expect("it ends");
        if !stop.is(bench::YIELD) {
            stop.expect(DONE);
            return;
        }
        thread::yield_now();
    }
}

/// Runs one of the loops, which has been entered. Returns the ticks between its two times.
fn ticks(guest: &mut Guest) -> u64 {
    run(&mut guest.vcpu);
    guest.memory.get(bench::BENCH_DATA + 8) - guest.memory.get(bench::BENCH_DATA)
}

/// A loop at CPL 3. Returns ticks per turn.
fn user(guest: &mut Guest, rip: u64, count: u64) -> f64 {
    guest.vcpu.enter_user(regs(rip, count));
    ticks(guest) as f64 / count as f64
}

/// `round` five times, after one that does not count.
fn rounds(mut round: impl FnMut() -> f64) -> Vec<f64> {
    round();
    (0..ROUNDS).map(|_| round()).collect()
}

fn cpuid_exits(guest: &mut Guest) -> Vec<f64> {
    rounds(|| user(guest, bench::bench_cpuid(), COUNT))
}

fn ready(function: u64) -> Pair {
    let pair = Pair::ready(function);
    prepare(&pair.client);
    prepare(&pair.server);
    write_gate(&pair.client.memory, bench::bench_home(), bench::bench_pad());
    pair
}

/// `count` delegated calls, each with this result.
fn calls(pair: &mut Pair, count: u64, result: u64) -> f64 {
    let took = user(&mut pair.client, bench::bench_calls(), count);
    assert_eq!(pair.client.memory.get(bench::SUM), count * result);
    took
}

fn value(pair: &Pair, key: &str) -> u64 {
    fdinfo(&pair.pairing)[key].parse().expect("a number")
}

/// Exits of the client so far, those aside that an interrupt of the host caused, and the hypercalls by which calls that
/// it stopped go on.
fn exits(pair: &Pair) -> u64 {
    pair.client_exits() - pair.client.memory.get(bench::PADS)
}

fn delegated(table: &mut Table) -> Baseline {
    let mut pair = ready(code::guest_null());
    // Whatever a first time costs.
    calls(&mut pair, 100, 1);

    let start = exits(&pair);
    user(&mut pair.client, bench::bench_rdtsc(), 1);
    let before = exits(&pair);
    user(&mut pair.client, bench::bench_rdtsc(), 1 + COUNT);
    let extra = (exits(&pair) - before) - (before - start);
    table.add("RDTSC: exits per 2,000", "exits", vec![extra as f64], None);

    let empty = rounds(|| user(&mut pair.client, bench::bench_empty(), CALLS));
    table.add("empty loop, per turn", "tsc", empty, None);
    let rows = rounds(|| calls(&mut pair, CALLS, 1));
    let target = Baseline {
        name: "target".to_owned(),
        value: TARGET,
    };
    let call = table.add(
        "delegated null call, user to user",
        "tsc",
        rows,
        Some(&target),
    );

    let mut caused = |count| {
        let start = exits(&pair);
        calls(&mut pair, count, 1);
        (exits(&pair) - start) as f64
    };
    // Those of a run with one call: its beginning and its end.
    let fixed = (0..ROUNDS)
        .map(|_| caused(1))
        .min_by(f64::total_cmp)
        .expect("rounds");
    let caused = (0..ROUNDS).map(|_| caused(CALLS) - fixed).collect();
    table.add(
        "guest-caused exits per 100,000 delegated calls",
        "exits",
        caused,
        None,
    );
    call
}

fn hypercalls(table: &mut Table, call: &Baseline) {
    let mut pair = ready(code::guest_null());
    calls(&mut pair, 100, 1);
    let client = &mut pair.client;
    let mut hypercall = |user: bool, number: u32, result: i64| {
        let regs = kvm_regs {
            rax: u64::from(uapi::WORMHOLE_HYPERCALL | number),
            rdi: 0x1234_5678_9abc,
            ..regs(bench::bench_hypercalls(), COUNT)
        };
        if user {
            client.vcpu.enter_user(regs);
        } else {
            client.vcpu.enter_kernel(kvm_regs {
                rip: KERNEL_BASE + regs.rip,
                ..regs
            });
        }
        let took = ticks(client) as f64 / COUNT as f64;
        assert_eq!(client.memory.get(bench::SUM) as i64, result);
        took
    };
    let version = i64::from(uapi::WORMHOLE_HYPERCALL_VERSION);
    let info = rounds(|| hypercall(false, uapi::WORMHOLE_HC_INFO, version));
    table.add("VMCALL to the host and back, INFO", "tsc", info, Some(call));
    let resume = rounds(|| hypercall(true, uapi::WORMHOLE_HC_RESUME, refused(Errno::NOENT)));
    table.add(
        "VMCALL to the host and back, RESUME: ENOENT",
        "tsc",
        resume,
        Some(call),
    );
    let cpuid = cpuid_exits(&mut pair.client);
    table.add("CPUID exit, paired client VM", "tsc", cpuid, Some(call));
}

/// The server VM's vCPU polls for calls that hop home, on a CPU of its own. If there is but one, it and the client take
/// turns.
fn hops(table: &mut Table, call: &Baseline) {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let mut pair = ready(code::guest_syscall_inside());
    for guest in [&pair.client, &pair.server] {
        guest.memory.fill(bench::BENCH_DATA, PAGE, 0);
        guest.memory.set(bench::YIELDS, u64::from(cpus < 2));
    }
    pin(0);
    let took = thread::scope(|scope| {
        let memory = pair.server.memory.clone();
        let server = &mut pair.server;
        let carrier = scope.spawn(move || {
            pin(usize::from(cpus >= 2));
            server.vcpu.enter_kernel(kvm_regs {
                rip: KERNEL_BASE + bench::bench_carrier(),
                ..Default::default()
            });
            run(&mut server.vcpu);
        });
        let client = &mut pair.client;
        let took = rounds(|| {
            let took = user(client, bench::bench_calls(), COUNT);
            assert_eq!(client.memory.get(bench::SUM), COUNT * 42);
            took
        });
        memory.set(bench::STOP, 1);
        carrier.join().expect("the carrier's thread");
        took
    });
    let finished = pair.server.memory.get(bench::FINISHED);
    assert_eq!(finished, (1 + ROUNDS as u64) * COUNT);
    let name = if cpus < 2 {
        "hop home, round trip, server takes turns"
    } else {
        "hop home, round trip, server polls"
    };
    table.add(name, "tsc", took, Some(call));
}

fn table_bytes(table: &mut Table) {
    let mut pair = Pair::paired();
    let paired = value(&pair, "table-bytes");
    pair.open(code::guest_null());
    let opened = value(&pair, "table-bytes");
    map_gate(&mut pair.client);
    pair.bind();
    let bound = value(&pair, "table-bytes");
    let mut row = |name, bytes: u64| {
        table.add(name, "bytes", vec![bytes as f64], None);
    };
    row("tables per pairing, nothing bound", paired);
    row("tables per server process", opened - paired);
    row("tables per bound client process, first", bound - opened);
}

fn pin(cpu: usize) {
    // SAFETY: An all-zero set is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: The set is large enough for the first CPUs.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: The set is a live variable of this size.
    let status = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(status, 0, "sched_setaffinity");
}

fn unload() -> bool {
    let name = CString::new("wormhole").expect("no NUL");
    // SAFETY: A NUL-terminated string.
    let status = unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), 0) };
    status == 0
}

fn is_emulated() -> bool {
    ["bios_vendor", "sys_vendor", "bios_version", "product_name"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(format!("/sys/class/dmi/id/{file}")).ok())
        .any(|text| text.contains("BOCHS") || text.contains("Bochs"))
}

fn main() -> ExitCode {
    let (mut emulated, mut without) = (is_emulated(), false);
    let (mut rows, mut path) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--emulated" => emulated = true,
            "--unload" => without = true,
            "--rows" if arguments.len() > 0 => rows = arguments.next(),
            _ if path.is_none() && !argument.starts_with('-') => path = Some(argument),
            _ => {
                eprintln!(
                    "usage: wormhole-switch-bench [--emulated] [--unload] [--rows ROWS] [JSON]"
                );
                return ExitCode::from(2);
            }
        }
    }
    let mode = if emulated { "emulated" } else { "hardware" };

    let info = device::Device::open()
        .expect("/dev/wormhole opens")
        .info()
        .expect("INFO");
    if info.cpu_features & uapi::WORMHOLE_CPU_VMFUNC as u64 == 0 {
        eprintln!("this CPU has no EPTP switching by VMFUNC");
        return ExitCode::FAILURE;
    }

    let mut table = Table::default();
    let mut other = Guest::new();
    prepare(&other);
    let call = delegated(&mut table);
    hypercalls(&mut table, &call);
    hops(&mut table, &call);
    let with_pair = {
        let mut pair = ready(code::guest_null());
        calls(&mut pair, 100, 1);
        cpuid_exits(&mut other)
    };
    // The hooks stay for a second or so.
    thread::sleep(Duration::from_secs(8));
    let no_pair = cpuid_exits(&mut other);
    table_bytes(&mut table);

    let unloaded = (without && unload()).then(|| cpuid_exits(&mut other));
    let unloaded = unloaded.map(|values| table.add("CPUID exit, no module", "tsc", values, None));
    let no_pair = table.add("CPUID exit, no pair", "tsc", no_pair, unloaded.as_ref());
    table.add(
        "CPUID exit, another pair exists",
        "tsc",
        with_pair,
        Some(&no_pair),
    );

    if let Some(path) = rows {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        if let Err(error) = text.and_then(|text| table.add_lines(&text)) {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    table.print(mode);
    if let Some(path) = path {
        let text = serde_json::to_string_pretty(&table.json(mode)).expect("JSON") + "\n";
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
