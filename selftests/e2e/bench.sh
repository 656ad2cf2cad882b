#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# "make bench": the table, and build/bench.json.
set -uo pipefail
cd "$(dirname "$0")/../.."
rm -f build/bench.json
# One CPU: with several, the emulator's time-stamp counter is the mean of what all of them execute.
selftests/testbed/run.sh --name bench --cpus 1 --timeout 3600 -- /usr/lib/wormhole/bench.sh >&2 || exit 1
cp build/run/bench/out/bench.json build/bench.json
cat build/run/bench/out/bench.table
