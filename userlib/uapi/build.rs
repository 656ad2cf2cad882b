// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs the `bindgen` command on Wormhole's UAPI headers.
//!
//! `BINDGEN` in the environment names another bindgen command.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const HEADERS: [&str; 4] = [
    "wormhole.h",
    "wormhole_guest.h",
    "wormhole_hypercall.h",
    "wormhole_window.h",
];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let include = manifest
        .join("../../include/uapi")
        .canonicalize()
        .expect("include/uapi stands two levels above this crate");

    let mut all = String::new();
    for header in HEADERS {
        let path = include.join("linux").join(header);
        println!("cargo:rerun-if-changed={}", path.display());
        all.push_str(&format!("#include <linux/{header}>\n"));
    }
    println!("cargo:rerun-if-env-changed=BINDGEN");
    println!("cargo:rerun-if-changed=build.rs");

    let wrapper = out.join("wormhole_all.h");
    fs::write(&wrapper, all).expect("OUT_DIR is writable");

    let bindgen = env::var_os("BINDGEN").unwrap_or_else(|| "bindgen".into());
    let status = Command::new(&bindgen)
        .arg(&wrapper)
        .args(["--rust-target", "1.85", "--use-core"])
        .args(["--ctypes-prefix", "core::ffi"])
        .args(["--allowlist-item", "(wormhole_|WORMHOLE_).*"])
        .args(["--with-derive-default", "--no-doc-comments"])
        .arg("--output")
        .arg(out.join("bindings.rs"))
        .arg("--")
        .arg("-I")
        .arg(&include)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} failed: {status}", bindgen.to_string_lossy()),
        Err(error) => panic!(
            "cannot run {}: {error} (install Debian's package bindgen, or set BINDGEN)",
            bindgen.to_string_lossy()
        ),
    }
}
