# SPDX-License-Identifier: Apache-2.0 OR MIT
# Sourced on the Intel host: brings up a pairing step by step, as a user would.

lib=/usr/lib/wormhole
run_dir=/run/wormhole
device=/dev/wormhole_guest0

# The VMs' private network, and the port of wormhole-server, for vsock too.
server_address=192.0.2.1
client_address=192.0.2.2
port=7117

note() {
	printf '== %s\n' "$*" >&2
}

# report STATUS NAME: a line of TAP
number=0
failed=0
report() {
	local verdict=ok
	number=$((number + 1))
	[ "$1" = 0 ] || { verdict='not ok' failed=1; }
	echo "$verdict $number - $2"
}

# wait_for SECONDS WHAT COMMAND...: seconds of the host's own clock
wait_for() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		if [ "$SECONDS" -ge "$deadline" ]; then
			note "gave up waiting: $what"
			return 1
		fi
		sleep 0.2
	done
}

load_module() {
	insmod $lib/wormhole.ko
}

# start_serve [NAME]
start_serve() {
	wormholectl serve "${1:-gpu0}" >>/out/serve.log 2>&1 &
	serve_pid=$!
	wait_for 30 "wormholectl serve to answer" served "$@"
}

# start_vm server|client [OPTION...]: a VM of gpu0
start_vm() {
	vm start "$1" --image "$1" --ivshmem $run_dir/gpu0."$1".sock "${@:2}"
}

# start_client NAME PAIRING
start_client() {
	vm start "$1" --image client --memory 256 --ivshmem "$run_dir/$2.client.sock"
}

# load_guest VM
load_guest() {
	vm exec "$1" -- insmod $lib/wormhole_guest.ko
}

# PoCL's device without worker threads, for the server and for what is compared with it.
# The cache was filled when the image was staged, for that CPU type.
pocl=(--env POCL_DEVICES=basic --env POCL_KERNELLIB_NAME=sse2 --env POCL_CACHE_DIR=/var/cache/pocl)

# The emulated disk is slow, and the kernel would read 8 MiB ahead of every page fault in the vendor's libraries.
read_less_ahead() {
	vm exec server -- sh -c 'echo 128 >/sys/block/vda/queue/read_ahead_kb'
}

# start_server [OPTION...]
start_server() {
	vm exec server --detach /out/server.log "${pocl[@]}" -- wormhole-server --opencl "$@"
	# The device is the last place where it begins to.
	wait_for 60 "wormhole-server to listen" vm exec server -- grep -q "listening on $device" /out/server.log
}

# start_delegate_server ARGUMENT...: the service of the samples
start_delegate_server() {
	vm exec server --detach /out/delegate-server.log -- $lib/delegate-sample server "$@"
	wait_for 60 "delegate-sample to serve" vm exec server -- grep -q serving /out/delegate-server.log
}

# served [NAME]
served() {
	wormholectl stat "${1:-gpu0}" >/dev/null 2>&1
}

# paired [NAME]
paired() {
	wormholectl --json stat "${1:-gpu0}" 2>/dev/null | grep -Eq '"state": ?"paired"'
}

# Whether the host can have exitless calls.
has_vmfunc() {
	wormholectl --json info | grep -Eq '"vmfunc": ?true'
}

# The way by which programs go by themselves, which is the best one here.
best_way() {
	if has_vmfunc; then
		echo vmfunc
	else
		echo ring
	fi
}

# vsock goes between a VM and its host, not from VM to VM: the client VM connects to the host, which passes it on.
start_relay() {
	socat -d -d -b 65536 VSOCK-LISTEN:$port,fork VSOCK-CONNECT:"$(vm cid server)":$port 2>>/out/relay.log &
	wait_for 30 "the relay to listen" grep -qs listening /out/relay.log
}

# pair_up [--network] [OPTION...]: options are wormhole-server's. With --network the VMs reach each other by IP, too, and
# wormhole-server by every transport.
pair_up() {
	local server=() client=() listen=()
	if [ "${1:-}" = --network ]; then
		shift
		server=(--network $server_address/24)
		client=(--network $client_address/24)
		listen=(--ring $device --vsock $port --tcp $server_address:$port)
	fi
	note "loading wormhole.ko, serving gpu0"
	load_module
	start_serve
	note "starting the server VM and the client VM"
	start_vm server "${server[@]}"
	start_vm client "${client[@]}"
	wait_for 60 "wormholectl to pair the two VMs" paired
	vm wait server client
	note "loading wormhole_guest.ko in both, starting wormhole-server on PoCL"
	load_guest server
	load_guest client
	read_less_ahead
	start_server "${listen[@]}" "$@"
}

# pair_up_clients NAME...: these client VMs of one server VM, whose pairings are gpu0, gpu1 and so on. The processes that
# serve those are ${services[@]}. After load_module.
pair_up_clients() {
	local clients=("$@") last=$(($# - 1)) number devices=()
	services=()
	for number in "${!clients[@]}"; do
		start_serve "gpu$number" || return 1
		services+=("$serve_pid")
		[ "$number" = 0 ] || devices+=(--ivshmem "$run_dir/gpu$number.server.sock")
	done
	note "starting the server VM, with $# pairings"
	start_vm server "${devices[@]}" && vm wait server && load_guest server || return 1
	for number in "${!clients[@]}"; do
		note "starting ${clients[number]}"
		start_client "${clients[number]}" "gpu$number" && vm wait "${clients[number]}" && load_guest "${clients[number]}" || return 1
		wait_for 60 "wormholectl to pair the VMs of gpu$number" paired "gpu$number" || return 1
	done
	read_less_ahead
	# It finds all, and this is the last one.
	device=/dev/wormhole_guest$last start_server
}
