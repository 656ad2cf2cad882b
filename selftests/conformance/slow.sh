#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# "make test-slow": what takes too long for "make test". After selftests/stage.sh.
# usage: slow.sh
# out: TAP, and a line "N passed, N failed, N skipped"
set -uo pipefail
cd "$(dirname "$0")/../.."
logs=build/test
mkdir -p $logs

# part NAME COMMAND...: failing without a failed test is a failure, too
part() {
	local log=$logs/slow-$1.log
	"${@:2}" | tee "$log"
	[ "${PIPESTATUS[0]}" = 0 ] || grep -q '^not ok ' "$log" || echo "not ok - $1 ended with an error" | tee -a "$log"
}

client_vm() {
	# A measurement of clpeak's says nothing for as long as it takes.
	selftests/testbed/enter.sh selftests/conformance/stage.sh slow &&
		selftests/e2e/boot.sh conformance --add conformance/stage-slow --timeout 7200 --silence 1800
}

part methods selftests/conformance/run.sh 'pocl large cbs loops repl'
part client-vm client_vm
awk -f selftests/tally.awk $logs/slow-{methods,client-vm}.log
