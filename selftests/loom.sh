#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Model-checks the ring's counters and its sleep protocol, in the build root.
set -euo pipefail
cd "$(dirname "$0")/../userlib"
export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$CARGO_TARGET_DIR/loom"
exec cargo test --locked -p wormhole-transport --lib loom
