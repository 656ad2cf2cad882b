// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The published layout: these numbers may never change. The same numbers are
//! given to the C compiler, so that C and Rust agree.

use std::mem::{offset_of, size_of};
use std::process::Command;

use wormhole_uapi::*;

#[test]
fn request_numbers() {
    assert_eq!(WORMHOLE_IOC_INFO, 0xc020_b700);
    assert_eq!(WORMHOLE_IOC_PAIR, 0x4038_b701);
    assert_eq!(WORMHOLE_GUEST_IOC_INFO, 0xc020_b740);
    assert_eq!(WORMHOLE_GUEST_IOC_CONNECT, 0xc018_b741);
    assert_eq!(WORMHOLE_GUEST_IOC_ACCEPT, 0xc018_b742);
    assert_eq!(WORMHOLE_GUEST_IOC_NOTIFY, 0xb743);
    assert_eq!(WORMHOLE_GUEST_IOC_WAIT, 0xc018_b744);
    assert_eq!(WORMHOLE_GUEST_IOC_SERVE, 0x4010_b745);
    assert_eq!(WORMHOLE_GUEST_IOC_REGISTER, 0xc020_b746);
    assert_eq!(WORMHOLE_GUEST_IOC_CARRIER, 0x4010_b747);
    assert_eq!(WORMHOLE_GUEST_IOC_RETURN, 0x4010_b748);
    assert_eq!(WORMHOLE_GUEST_IOC_BIND, 0xb749);
    assert_eq!(WORMHOLE_GUEST_IOC_AWAIT, 0xc018_b74a);
    assert_eq!(WORMHOLE_GUEST_IOC_END, 0xb74b);
    assert_eq!(WORMHOLE_GUEST_IOC_RETIRE, 0x4008_b74c);
}

#[test]
fn layout() {
    assert_eq!(size_of::<wormhole_info>(), 32);
    assert_eq!(offset_of!(wormhole_info, cpu_features), 8);
    assert_eq!(offset_of!(wormhole_info, pairings), 24);

    assert_eq!(size_of::<wormhole_pair>(), 56);
    assert_eq!(offset_of!(wormhole_pair, client_vm_fd), 8);
    assert_eq!(offset_of!(wormhole_pair, server_vm_fd), 12);
    assert_eq!(offset_of!(wormhole_pair, name), 16);
    assert_eq!(offset_of!(wormhole_pair, server_event_fd), 48);
    assert_eq!(offset_of!(wormhole_pair, key), 52);

    assert_eq!(size_of::<wormhole_guest_info>(), 32);
    assert_eq!(offset_of!(wormhole_guest_info, channel_size), 16);
    assert_eq!(offset_of!(wormhole_guest_info, peer_up), 28);

    assert_eq!(size_of::<wormhole_guest_bind>(), 24);
    assert_eq!(offset_of!(wormhole_guest_bind, timeout_ns), 8);
    assert_eq!(offset_of!(wormhole_guest_bind, connection), 20);

    assert_eq!(size_of::<wormhole_guest_wait>(), 24);
    assert_eq!(offset_of!(wormhole_guest_wait, timeout_ns), 8);
    assert_eq!(offset_of!(wormhole_guest_wait, status), 20);

    assert_eq!(size_of::<wormhole_guest_register>(), 32);
    assert_eq!(offset_of!(wormhole_guest_register, done), 24);

    assert_eq!(size_of::<wormhole_guest_await>(), 24);
    assert_eq!(offset_of!(wormhole_guest_await, timeout_ns), 8);
    assert_eq!(offset_of!(wormhole_guest_await, status), 16);

    assert_eq!(size_of::<wormhole_carrier>(), 3584);
    assert_eq!(offset_of!(wormhole_carrier, registers), 24);
    assert_eq!(offset_of!(wormhole_carrier, rip), 152);
    assert_eq!(offset_of!(wormhole_carrier, fault_address), 184);
    assert_eq!(offset_of!(wormhole_carrier, xsave), 512);

    assert_eq!(size_of::<wormhole_window>(), 136);
    assert_eq!(offset_of!(wormhole_window, size), 16);
    assert_eq!(offset_of!(wormhole_window, channel_size), 24);
    assert_eq!(offset_of!(wormhole_window, name), 32);
    assert_eq!(offset_of!(wormhole_window, key), 64);
    assert_eq!(offset_of!(wormhole_window, link), 128);

    assert_eq!(size_of::<wormhole_channel>(), 192);
    assert_eq!(offset_of!(wormhole_channel, state), 0);
    assert_eq!(offset_of!(wormhole_channel, event_server), 64);
    assert_eq!(offset_of!(wormhole_channel, event_client), 128);
}

#[test]
fn magic_reads_wormhole() {
    assert_eq!(&WORMHOLE_WINDOW_MAGIC.to_le_bytes(), b"WORMHOLE");
}

#[test]
fn c_compiler_agrees() {
    let checks = [
        ("WORMHOLE_IOC_INFO", WORMHOLE_IOC_INFO),
        ("WORMHOLE_IOC_PAIR", WORMHOLE_IOC_PAIR),
        ("WORMHOLE_GUEST_IOC_INFO", WORMHOLE_GUEST_IOC_INFO),
        ("WORMHOLE_GUEST_IOC_CONNECT", WORMHOLE_GUEST_IOC_CONNECT),
        ("WORMHOLE_GUEST_IOC_ACCEPT", WORMHOLE_GUEST_IOC_ACCEPT),
        ("WORMHOLE_GUEST_IOC_NOTIFY", WORMHOLE_GUEST_IOC_NOTIFY),
        ("WORMHOLE_GUEST_IOC_WAIT", WORMHOLE_GUEST_IOC_WAIT),
        ("WORMHOLE_GUEST_IOC_SERVE", WORMHOLE_GUEST_IOC_SERVE),
        ("WORMHOLE_GUEST_IOC_REGISTER", WORMHOLE_GUEST_IOC_REGISTER),
        ("WORMHOLE_GUEST_IOC_CARRIER", WORMHOLE_GUEST_IOC_CARRIER),
        ("WORMHOLE_GUEST_IOC_RETURN", WORMHOLE_GUEST_IOC_RETURN),
        ("WORMHOLE_GUEST_IOC_BIND", WORMHOLE_GUEST_IOC_BIND),
        ("WORMHOLE_GUEST_IOC_AWAIT", WORMHOLE_GUEST_IOC_AWAIT),
        ("WORMHOLE_GUEST_IOC_END", WORMHOLE_GUEST_IOC_END),
        ("WORMHOLE_GUEST_IOC_RETIRE", WORMHOLE_GUEST_IOC_RETIRE),
    ];
    let mut source = String::from(
        "#include <linux/wormhole.h>\n#include <linux/wormhole_guest.h>\n\
         #include <linux/wormhole_window.h>\n",
    );
    for (name, value) in checks {
        source.push_str(&format!(
            "_Static_assert({name} == {value}UL, \"{name}\");\n"
        ));
    }
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi.c");
    std::fs::write(&file, source).unwrap();
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../../include/uapi");
    let output = Command::new("cc")
        .args([
            "-std=c11",
            "-Wall",
            "-Werror",
            "-fsyntax-only",
            "-I",
            include,
        ])
        .arg(&file)
        .output()
        .expect("a C compiler is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
