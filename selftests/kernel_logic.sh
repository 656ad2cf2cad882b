#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Unit tests of the kernel modules' pure logic, under plain rustc, in the build root. A file takes part by having tests.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/target/kernel-logic
mkdir -p "$out"
found=0
while IFS= read -r file; do
	name=$(sed 's|^rust/||; s|\.rs$||; s|/|_|g' <<<"$file")
	rustc --edition 2021 --test --crate-name "$name" -A dead_code -o "$out/$name" "$file"
	"$out/$name"
	found=1
done < <(grep -rl '^#\[cfg(test)\]' rust)
[ $found = 1 ]
