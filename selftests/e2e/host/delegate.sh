#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Delegated calls between processes of two VMs, on the Intel host: a small service and its clients, in Rust and in C.
# TAP.
set -uo pipefail
. "$(dirname "$0")/pair.sh"

bring_up() {
	load_module && start_serve && start_vm server && start_vm client || return 1
	wait_for 60 "wormholectl to pair the two VMs" paired || return 1
	vm wait server client && load_guest server && load_guest client && start_delegate_server
}

# Calls and hops, verified, and without a fall-back to messages
delegates() {
	vm exec client --timeout 300 -- "$@" | tee /out/client.log >&2
	grep -Eq '^RESULT .*transport=vmfunc .*hops=[1-9][0-9]* verified=yes$' /out/client.log
}

# wormholectl's statistics have seen the hops
hops_are_counted() {
	grep -Eqx '[1-9][0-9]*' /sys/kernel/debug/wormhole/1/hops_system_call
}

tear_down() {
	vm stop client server
	kill -TERM "$serve_pid"
	wait "$serve_pid"
	rmmod wormhole
}

number=0
failed=0
# check NAME COMMAND...
check() {
	local name=$1 verdict=ok
	shift
	number=$((number + 1))
	"$@" || { verdict='not ok' failed=1; }
	echo "$verdict $number - $name"
}

bring_up || exit 1
{
	if wormholectl --json info | grep -Eq '"vmfunc": ?true'; then
		echo 1..5
		check 'a client in Rust' delegates $lib/delegate-sample client
		check 'a client in C' delegates $lib/counter
		check 'hops are counted' hops_are_counted
		check 'the server lives' vm exec server -- sh -c 'pgrep -x delegate-sample >/dev/null'
		check 'everything ends' tear_down
	else
		echo '1..0 # SKIP this CPU has no VMFUNC'
	fi
} >/out/delegate.tap
cat /out/delegate.tap
! grep -q '^not ok' /out/delegate.tap
