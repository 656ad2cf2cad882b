#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Model-checks the ring's counters and its sleep protocol, and how carriers leave, in the build root.
set -euo pipefail
cd "$(dirname "$0")/../userlib"
export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$CARGO_TARGET_DIR/loom"
exec cargo test --locked -p wormhole-transport -p wormhole-delegate --lib loom
