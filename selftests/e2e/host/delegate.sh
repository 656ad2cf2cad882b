#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Delegated calls between processes of two VMs, on the Intel host: a small service and its clients, in Rust and in C.
# TAP.
set -uo pipefail
. "$(dirname "$0")/pair.sh"

# The client VM has a vCPU for each CPU of the host.
bring_up() {
	load_module && start_serve && start_vm server && start_vm client --smp "$(nproc)" || return 1
	wait_for 60 "wormholectl to pair the two VMs" paired || return 1
	vm wait server client && load_guest server && load_guest client && start_delegate_server
}

# Calls and hops, verified, and without a fall-back to messages
delegates() {
	vm exec client --timeout 300 -- "$@" | tee /out/client.log >&2
	grep -Eq '^RESULT .*transport=vmfunc .*hops=[1-9][0-9]* verified=yes$' /out/client.log
}

# What code of the server's may count on, during calls. Its program is the server meanwhile.
keeps_what_code_counts_on() {
	vm exec server -- pkill -x delegate-sample
	vm exec server --detach /out/hazards.log -- $lib/wormhole-delegate-hazards server
	wait_for 60 "wormhole-delegate-hazards to serve" vm exec server -- grep -q serving /out/hazards.log || return 1
	vm exec client --timeout 300 -- $lib/wormhole-delegate-hazards client >/out/hazards.tap
	local status=$?
	cat /out/hazards.tap >&2
	start_delegate_server && [ $status = 0 ]
}

# start_client ARGUMENT...: in the background, with its exit status at the end of /out/background.log
start_client() {
	vm exec client --detach /out/background.log -- \
		sh -c 'rm -f /out/background.status; "$@"; echo "status=$?" >/out/background.status' sh $lib/delegate-sample client "$@"
}

# client_left STATUS PATTERN: it has ended with that status, having said so (extended regular expressions)
client_left() {
	local status log
	wait_for 300 "the client to end" client_ended || return 1
	status=$(vm exec client -- cat /out/background.status)
	log=$(vm exec client -- cat /out/background.log)
	printf '%s\n' "$log" "$status" >&2
	[[ $status =~ ^status=($1)$ && $log =~ $2 ]]
}

client_ended() {
	vm exec client -- test -s /out/background.status
}

# Stopped between two calls, by itself
client_stopped() {
	vm exec client -- sh -c 'grep -q "^State:.T" /proc/$(pgrep -x delegate-sample)/status'
}

# hops: system calls of the functions that were called, since the VMs were paired
hops() {
	cat /sys/kernel/debug/wormhole/*/hops_system_call
}

hops_since() {
	[ "$(hops)" -gt "$1" ]
}

# A client that makes calls without end, and has come to do so
start_busy_client() {
	local before
	before=$(hops)
	start_client -n 1000000000 && wait_for 120 "the client to call" hops_since $((before + 2))
}

# With the VMs unpaired VMFUNC is no instruction: the client goes on by messages.
goes_on_by_ring() {
	start_client -n 2000 -s 1000 && wait_for 120 "the client to stop itself" client_stopped || return 1
	wormholectl unpair gpu0 || return 1
	vm exec client -- pkill -CONT -x delegate-sample
	client_left 0 'RESULT .*transport=ring .*verified=yes'
}

# A call that is under way then is lost, and said to be; after any other one the client goes on by messages.
survives_unpairing() {
	start_busy_client && wormholectl unpair gpu0 || return 1
	wait_for 120 "the client to notice" client_noticed || return 1
	vm exec client -- pkill -x delegate-sample
	client_left '1|143' 'calls go by ring|the server is gone'
}

client_noticed() {
	client_ended || vm exec client -- grep -q 'calls go by ring' /out/background.log
}

pairs_again_and_delegates() {
	wormholectl pair gpu0 && wait_for 60 "wormholectl to pair the two VMs" paired && delegates $lib/delegate-sample client -n 2000
}

# The client's driver lets its device go while the client calls.
survives_unbinding() {
	start_busy_client || return 1
	vm exec client -- sh -c '
		address=$(basename "$(readlink -f /sys/class/misc/wormhole_guest0/device)")
		cd /sys/bus/pci/drivers/wormhole_guest && echo "$address" >unbind && sleep 1 && echo "$address" >bind' || return 1
	client_left 1 'the server is gone'
}

# wormholectl's statistics have seen the hops
hops_are_counted() {
	grep -Eqx '[1-9][0-9]*' /sys/kernel/debug/wormhole/1/hops_system_call
}

events=/sys/kernel/tracing/events/wormhole

start_tracing() {
	mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing || return 1
	echo 1 >$events/wormhole_hop/enable && echo 1 >$events/wormhole_return/enable
}

# The tracepoints have seen them, and their ends
hops_are_traced() {
	echo 0 >$events/enable
	grep -Eq 'wormhole_hop: pairing=1 session=[0-9]+ carrier=[0-9]+ cause=system-call$' /sys/kernel/tracing/trace &&
		grep -Eq 'wormhole_return: pairing=1 session=[0-9]+ carrier=[0-9]+$' /sys/kernel/tracing/trace
}

# client_kernel_with on|off: a client VM of two vCPUs, with or without page-table isolation
client_kernel_with() {
	vm stop client
	start_vm client --smp 2 --append "pti=$1" && vm wait client && load_guest client || return 1
	wait_for 60 "wormholectl to pair the two VMs" paired || return 1
	case $1,$(vm exec client -- dmesg) in
	on,*'page tables isolation: enabled'*) ;;
	on,*) return 1 ;;
	off,*'page tables isolation: enabled'*) return 1 ;;
	esac
	delegates $lib/delegate-sample client -n 20000
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
	if has_vmfunc; then
		echo 1..15
		start_tracing || failed=1
		check 'a client in Rust' delegates $lib/delegate-sample client
		check 'a client in C' delegates $lib/counter
		check 'a process that is called keeps its variables, clocks, locks and signals' keeps_what_code_counts_on
		check 'hops are counted' hops_are_counted
		check 'hops are traced' hops_are_traced
		check 'a client goes on by ring when the VMs are unpaired' goes_on_by_ring
		check 'the VMs are paired again, and a client delegates' pairs_again_and_delegates
		check 'a busy client survives that the VMs are unpaired' survives_unpairing
		check 'they are paired again, and a client delegates' pairs_again_and_delegates
		check 'a busy client survives that its device is unbound' survives_unbinding
		check 'a client delegates on the device of a new driver' delegates $lib/delegate-sample client -n 2000
		check 'a client VM with page-table isolation, two vCPUs' client_kernel_with on
		check 'the same without' client_kernel_with off
		check 'the server lives' vm exec server -- sh -c 'pgrep -x delegate-sample >/dev/null'
		check 'everything ends' tear_down
	else
		echo '1..0 # SKIP this CPU has no VMFUNC'
	fi
} >/out/delegate.tap
cat /out/delegate.tap
! grep -q '^not ok' /out/delegate.tap
