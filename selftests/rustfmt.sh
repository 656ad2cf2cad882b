#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Formatting, in the build root: userspace by rustfmt's defaults, kernel code by the kernel's .rustfmt.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
kdir=build/kdir/$(cat build/kernel/release)
cargo fmt --manifest-path userlib/Cargo.toml --all -- --check
for crate in testbed ioctl switch gate guest delegate opencl fuzz; do
	cargo fmt --manifest-path selftests/$crate/Cargo.toml -- --check
done
rustfmt --edition 2021 --config-path "$kdir/.rustfmt.toml" --check rust/uapi.rs rust/wormhole.rs rust/wormhole_guest.rs
