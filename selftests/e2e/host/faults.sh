#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Kills things while programs run, on the Intel host: who is hurt gets an error, the others go on. TAP.
# usage: faults.sh [TEST...]
# WORMHOLE_ROUNDS: how often each test that hits a replay of a training does so
set -uo pipefail
. "$(dirname "$0")/pair.sh"

rounds=${WORMHOLE_ROUNDS:-2}
# vadd works, from the client VM
works() {
	vm exec client --timeout 300 -- $lib/vadd -n 4096 >/out/works.log 2>&1 && grep -q 'verified=yes' /out/works.log
}

# The programs of both VMs counted what became of each function's requests, and why some hopped home.
functions_are_counted() {
	works && wormholectl stat gpu0 >/out/functions.log || return 1
	sed -n '/as the VMs say/,$p' /out/functions.log >&2
	awk '$1 == "clEnqueueNDRangeKernel" { posted = $4 }
		$1 == "clBuildProgram" { built = $2 + $5; cause = $6 }
		END { exit !(posted > 0 && built > 0 && cause != "") }' /out/functions.log
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

# Steps of a replay that is to go on for long after the fault, and of one that is to be hit by it
some=40
endless=1000000

# Until some moment of the next fifth of a second
moment() {
	sleep "0.$((RANDOM % 2))$((RANDOM % 10))"
}

# exitless COMMAND...: in the client VM, which fails rather than go by messages
exitless() {
	vm exec client --timeout 300 --env WORMHOLE_TRANSPORT=vmfunc -- "$@"
}

# start_exitless NAME COMMAND...: in the background; its process ID is in /run/NAME.pid of the client VM, its output and
# then its exit status in /out/NAME.log
start_exitless() {
	local name=$1
	shift
	vm exec client -- rm -f "/out/$name.log"
	vm exec client --detach "/out/$name.log" --env WORMHOLE_TRANSPORT=vmfunc -- \
		sh -c 'pid=/run/$1.pid; shift; "$@" & echo $! >$pid; wait $!; echo "ended with $?"' sh "$name" "$@"
}

# says NAME TEXT: that program's output
says() {
	vm exec client -- grep -q "$2" "/out/$1.log" 2>/dev/null
}

# start_replay NAME STEPS: and waits until it is at it
start_replay() {
	start_exitless "$1" $lib/wormhole-opencl-bench --replay "$2"
	wait_for 120 "the $1's first step" says "$1" step=
}

# Two at once; $child is the server's process for the first one.
start_two_replays() {
	wait_for 20 "server processes of earlier clients to go" no_children && start_replay victim $endless || return 1
	child=$(vm exec server -- sh -c 'pgrep -P "$(pgrep -o -x wormhole-server)"')
	start_replay witness $some && [ "$(server_children)" = 2 ]
}

child_is_gone() {
	! vm exec server -- test -e "/proc/$child"
}

# kill_client NAME: and with it whatever call is under way
kill_client() {
	vm exec client -- sh -c "kill -KILL \$(cat /run/$1.pid)"
}

# ended NAME STATUS
ended() {
	wait_for 120 "the $1's end" says "$1" "ended with" && says "$1" "ended with $2\$"
}

# ended_with_an_error NAME: of the program's own, so that no signal killed it
ended_with_an_error() {
	ended "$1" 1 && says "$1" 'OpenCL error'
}

# It was still at it when the other one was hurt, and was right to its end.
witness_verifies() {
	ended witness 0 && says witness "steps=$some verified=yes"
}

is_training() {
	! says "$1" ended
}

replay_verifies() {
	exitless $lib/wormhole-opencl-bench --replay 4 >/out/replay.log 2>&1 && grep -q 'steps=4 verified=yes' /out/replay.log
}

# each_round COMMAND...: fails with the first round that does
each_round() {
	local round
	for ((round = 0; round < rounds; round++)); do
		"$@" || return 1
	done
}

kill_replaying_client() {
	start_two_replays || return 1
	moment
	is_training witness && kill_client victim || return 1
	wait_for 20 "the dead client's server process to go" child_is_gone && witness_verifies && ended victim 137
}

replaying_client_killed() {
	each_round kill_replaying_client
}

kill_server_of_replay() {
	start_two_replays || return 1
	moment
	is_training witness && vm exec server -- kill -KILL "$child" || return 1
	ended_with_an_error victim && witness_verifies
}

server_child_of_replay_killed() {
	each_round kill_server_of_replay
}

# How many exitless calls the pairing that there is has seen
calls() {
	cat /sys/kernel/debug/wormhole/*/calls
}

calls_since() {
	[ "$(calls)" -gt "$1" ]
}

# Eight threads are at it when some calls of each one's rounds have been made.
kill_threads() {
	local before
	before=$(calls)
	start_exitless victim $lib/threads -r $endless
	wait_for 120 "eight threads' calls" calls_since $((before + 400)) || return 1
	moment
	kill_client victim || return 1
	wait_for 20 "the dead client's server process to go" no_children && ended victim 137 &&
		exitless $lib/threads -r 4 >/out/threads.log 2>&1 && grep -q 'threads=8 .*verified=yes' /out/threads.log
}

eight_threads_killed() {
	each_round kill_threads
}

unpair_replay() {
	start_replay victim $endless || return 1
	moment
	wormholectl unpair gpu0 || return 1
	ended_with_an_error victim || return 1
	wormholectl pair gpu0 && wait_for 20 "wormholectl to pair again" paired && replay_verifies
}

unpaired_during_replay() {
	each_round unpair_replay
}

# up VM: nanoseconds of its clock
up() {
	vm exec "$1" -- cat /proc/uptime | awk '{ printf "%.0f", $1 * 1e9 }'
}

second=1000000000

# The client VM's clock is seconds behind, so that it is seen whose one it is. /proc/uptime says hundredths.
event_times_are_the_servers() {
	local before after first last
	if [ $(($(up server) - $(up client))) -lt $((10 * second)) ]; then
		vm stop client
		sleep 10
		start_vm client && vm wait client && load_guest client || return 1
		wait_for 20 "wormholectl to pair again" paired || return 1
	fi
	before=$(($(up server) - second / 50))
	read -r _ first last < <(exitless $lib/wormhole-opencl-bench --times) || return 1
	after=$(($(up server) + second / 50))
	note "between $before and $after: from $first to $last; the client VM is at $(up client)"
	[ "$before" -le "$first" ] && [ "$first" -lt "$last" ] && [ "$last" -le $after ] && [ "$(up client)" -lt "$before" ]
}

# How many carriers the only client's server process has
carriers() {
	vm exec server -- sh -c 'grep -l "^carrier" /proc/"$(pgrep -P "$(pgrep -o -x wormhole-server)")"/task/*/comm | wc -l'
}

# Also says how many there are: the console must not be silent for minutes, which is how long it takes on an emulated host.
two_carriers() {
	local now
	now=$(carriers)
	note "$now carriers"
	[ "$now" = 2 ] || { sleep 1 && false; }
}

bursts() {
	[ "$(grep -c 'burst: .*verified=yes' /out/bursts.log)" = "$1" ]
}

# More than two come when threads call at once, and go when none has called for some time.
carriers_come_and_go() {
	local lines=/run/bursts to burst program good=0
	wait_for 20 "server processes of earlier clients to go" no_children && mkfifo $lines || return 1
	# For reading too: so opening it waits for nobody.
	exec {to}<>$lines
	vm exec client --input --timeout 600 --env WORMHOLE_TRANSPORT=vmfunc -- $lib/wormhole-opencl-bench --bursts \
		<$lines >/out/bursts.log 2>&1 {to}>&- &
	program=$!
	for burst in 1 2; do
		echo >&"$to"
		wait_for 300 "the threads' calls" bursts $burst && note "burst $burst is over" && ! two_carriers &&
			wait_for 60 "the carriers to go" two_carriers || good=1
	done
	exec {to}>&-
	rm $lines
	vm exec client -- pkill -x wormhole-openc
	wait $program
	return $good
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

# The last ends everything.
tests=(works functions_are_counted client_program_killed server_child_killed server_killed no_server second_vm_on_a_taken_socket module_in_use
	replaying_client_killed server_child_of_replay_killed eight_threads_killed unpaired_during_replay
	carriers_come_and_go
	client_qemu_killed event_times_are_the_servers server_qemu_killed serve_killed everything_ends)
[ $# = 0 ] || tests=("$@")

# needs_vmfunc TEST
needs_vmfunc() {
	[[ $1 =~ functions|replay|threads|times|carriers ]]
}

# The stream goes to the console and, whole, to the build machine.
exec > >(tee /out/faults.tap)
pair_up
vmfunc=false
if has_vmfunc; then
	vmfunc=true
fi
echo "TAP version 13"
echo "1..${#tests[@]}"
for test in "${tests[@]}"; do
	note "$test"
	if ! $vmfunc && needs_vmfunc "$test"; then
		report 0 "$test # SKIP this CPU has no VMFUNC"
		continue
	fi
	$test
	report $? "$test"
done
exit $failed
