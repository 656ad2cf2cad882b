#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Damage at random moments while processes of two VMs call each other, on the Intel host: whoever survives gets an error
# for the calls that were under way, the next client is served, and nothing stays pinned or allocated. TAP.
# usage: delegate_faults.sh [TEST...]
# WORMHOLE_ROUNDS: how often each kind of damage is done; WORMHOLE_BOOTS: those for which a VM has to boot. Hundreds take
# hours on an emulated host:
#	selftests/testbed/run.sh --cpus 2 --timeout 36000 -- env WORMHOLE_ROUNDS=100 WORMHOLE_BOOTS=100 \
#		/usr/lib/wormhole/delegate_faults.sh
set -uo pipefail
. "$(dirname "$0")/pair.sh"

rounds=${WORMHOLE_ROUNDS:-5}
boots=${WORMHOLE_BOOTS:-1}
# Whatever takes longer than this hangs.
limit=$((300 + 30 * rounds))
torture=$lib/wormhole-delegate-torture
statistics=/sys/kernel/debug/wormhole
RANDOM=1

# Until some moment of the next 30 ms
moment() {
	sleep "0.0$((RANDOM % 3))$((RANDOM % 10))"
}

# How many calls of the pairing that there is have hopped home for a system call: some of each client's do. Without
# another process, for which there is little time while vCPUs call.
hops() {
	local file
	hops=0
	for file in $statistics/*/hops_system_call; do
		[ ! -e "$file" ] || read -r hops <"$file"
	done
}

# Memory of the views, in bytes
table_bytes() {
	cat $statistics/*/table_bytes
}

# calls_go_on [HOPS]: waits until there are more hops than those, or than there are now
calls_go_on() {
	local before deadline=$((SECONDS + 60))
	hops
	before=${1:-$hops}
	until [ "$hops" -gt "$before" ]; do
		if [ "$SECONDS" -ge $deadline ]; then
			note "gave up waiting: calls"
			return 1
		fi
		# Not for long: a second is 850 million instructions of an emulated host whose VMs are busy.
		sleep 0.01
		hops
	done
}

# boot server|client: a VM with a monitor, that boots again when it is reset
boot() {
	local monitor=/run/$1.monitor options=()
	[ -p "$monitor.in" ] || mkfifo "$monitor.in" "$monitor.out"
	# A process is killed, or its device unbound, by one vCPU while another one is in a call.
	[ "$1" = server ] || options=(--smp 2)
	start_vm "$1" "${options[@]}" -- -action reboot=reset \
		-chardev pipe,id=monitor,path="$monitor" -mon chardev=monitor,mode=readline
}

# boot_id server|client: another one after each boot
boot_id() {
	vm exec "$1" --timeout 10 -- cat /proc/sys/kernel/random/boot_id 2>/dev/null
}

# booted_since server|client BOOT-ID
booted_since() {
	local now
	now=$(boot_id "$1") && [ -n "$now" ] && [ "$now" != "$2" ]
}

reset() {
	echo system_reset >"/run/$1.monitor.in"
}

# torture_server ARGUMENT...: instead of the server that there is
torture_server() {
	vm exec server --detach /out/torture.log -- \
		sh -c 'pkill -KILL -x wormhole-delega; exec "$@"' sh $torture server "$@"
}

# start_client ARGUMENT...: in the background, as process $client
start_client() {
	vm exec client --timeout $limit -- $torture client "$@" >&2 &
	client=$!
}

# The client process of the background has got an error.
client_has_ended() {
	! kill -0 $client 2>/dev/null
}

# client_got_an_error SECONDS: what it says itself, so that it was not killed by anything
client_got_an_error() {
	if ! wait_for "$1" "the client's error" client_has_ended; then
		kill $client
		wait $client
		return 1
	fi
	wait $client
	[ $? = 3 ]
}

# The client process of the background has had all its rounds, and no error since.
client_is_content() {
	wait_for 60 "the client to be content" client_has_ended || kill $client
	wait $client
}

# Nothing of what was is left: an undisturbed client's calls are right, and when it has gone nothing is pinned.
sound() {
	paired || return 1
	{
		vm exec client --timeout $limit -- sh -c "$torture client --calls 1000 && $torture check --pins 0" &&
			vm exec server --timeout $limit -- $torture check --pins 0 &&
			$torture check --pins "$pins" && views_are_empty
	} >&2
}

# The gate view keeps a table for each 2 MiB of the client VM in which a page-table root of a bound process ever lay, so
# a few pages come with time; but not one with each connection.
views_are_empty() {
	local pages=$((($(table_bytes) - table_bytes) / 4096))
	[ $pages -le $((4 + rounds / 4)) ] || { note "the views have grown by $pages pages" && return 1; }
}

client_process_killed() {
	torture_server
	start_client --kill $rounds
	wait $client
}

server_process_killed() {
	torture_server --kill $rounds
	start_client --rounds $rounds
	wait $client
}

# unmap, mprotect and fork in the server process
memory_taken_away() {
	torture_server --storm 1
	start_client --storms $rounds
	wait $client
}

client_device_unbound() {
	torture_server
	start_client --rebind $rounds
	wait $client
}

server_device_unbound() {
	torture_server --rebind $rounds
	start_client --rounds $rounds
	wait $client
}

# refused COMMAND...: to unload a module that is in use
refused() {
	local text
	! text=$("$@" 2>&1) && [[ $text = *"in use"* ]]
}

modules_in_use() {
	local round status=0
	torture_server
	start_client
	for ((round = 0; round < rounds && status == 0; round++)); do
		calls_go_on || status=1
		moment
		refused rmmod wormhole && refused vm exec client -- rmmod wormhole_guest &&
			refused vm exec server -- rmmod wormhole_guest || status=1
	done
	calls_go_on || status=1
	kill $client
	wait $client
	return $status
}

unpaired() {
	local round before
	torture_server
	hops
	before=$hops
	start_client --rounds $rounds
	for ((round = 0; round < rounds; round++)); do
		calls_go_on "$before" || break
		moment
		wormholectl unpair gpu0 >&2 || break
		moment
		wormholectl pair gpu0 >&2 || break
		# Each pairing counts from 0.
		before=0
	done
	client_is_content && [ $round = $rounds ]
}

client_qemu_killed() {
	local round
	torture_server
	for ((round = 0; round < boots; round++)); do
		start_client
		calls_go_on || return 1
		moment
		vm kill9 client
		wait $client
		wait_for 20 "wormholectl to see that the client VM has gone" not_paired || return 1
		vm exec server --timeout $limit -- $torture check --pins 0 >&2 || return 1
		boot client && vm wait client && load_guest client || return 1
		wait_for 20 "wormholectl to pair again" paired || return 1
	done
}

server_qemu_killed() {
	local round before
	torture_server
	hops
	before=$hops
	start_client --rounds "$boots"
	for ((round = 0; round < boots; round++)); do
		calls_go_on "$before" || return 1
		moment
		vm kill9 server
		wait_for 20 "wormholectl to see that the server VM has gone" not_paired || return 1
		boot server && vm wait server && load_guest server || return 1
		wait_for 20 "wormholectl to pair again" paired || return 1
		before=0
		torture_server
	done
	client_is_content
}

not_paired() {
	! paired
}

client_vm_reset() {
	local round id
	torture_server
	for ((round = 0; round < boots; round++)); do
		id=$(boot_id client)
		vm exec client --detach /out/torture.log -- $torture client
		calls_go_on || return 1
		moment
		reset client
		wait_for 120 "the client VM to boot again" booted_since client "$id" && load_guest client || return 1
	done
}

server_vm_reset() {
	local round id status=0
	for ((round = 0; round < boots; round++)); do
		id=$(boot_id server)
		torture_server
		start_client
		calls_go_on || return 1
		moment
		reset server
		# Not from the VM's next kernel and its driver, but at once.
		client_got_an_error 10 || status=1
		wait_for 120 "the server VM to boot again" booted_since server "$id" && load_guest server || return 1
	done
	torture_server
	return $status
}

# The last, as VMs do not connect to another wormholectl.
host_module_unloaded() {
	torture_server
	start_client
	calls_go_on || return 1
	moment
	refused rmmod wormhole || return 1
	wormholectl unpair gpu0 >&2
	client_got_an_error 20
	local status=$?
	kill -TERM "$serve_pid"
	wait "$serve_pid"
	rmmod wormhole && [ $status = 0 ]
}

# Of the host, as before everything.
nothing_is_left() {
	vm stop client server && $torture check --pins "$first_pins" >&2
}

# What there is in between, with one client that has come and gone.
measure() {
	vm exec client --timeout $limit -- $torture client --calls 1000 >&2 &&
		vm exec server --timeout $limit -- $torture check --pins 0 >&2 || return 1
	pins=$($torture check)
	table_bytes=$(table_bytes)
	note "pinned on the host: $pins pages; the views: $table_bytes bytes"
}

bring_up() {
	start_serve && boot server && boot client || return 1
	wait_for 60 "wormholectl to pair the two VMs" paired || return 1
	vm wait server client && load_guest server && load_guest client && torture_server && measure
}

tests=(client_process_killed server_process_killed memory_taken_away client_device_unbound server_device_unbound
	modules_in_use unpaired client_qemu_killed server_qemu_killed client_vm_reset server_vm_reset)
[ $# = 0 ] || tests=("$@")

# The stream goes to the console and, whole, to the build machine.
exec > >(tee /out/delegate_faults.tap)
first_pins=$($torture check)
load_module || exit 1
if ! has_vmfunc; then
	echo '1..0 # SKIP this CPU has no VMFUNC'
	exit
fi
bring_up || exit 1
echo "1..$((${#tests[@]} + 2))"
for test in "${tests[@]}"; do
	note "$test"
	"$test" && sound
	report $? "$test"
done
for test in host_module_unloaded nothing_is_left; do
	note "$test"
	"$test"
	report $? "$test"
done
exit $failed
