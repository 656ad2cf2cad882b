#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Two client VMs of one server VM, on the Intel host: programs of both call exitlessly at the same time, and the end of
# one VM is nothing to the other. TAP.
# usage: tenants.sh [TEST...]
set -uo pipefail
. "$(dirname "$0")/pair.sh"
# Steps of a replay, of one that lasts until another has begun and run, and of one that is to be hit by something.
some=40
many=200
endless=1000000

# start_replay VM STEPS: a training in the background, which fails rather than go by messages; its output is in
# /out/VM.log, and the process that waits for it is $replay.
start_replay() {
	vm exec "$1" --timeout 600 --env WORMHOLE_TRANSPORT=vmfunc -- $lib/wormhole-opencl-bench --replay "$2" >"/out/$1.log" 2>&1 &
	replay=$!
	wait_for 120 "$1's first step" grep -q step= "/out/$1.log"
}

# verified VM STEPS
verified() {
	grep -q "steps=$2 verified=yes" "/out/$1.log"
}

# calls PAIRING: exitless ones, so far
calls() {
	wormholectl --json stat "$1" | sed -n 's/.*"calls": *"\([0-9]*\)".*/\1/p'
}

server_children() {
	vm exec server -- sh -c 'pgrep -c -P "$(pgrep -o -x wormhole-server)"'
}

server_children_are() {
	[ "$(server_children)" = "$1" ]
}

both_train() {
	local before first second
	before=("$(calls gpu0)" "$(calls gpu1)")
	start_replay client2 $many && first=$replay && start_replay client $some && second=$replay || return 1
	# Both are at it, each with a process of its own.
	kill -0 "$first" && server_children_are 2 && wait "$second" && wait "$first" || return 1
	verified client $some && verified client2 $many || return 1
	# Each step waits for the server.
	[ "$(calls gpu0)" -gt $((before[0] + some)) ] && [ "$(calls gpu1)" -gt $((before[1] + many)) ]
}

client_qemu_killed() {
	local witness
	start_replay client2 $endless && start_replay client $some && witness=$replay || return 1
	sleep "0.$((RANDOM % 2))$((RANDOM % 10))"
	kill -0 "$witness" && vm kill9 client2 || return 1
	wait "$witness" && verified client $some || return 1
	wait_for 20 "wormholectl to see that the VM has gone" not paired gpu1 &&
		wait_for 20 "its server process to go" server_children_are 0 && paired gpu0
}

not() {
	! "$@"
}

it_comes_back() {
	start_client client2 gpu1 && vm wait client2 && load_guest client2 || return 1
	wait_for 20 "wormholectl to pair again" paired gpu1 && both_train
}

# One window's service ends, in the middle of a call: those of the other go on.
unpaired() {
	local witness victim
	start_replay client2 $endless && victim=$replay && start_replay client $some && witness=$replay || return 1
	wormholectl unpair gpu1 && ! wait "$victim" && grep -q 'OpenCL error' /out/client2.log || return 1
	wait "$witness" && verified client $some && paired gpu0 || return 1
	wormholectl pair gpu1 && wait_for 20 "wormholectl to pair again" paired gpu1 && both_train
}

everything_ends() {
	vm stop client client2 server
	kill -TERM "${services[@]}"
	wait "${services[@]}"
	rmmod wormhole
}

tests=(both_train unpaired client_qemu_killed it_comes_back everything_ends)
[ $# = 0 ] || tests=("$@")

# The stream goes to the console and, whole, to the build machine.
exec > >(tee /out/tenants.tap)
load_module || exit 1
if ! has_vmfunc; then
	echo '1..0 # SKIP this CPU has no VMFUNC'
	exit
fi
pair_up_clients client client2 || exit 1
echo "1..${#tests[@]}"
for test in "${tests[@]}"; do
	note "$test"
	"$test"
	report $? "$test"
done
exit $failed
