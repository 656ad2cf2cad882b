#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# CLBlast's tests, which compare with a BLAS on the CPU, by way of wormhole-server. In the build root.
# usage: clblast.sh [ROUTINE...]
# out: TAP, a test for each routine and precision
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
# Of each level of BLAS, and what CLBlast has besides: vectors, matrix and vector, matrices, batches.
[ $# -gt 0 ] || set -- xaxpy xdot xscal xamax xgemv xger xgemm xsyrk xomatcopy
logs=$conformance/clblast
rm -rf "$logs"
mkdir -p "$logs"
start_server clblast tcp

printf '%s\n' "$@" | env "${forwarded[@]}" xargs -P "$(nproc)" -I ROUTINE \
	sh -c 'timeout 900 clblast_test_ROUTINE >"$1/ROUTINE" 2>&1; echo "ended with $?" >>"$1/ROUTINE"' clblast "$logs"

for routine; do
	# A routine that ends early fails, and so does one whose tests were all skipped for another reason than the precision.
	sed 's/\x1b\[[0-9;]*m//g' "$logs/$routine"
done | awk '
	/^\* Starting tests for the/ { gsub("\x27", "", $6); routine = $6 }
	/^ *[0-9]+ test\(s\) passed/ { passed = $1 }
	/^ *[0-9]+ test\(s\) skipped/ { skipped = $1 }
	/^ *[0-9]+ test\(s\) failed/ {
		good = $1 == 0 && passed + skipped > 0
		print (good ? "ok " : "not ok ") ++n " - " routine ": " passed " passed, " $1 " failed" (passed ? "" : " # SKIP PoCL lacks the precision")
	}
	/^ended with/ && $3 != 0 { print "not ok " ++n " - " routine ": ended with " $3 }
	END { print "1.." n + 0 }'
