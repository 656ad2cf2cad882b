#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# What exitless calls cost, on the Intel host: a table, and the same as JSON.
set -euo pipefail
. "$(dirname "$0")/pair.sh"
modprobe kvm_intel
load_module
$lib/wormhole-switch-bench /out/bench.json | tee /out/bench.table
