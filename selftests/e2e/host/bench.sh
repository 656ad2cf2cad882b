#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# What calls cost, on the Intel host, between processes of two Linux VMs and in bare VMs: a table, and the same as JSON.
set -euo pipefail
. "$(dirname "$0")/pair.sh"
rows=/out/delegate.rows
pairing=/sys/kernel/debug/wormhole/1

# guest_exits ROLE: that the VM has caused so far
guest_exits() {
	echo $(($(<"$pairing/$1_exits") - $(<"$pairing/$1_interrupt_exits")))
}

# Nanoseconds that both VMs' processes have run so far
run_time() {
	local role
	for role in server client; do
		cat "/proc/$(vm pid $role)"/task/*/schedstat
	done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# Both VMs have less than 2 % of a CPU to do: after booting they are busy for a while.
idle() {
	local before
	before=$(run_time)
	sleep 1
	[ $(($(run_time) - before)) -lt 20000000 ]
}

# The program in the client VM asks for counters in between; all else that it prints are rows.
linux_vms() {
	local server_log=/out/delegate-bench.log answers=/run/delegate-bench.answers to line
	vm exec server --detach $server_log -- $lib/wormhole-delegate-bench server
	wait_for 60 "wormhole-delegate-bench to serve" vm exec server -- grep -q serving $server_log
	wait_for 60 "the VMs to be idle" idle
	mkfifo $answers
	# For reading too: so it has no end, and opening it waits for nobody.
	exec {to}<>$answers
	vm exec client --input --timeout 600 -- $lib/wormhole-delegate-bench client <$answers | while read -r line; do
		if [ "$line" = counters ]; then
			echo "$(guest_exits client) $(guest_exits server) $(<$pairing/resumes)" >&"$to"
		else
			echo "$line"
		fi
	done >$rows
	exec {to}>&-
}

modprobe kvm_intel
note "two Linux VMs"
load_module
start_serve
start_vm server
start_vm client
wait_for 60 "wormholectl to pair the two VMs" paired
vm wait server client
load_guest server
load_guest client
linux_vms
vm stop client server
kill -TERM "$serve_pid"
wait "$serve_pid"
rmmod wormhole

note "bare VMs"
load_module
$lib/wormhole-switch-bench --rows $rows /out/bench.json | tee /out/bench.table
