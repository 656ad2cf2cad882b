#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# A million mixed calls from eight threads, with checked results, by tcp and by the ring's code: nothing may be left in the
# server. In the build root.
# usage: stress.sh [CALLS]
# out: TAP
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
calls=${1:-1000000}
compile_stress
test=0
for way in tcp memfd; do
	start_server stress-$way $way POCL_MAX_PTHREAD_COUNT=2
	log=$conformance/stress-$way.server.log
	good="not ok"
	env "${forwarded[@]}" timeout 900 "$conformance/stress" -n "$calls" >&2 && good=ok
	echo "$good $((++test)) - $calls mixed calls from 8 threads by $way"
	# Its process counts when it is gone.
	for _ in $(seq 100); do
		! grep -q 'references left' "$log" || break
		sleep 0.1
	done
	for what in objects references; do
		good="not ok"
		grep -q "$what left: none" "$log" && good=ok
		echo "$good $((++test)) - $what left in the server by $way: $(sed -n "s/.*$what left: //p" "$log" | tail -n 1)"
	done
done
echo 1..$test
