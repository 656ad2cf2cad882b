#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds the testbed's own programs.
# usage: programs.sh
# out:	build/target/x86_64-unknown-linux-gnu/release/{testbed,init,vm}
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/enter.sh" bash -c 'cd selftests/testbed && cargo build --quiet --release --locked'
