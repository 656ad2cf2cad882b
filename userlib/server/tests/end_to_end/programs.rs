// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unmodified programs give the results that they give without Wormhole.

use std::path::Path;
use std::process::Command;

use crate::daemon::{
    library, vendor_environment, Daemon, Transport, ONE_DEVICE, THREADED, TWO_DEVICES,
};
use crate::program::{compile, compile_library, last_line, run, stdout_of};

fn on_server(transport: Transport, program: &Path) -> String {
    on_devices(ONE_DEVICE, transport, program)
}

fn on_devices(devices: &str, transport: Transport, program: &Path) -> String {
    let mut daemon = Daemon::start_on(devices, transport, [] as [&str; 0]);
    let mut command = Command::new(program);
    daemon.point(&mut command);
    let stdout = stdout_of(&run(command.env("WORMHOLE_LOG", "warn")));
    daemon.wait_for_clean();
    daemon.stop();
    stdout
}

/// What clinfo prints of the first device, by label.
fn clinfo(command: &mut Command) -> Vec<(String, String)> {
    let text = stdout_of(&run(command.arg("--raw")));
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let label = words.find(|word| word.starts_with("CL_"))?.to_owned();
            Some((label, words.collect::<Vec<_>>().join(" ")))
        })
        .collect()
}

fn clinfo_agrees(transport: Transport) {
    let mut native = Command::new("clinfo");
    vendor_environment(&mut native);
    let native = clinfo(&mut native);
    let mut daemon = Daemon::start(transport);
    let mut command = Command::new("clinfo");
    daemon.point(&mut command);
    let remote = clinfo(&mut command);
    daemon.wait_for_clean();
    daemon.stop();
    let value = |list: &[(String, String)], label: &str| {
        let found = list.iter().find(|(name, _)| name == label);
        found.map(|(_, value)| value.clone())
    };
    // What is not forwarded is not claimed.
    let differs = [
        "CL_PLATFORM_EXTENSIONS",
        "CL_PLATFORM_EXTENSIONS_WITH_VERSION",
        "CL_PLATFORM_ICD_SUFFIX_KHR",
        "CL_DEVICE_EXTENSIONS",
        "CL_DEVICE_EXTENSIONS_WITH_VERSION",
        "CL_DEVICE_EXECUTION_CAPABILITIES",
        "CL_DEVICE_HOST_UNIFIED_MEMORY",
        "CL_DEVICE_SVM_CAPABILITIES",
        "CL_DEVICE_OPENCL_C_FEATURES",
        "CL_DEVICE_LATEST_CONFORMANCE_VERSION_PASSED",
        // The loader's own, which says what it talks to.
        "CL_ICDL_NAME",
    ];
    let mut compared = 0;
    for (label, theirs) in &remote {
        if differs.contains(&label.as_str()) || !label.starts_with("CL_DEVICE_") {
            continue;
        }
        // It goes up and down.
        if label == "CL_DEVICE_MAX_CLOCK_FREQUENCY" {
            continue;
        }
        assert_eq!(value(&native, label).as_ref(), Some(theirs), "{label}");
        compared += 1;
    }
    assert!(compared > 60, "only {compared} values of {remote:?}");
    for label in [
        "CL_PLATFORM_NAME",
        "CL_PLATFORM_VENDOR",
        "CL_DEVICE_NAME",
        "CL_DRIVER_VERSION",
    ] {
        let theirs = value(&remote, label);
        assert!(theirs.is_some(), "{label}");
        assert_eq!(value(&native, label), theirs, "{label}");
    }
    assert_eq!(
        value(&remote, "CL_PLATFORM_ICD_SUFFIX_KHR").as_deref(),
        Some("WH")
    );
    let version = value(&remote, "CL_DEVICE_VERSION").unwrap_or_default();
    assert!(version.starts_with("OpenCL 3.0 "), "{version}");
}

#[test]
fn clinfo_agrees_over_tcp() {
    clinfo_agrees(Transport::Tcp);
}

#[test]
fn clinfo_agrees_over_the_ring() {
    clinfo_agrees(Transport::Memfd);
}

#[test]
fn vadd_is_right() {
    let program = compile("../../samples/vadd.c");
    for transport in [Transport::Tcp, Transport::Memfd] {
        let stdout = on_server(transport, &program);
        assert_eq!(last_line(&stdout), "vadd: n=65536 verified=yes");
    }
}

#[test]
fn sgemm_is_right() {
    let program = compile("../../samples/sgemm.c");
    for transport in [Transport::Tcp, Transport::Memfd] {
        let stdout = on_server(transport, &program);
        assert_eq!(last_line(&stdout), "sgemm: n=64 verified=yes");
    }
}

#[test]
fn threads_share_a_connection() {
    let program = compile("../../samples/threads.c");
    for transport in [Transport::Tcp, Transport::Memfd] {
        let stdout = on_server(transport, &program);
        let expected = "threads: threads=8 n=1024 rounds=20 verified=yes";
        assert_eq!(last_line(&stdout), expected);
    }
}

/// More than a message holds: 17 MB each of three buffers.
#[test]
fn large_transfers_go_in_pieces() {
    let program = compile("../../samples/vadd.c");
    for transport in [Transport::Tcp, Transport::Memfd] {
        let mut daemon = Daemon::start(transport);
        let mut command = Command::new(&program);
        daemon.point(&mut command);
        let stdout = stdout_of(&run(command.args(["-n", "4300000"])));
        assert_eq!(last_line(&stdout), "vadd: n=4300000 verified=yes");
        daemon.wait_for_clean();
        daemon.stop();
    }
}

/// There is memory for it that both sides have, as far as it goes.
#[test]
fn transfers_of_every_size() {
    let program = compile("tests/end_to_end/transfers.c");
    for what in ["sizes", "host", "events"] {
        let mut native = Command::new(&program);
        vendor_environment(&mut native);
        let native = stdout_of(&run(native.arg(what)));
        assert_eq!(last_line(&native), "all as expected");
    }
    // Bytes of data in memory that both sides have, and in messages.
    let moved = |transport, what| {
        let daemon = Daemon::start(transport);
        let path = program.with_extension("json");
        let mut command = Command::new(&program);
        daemon.point(&mut command);
        command.arg(what).env("WORMHOLE_STATS", &path);
        let stdout = stdout_of(&run(&mut command));
        assert_eq!(last_line(&stdout), "all as expected");
        daemon.stop();
        let text = std::fs::read_to_string(&path).expect("the program wrote it");
        let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let bytes = |how: &str| stats["data"][how].as_u64().expect("a number");
        (bytes("shared"), bytes("messages"))
    };
    assert_eq!(moved(Transport::Tcp, "sizes").0, 0);
    // What blocks, and of the rest what there is room for.
    assert!(moved(Transport::Memfd, "sizes").0 > 25 << 20);
    assert_eq!(moved(Transport::Memfd, "host"), (0, 0));
    assert_eq!(moved(Transport::Memfd, "events").1, 0);
    assert_eq!(moved(Transport::Memfd, "refused").1, 0);
}

#[test]
fn functions_do_what_the_vendors_do() {
    let program = compile("tests/end_to_end/functions.c");
    let mut native = Command::new(&program);
    vendor_environment(&mut native);
    let native = stdout_of(&run(native.arg("native")));
    assert_eq!(last_line(&native), "all as expected");
    for transport in [Transport::Tcp, Transport::Memfd] {
        assert_eq!(
            last_line(&on_server(transport, &program)),
            "all as expected"
        );
    }
}

/// Runs a program on the vendor's own library, and says so, and on a server: it prints
/// the same.
fn agrees(source: &str) {
    agrees_on(ONE_DEVICE, source);
}

fn agrees_on(devices: &str, source: &str) {
    let program = compile(source);
    let mut native = Command::new(&program);
    vendor_environment(&mut native);
    native.env("POCL_DEVICES", devices);
    let native = stdout_of(&run(native.arg("native")));
    assert_eq!(last_line(&native), "all as expected");
    for transport in [Transport::Tcp, Transport::Memfd] {
        let theirs = on_devices(devices, transport, &program);
        assert_eq!(theirs, native, "{transport:?}");
    }
}

#[test]
fn boxes_of_buffers_are_moved_as_the_vendor_does() {
    agrees("tests/end_to_end/rects.c");
}

#[test]
fn images_are_those_of_the_vendor() {
    agrees("tests/end_to_end/images.c");
}

#[test]
fn commands_wait_for_events() {
    agrees_on(THREADED, "tests/end_to_end/events.c");
}

#[test]
fn programs_are_compiled_and_linked_as_the_vendor_does() {
    agrees("tests/end_to_end/linking.c");
}

#[test]
fn devices_are_parted_as_the_vendor_does() {
    agrees_on(TWO_DEVICES, "tests/end_to_end/devices.c");
}

#[test]
fn callbacks_are_called() {
    agrees_on(THREADED, "tests/end_to_end/callbacks.c");
}

#[test]
fn what_came_after_1_2_is_that_of_the_vendor() {
    agrees("tests/end_to_end/newer.c");
}

#[test]
fn a_server_of_2_1_is_one_of_1_2() {
    let program = compile("tests/end_to_end/older.c");
    let library = compile_library("tests/end_to_end/older_vendor.c");
    let options = ["--library".as_ref(), library.as_os_str()];
    let mut daemon = Daemon::start_with(Transport::Tcp, options);
    let mut command = Command::new(&program);
    daemon.point(&mut command);
    let stdout = stdout_of(&run(&mut command));
    assert_eq!(last_line(&stdout), "all as expected");
    daemon.wait_for_clean();
    daemon.stop();
}

#[test]
fn mistakes_get_their_status() {
    let program = compile("tests/end_to_end/errors.c");
    for transport in [Transport::Tcp, Transport::Memfd] {
        assert_eq!(
            last_line(&on_server(transport, &program)),
            "all as expected"
        );
    }
}

#[test]
fn calls_are_counted() {
    let program = compile("../../samples/vadd.c");
    let mut daemon = Daemon::start(Transport::Tcp);
    let path = program.with_extension("json");
    let mut command = Command::new(&program);
    daemon.point(&mut command);
    stdout_of(&run(command.env("WORMHOLE_STATS", &path)));
    let text = std::fs::read_to_string(&path).expect("the program wrote it");
    let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(stats["transport"], "tcp");
    assert_eq!(stats["functions"]["clSetKernelArg"], 5);
    let calls = stats["calls"].as_u64().expect("a number");
    let functions = stats["functions"].as_object().expect("an object");
    let sum: u64 = functions
        .values()
        .filter_map(serde_json::Value::as_u64)
        .sum();
    assert_eq!(calls, sum);
    let count = |key: &str| stats[key].as_u64().expect("a number");
    // Arguments, launch, write, read and what is released are not waited for.
    assert!(count("posted") >= 7, "{text}");
    assert!(count("sync") < calls, "{text}");
    daemon.wait_for_clean();
    daemon.stop();
}

/// A token outlives the client that got it, and with a directory the server.
#[test]
fn a_program_is_made_from_a_token_of_before() {
    let program = compile("tests/end_to_end/token.c");
    let token = program.with_extension("token");
    let store = program.with_extension("store");
    let options = || ["--binaries".as_ref(), store.as_os_str()];
    let use_it = |daemon: &mut Daemon, how: &str| {
        let mut command = Command::new(&program);
        daemon.point(&mut command);
        let stdout = stdout_of(&run(command.arg(how).arg(&token)));
        daemon.wait_for_clean();
        stdout
    };
    let mut daemon = Daemon::start_with(Transport::Tcp, options());
    assert_eq!(last_line(&use_it(&mut daemon, "save")), "all as expected");
    assert_eq!(last_line(&use_it(&mut daemon, "load")), "all as expected");
    daemon.stop();
    let mut daemon = Daemon::start_with(Transport::Tcp, options());
    assert_eq!(last_line(&use_it(&mut daemon, "load")), "all as expected");
    daemon.stop();
    // To another server it means nothing.
    let mut daemon = Daemon::start(Transport::Tcp);
    assert_eq!(
        last_line(&use_it(&mut daemon, "refused")),
        "all as expected"
    );
    daemon.stop();
}

/// The same without an ICD loader, from a library that takes its place.
#[test]
fn the_drop_in_replaces_the_loader() {
    for program in ["functions.c", "newer.c"] {
        runs_on_the_drop_in(&compile(&format!("tests/end_to_end/{program}")));
    }
}

fn runs_on_the_drop_in(program: &Path) {
    let directory = program.with_extension("lib");
    std::fs::create_dir_all(&directory).expect("the target directory is writable");
    std::fs::copy(library("libOpenCL.so"), directory.join("libOpenCL.so.1"))
        .expect("the target directory is writable");
    let mut daemon = Daemon::start(Transport::Tcp);
    let mut command = Command::new(program);
    daemon.point(&mut command);
    // Not an ICD: the loader would find it, and there is to be no loader.
    command
        .env_remove("OCL_ICD_VENDORS")
        .env("LD_LIBRARY_PATH", &directory);
    let stdout = stdout_of(&run(&mut command));
    assert_eq!(last_line(&stdout), "all as expected");
    daemon.wait_for_clean();
    daemon.stop();
}

#[test]
fn several_clients_at_once() {
    let program = compile("../../samples/sgemm.c");
    let mut daemon = Daemon::start(Transport::Tcp);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new(&program);
            daemon.point(&mut command);
            std::thread::spawn(move || stdout_of(&run(&mut command)))
        })
        .collect();
    for client in clients {
        let stdout = client.join().expect("the client succeeds");
        assert_eq!(last_line(&stdout), "sgemm: n=64 verified=yes");
        daemon.wait_for_clean();
    }
    daemon.stop();
}
