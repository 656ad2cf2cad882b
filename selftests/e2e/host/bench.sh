#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# What calls cost, on the Intel host, between processes of two Linux VMs and in bare VMs: a table, and the same as JSON.
set -euo pipefail
here=$(dirname "$0")
. "$here/pair.sh"
. "$here/clients.sh"
rows=/out/delegate.rows
pairing=/sys/kernel/debug/wormhole/1

# guest_exits ROLE: that the VM has caused so far
guest_exits() {
	echo $(($(<"$pairing/$1_exits") - $(<"$pairing/$1_interrupt_exits")))
}

# run_time VM...: nanoseconds that their processes have run so far
run_time() {
	local vm
	for vm in "$@"; do
		cat "/proc/$(vm pid "$vm")"/task/*/schedstat
	done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# idle VM...: they have less than 2 % of a CPU to do: after booting they are busy for a while.
idle() {
	local before
	before=$(run_time "$@")
	sleep 1
	[ $(($(run_time "$@") - before)) -lt 20000000 ]
}

# with_counters FUNCTION VM [OPTION...] -- COMMAND...: a program that asks for counters in between, by a line "counters".
# The function prints the answer; all else that the program prints goes to standard output.
with_counters() {
	local counters=$1 vm=$2 answers=/run/bench.answers to line
	shift 2
	mkfifo $answers
	# For reading too: so it has no end, and opening it waits for nobody.
	exec {to}<>$answers
	vm exec "$vm" --input --timeout 900 "$@" <$answers | while read -r line; do
		if [ "$line" = counters ]; then
			$counters >&"$to"
		else
			echo "$line"
		fi
	done
	exec {to}>&-
	rm $answers
}

delegate_counters() {
	echo "$(guest_exits client) $(guest_exits server) $(<$pairing/resumes)"
}

linux_vms() {
	local server_log=/out/delegate-bench.log
	vm exec server --detach $server_log -- $lib/wormhole-delegate-bench server
	wait_for 60 "wormhole-delegate-bench to serve" vm exec server -- grep -q serving $server_log
	wait_for 60 "the VMs to be idle" idle server client
	with_counters delegate_counters client -- $lib/wormhole-delegate-bench client >$rows
}

opencl_counters() {
	echo "client_exits=$(guest_exits client) server_exits=$(guest_exits server) calls=$(<$pairing/calls)"
}

# How the client VM's OpenCL calls go: a transport, and what else its environment needs.
ways=(
	"vmfunc"
	"ring"
	"tcp WORMHOLE_TCP=$server_address:$port"
	"vsock WORMHOLE_VSOCK=host:$port"
)

# opencl_by WAY VM [OPTION...]: the same program, in that VM
opencl_by() {
	local way=$1 vm=$2 part=()
	shift 2
	# To copy megabytes by these takes minutes here.
	[[ $way != tcp && $way != vsock ]] || part=(--calls)
	wait_for 60 "the VMs to be idle" idle server client
	note "OpenCL, $way"
	# It takes minutes: the console hears which rows are there.
	with_counters opencl_counters "$vm" "$@" -- $lib/wormhole-opencl-bench --counters "${part[@]}" |
		tee >(sed -u 's/.*"name":"\([^"]*\)".*/\1/' >&2) >"/out/opencl-$way.found"
	found+=("$way=/out/opencl-$way.found")
}

opencl() {
	local way environment
	read_less_ahead
	opencl_by native server "${pocl[@]}"
	start_server --ring $device --vsock $port --tcp $server_address:$port
	start_relay
	for way in "${ways[@]}"; do
		read -ra environment <<<"WORMHOLE_TRANSPORT=$way"
		opencl_by "${way%% *}" client "${environment[@]/#/--env=}"
	done
}

modprobe kvm_intel
found=()
note "two Linux VMs"
load_module
start_serve
start_vm server --network $server_address/24
start_vm client --network $client_address/24
wait_for 60 "wormholectl to pair the two VMs" paired
vm wait server client
load_guest server
load_guest client
linux_vms
opencl
vm stop client server
kill -TERM "$serve_pid"
wait "$serve_pid"
rmmod wormhole

note "${#clients[@]} client VMs of one server VM"
load_module
pair_up_clients "${clients[@]}"
wait_for 60 "the VMs to be idle" idle server "${clients[@]}"
clients_together >>/out/opencl-vmfunc.found
vm stop "${clients[@]}" server
kill -TERM "${services[@]}"
wait "${services[@]}"
rmmod wormhole
$lib/wormhole-opencl-compare "${found[@]}" >>$rows

note "bare VMs"
load_module
$lib/wormhole-switch-bench --rows $rows /out/bench.json | tee /out/bench.table
