#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Programs that nobody here wrote, and a stress, in the client VM, on the Intel host, by the way that is best here. TAP.
# usage: conformance.sh [TEST...]
set -uo pipefail
. "$(dirname "$0")/pair.sh"
here=$lib/slow
found=(--env LD_LIBRARY_PATH=$here --env PYTHONPATH=$here/python --env GPU=1 --env XDG_CACHE_HOME=/tmp)

# client COMMAND...
client() {
	vm exec client --timeout 3600 --env WORMHOLE_TRANSPORT="$way" "${found[@]}" -- "$@"
}

# native COMMAND...
native() {
	vm exec server --timeout 3600 "${pocl[@]}" "${found[@]}" -- "$@"
}

# left WHAT: how many objects or references the server says that each client has left, a line each
left() {
	vm exec server -- sed -n "s/.*$1 left: //p" /out/server.log
}

more_left() {
	[ "$(left references | wc -l)" -gt "$1" ]
}

stress() {
	local before what
	before=$(left references | wc -l)
	client $here/stress -n 100000 >&2 || return 1
	# Its process counts when it is gone.
	wait_for 60 "the client's process in the server to end" more_left "$before" || return 1
	for what in objects references; do
		[ "$(left $what | tail -n 1)" = none ] || return 1
	done
}

# CLBlast compares with a BLAS on the CPU.
clblast() {
	client $here/clblast_test_xaxpy >/out/clblast
	echo "ended with $?" >>/out/clblast
	awk -f $here/clblast.awk /out/clblast >/out/clblast.tap
	! grep -q '^not ok' /out/clblast.tap && grep -q '^ok' /out/clblast.tap
}

# What goes through Wormhole: the others measure the server's device, for minutes each in an emulated host.
clpeak() {
	client $here/clpeak --kernel-latency --transfer-bandwidth | tee /out/clpeak >&2 &&
		grep -q 'memcpy to mapped ptr *: [0-9]' /out/clpeak && grep -q 'Kernel launch latency *: [0-9]' /out/clpeak
}

tinygrad() {
	local train=(python3 $here/train.py mlp 4)
	native "${train[@]}" | tee /out/tinygrad.native >&2 || return 1
	client "${train[@]}" | tee /out/tinygrad.client >&2 || return 1
	[ "$(grep -c ^step /out/tinygrad.native)" = 4 ] && diff /out/tinygrad.native /out/tinygrad.client >&2
}

tests=(stress clblast tinygrad clpeak)
[ $# = 0 ] || tests=("$@")
exec > >(tee /out/conformance.tap)
pair_up --count-references || exit 1
way=$(best_way)
echo "1..${#tests[@]}"
for test in "${tests[@]}"; do
	note "$test, by $way"
	start=$SECONDS
	"$test"
	report $? "$test in the client VM, by $way"
	note "$test: $((SECONDS - start)) s of the host's clock"
done
vm pull server /out/server.log /out/server.log || :
exit $failed
