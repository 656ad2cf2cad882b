# SPDX-License-Identifier: Apache-2.0 OR MIT
# Sourced in the build root: what was fetched, and running programs natively or by way of wormhole-server.

conformance=/wormhole/build/conformance
unpacked=$conformance/root/usr
export PATH=$unpacked/bin:$PATH
export LD_LIBRARY_PATH=$unpacked/lib/x86_64-linux-gnu:$unpacked/lib/x86_64-linux-gnu/blas:$unpacked/lib/x86_64-linux-gnu/lapack
release=/wormhole/build/target/release

# Compiling is most of the work, so what was compiled once is kept.
export POCL_CACHE_DIR=$conformance/kernel-cache
mkdir -p "$POCL_CACHE_DIR"
# PoCL asks hwloc how much memory there is, which asks sysfs.
[ -d /sys/devices/system/cpu ] || export HWLOC_SYNTHETIC='numa:1(memory=4GB) core:2 pu:1'

# start_server NAME tcp|memfd [NAME=VALUE...]: sets `forwarded`, the variables of a program that uses it
start_server() {
	local log=$conformance/$1.server.log way=$2 where=127.0.0.1:0
	[ "$way" = tcp ] || where=$conformance/$1.socket
	rm -f "$log" "$conformance/$1.socket"
	env "${@:3}" "$release/wormhole-server" --opencl --count-references "--$way" "$where" >"$conformance/$1.server.out" 2>"$log" &
	servers+=($!)
	until grep -qs 'listening on' "$log"; do
		kill -0 $! || return 1
		sleep 0.1
	done
	where=$(sed -n 's/.*listening on //p' "$log")
	forwarded=(OCL_ICD_VENDORS=$release/libwormhole_opencl.so "WORMHOLE_TRANSPORT=$way" "WORMHOLE_${way^^}=$where" WORMHOLE_LOG=warn)
}

end_servers() {
	[ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2>/dev/null
	wait
}
servers=()
trap end_servers EXIT

# shellcheck disable=SC2034 # used by who sources this
native=(OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd)

compile_stress() {
	cc -std=c11 -Wall -Wextra -Werror -O2 -o "$conformance/stress" stress.c -lOpenCL -lm -lpthread
}
