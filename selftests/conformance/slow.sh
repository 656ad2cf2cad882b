#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# "make test-slow": what takes too long for "make test".
# usage: slow.sh
# out: TAP, and a line "N passed, N failed, N skipped"
set -uo pipefail
cd "$(dirname "$0")/../.."
log=build/test/slow.log
mkdir -p build/test
selftests/conformance/run.sh 'pocl large cbs loops repl' | tee "$log"
awk -f selftests/tally.awk "$log"
