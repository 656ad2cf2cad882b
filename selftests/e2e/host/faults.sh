#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Kills things while programs run, on the Intel host: who is hurt gets an error, the others go on. TAP.
set -uo pipefail
. "$(dirname "$0")/pair.sh"

number=0
failed=0
# report STATUS NAME
report() {
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number - $2"
	else
		echo "not ok $number - $2"
		failed=1
	fi
}

# vadd works, from the client VM
works() {
	vm exec client --timeout 300 -- $lib/vadd -n 4096 >/out/works.log 2>&1 && grep -q 'verified=yes' /out/works.log
}

# A program that is busy for as long as nobody stops it; its output is in /out/busy.log of the client VM.
start_busy() {
	vm exec client -- sh -c 'rm -f /out/busy.*'
	vm exec client --detach /out/busy.log -- sh -c "while $lib/vadd -n 1024 || { echo ended with \$?; false; }; do echo again; done"
	wait_for 120 "the busy program's first round" busy_says again && wait_for 20 "its server process" has_children
}

busy_says() {
	vm exec client -- grep -q "$1" /out/busy.log 2>/dev/null
}

# busy_failed STATUS: the busy program ended, with this status if one is given, after an OpenCL error
busy_failed() {
	wait_for 20 "the client's error" busy_says "ended with $1" && busy_says 'OpenCL error'
}

# How many processes of wormhole-server serve clients
server_children() {
	vm exec server -- sh -c 'pgrep -c -P "$(pgrep -o -x wormhole-server)"'
}

has_children() {
	[ "$(server_children)" -gt 0 ]
}

no_children() {
	[ "$(server_children)" = 0 ]
}

not_paired() {
	! paired
}

client_program_killed() {
	start_busy || return 1
	vm exec client -- pkill -KILL -f 'while .*vadd' || return 1
	vm exec client -- pkill -KILL -x vadd
	wait_for 20 "the dead client's server process to go" no_children && works
}

server_child_killed() {
	start_busy || return 1
	vm exec server -- sh -c 'pkill -KILL -P "$(pgrep -o -x wormhole-server)"'
	busy_failed 1 && works
}

server_killed() {
	start_busy || return 1
	vm exec server -- pkill -KILL -x wormhole-server
	busy_failed '' || return 1
	start_server
	works
}

# Nobody serves: a program finds no platform, soon.
no_server() {
	vm exec server -- pkill -TERM -x wormhole-server
	local status=0
	vm exec client --timeout 60 -- $lib/vadd >/out/no-server.log 2>&1 || status=$?
	start_server
	[ $status = 1 ] && grep -q 'clGetPlatformIDs' /out/no-server.log && works
}

second_vm_on_a_taken_socket() {
	local log=/out/second.log status=0
	timeout 60 qemu-system-x86_64 -accel kvm -machine q35 -nodefaults -display none -S \
		-chardev socket,id=wh,path=$run_dir/gpu0.client.sock -device ivshmem-doorbell,chardev=wh,vectors=2 \
		>$log 2>&1 || status=$?
	[ $status != 0 ] && [ $status != 124 ] && paired && works
}

server_qemu_killed() {
	start_busy || return 1
	vm kill9 server
	busy_failed '' || return 1
	wait_for 20 "wormholectl to see that the server VM has gone" not_paired || return 1
	start_vm server && vm wait server && load_guest server && start_server
	wait_for 20 "wormholectl to pair again" paired && works
}

client_qemu_killed() {
	start_busy || return 1
	vm kill9 client
	wait_for 20 "wormholectl to see that the client VM has gone" not_paired || return 1
	wait_for 20 "the dead client's server process to go" no_children || return 1
	start_vm client && vm wait client && load_guest client
	wait_for 20 "wormholectl to pair again" paired && works
}

module_in_use() {
	! rmmod wormhole 2>/out/rmmod.log && paired && works
}

serve_killed() {
	kill -KILL $serve_pid
	wait $serve_pid
	# the VMs keep their window and doorbells; only news of deaths are lost
	works || return 1
	start_serve
}

everything_ends() {
	vm stop client server
	kill -TERM $serve_pid
	wait $serve_pid
	[ ! -e $run_dir/gpu0.client.sock ] && rmmod wormhole
}

# The stream goes to the console and, whole, to the build machine.
exec > >(tee /out/faults.tap)
pair_up
tests="works client_program_killed server_child_killed server_killed no_server second_vm_on_a_taken_socket module_in_use
	client_qemu_killed server_qemu_killed serve_killed everything_ends"
echo "TAP version 13"
echo "1..$(wc -w <<<"$tests")"
for test in $tests; do
	note "$test"
	$test
	report $? "$test"
done
exit $failed
