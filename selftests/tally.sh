#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The line that closes "make test" counts every log right: plans before their tests and behind them, streams that follow
# each other, tests that never ran.
# usage: tally.sh
# out: TAP
set -uo pipefail
cd "$(dirname "$0")"
test=0

# counts WANTED WHAT LINE...: a log of these lines ends with WANTED
counts() {
	local wanted=$1 what=$2 result="not ok" seen
	shift 2
	seen=$(printf '%s\n' "$@" | awk -f tally.awk | tail -n 1)
	[ "$seen" != "$wanted" ] || result=ok
	echo "$result $((++test)) - $what${seen:+: $seen}"
}

counts "2 passed, 0 failed, 0 skipped" "a plan before its tests" 1..2 "ok 1 - a" "ok 2 - b"
counts "1 passed, 1 failed, 1 skipped" "a plan behind its tests" "ok 1 - a" "not ok 2 - b" "ok 3 - c # SKIP d" 1..3
counts "6 passed, 0 failed, 0 skipped" "streams of both kinds" 1..1 "ok 1 - a" "ok 1 - a" "ok 2 - b" "ok 3 - c" 1..3 \
	"ok 1 - a" "ok 2 - b" 1..2
counts "2 passed, 3 failed, 0 skipped" "planned and never ran" 1..3 "ok 1 - a" "ok 1 - b" 1..2
counts "1 passed, 2 failed, 0 skipped" "planned, and nothing ran" 1..2 1..1 "ok 1 - a"
counts "3 passed, 1 failed, 2 skipped" "cargo's harness beside TAP" "test result: FAILED. 3 passed; 1 failed; 1 ignored" \
	"skipped: a" 1..1 "ok 1 - b"
counts "0 passed, 0 failed, 0 skipped" "nothing at all"
echo "1..$test"
