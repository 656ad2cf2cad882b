#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Fills the kernel cache that the server VM's PoCL starts with: compiling a kernel takes a second here and a minute on
# an emulated host. Runs the programs of the main job and of the benchmark through Wormhole, between two processes, in
# the build root.
# usage: pocl_cache.sh OUT
# POCL_KERNELLIB_NAME must be the same here and there; sse2 runs on every CPU.
set -euo pipefail
out=$1
work=$(mktemp -d)
export POCL_DEVICES=basic POCL_KERNELLIB_NAME=sse2 POCL_CACHE_DIR=$work/cache
target/release/wormhole-server --opencl --memfd "$work/socket" 2>"$work/server.log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server; rm -rf "$work"' EXIT
for _ in $(seq 100); do
	[ ! -S "$work/socket" ] || break
	sleep 0.1
done
bench=target/release/wormhole-opencl-bench
# natively too: the main job and the benchmark compare
for program in clinfo 'samples/vadd -n 1024' samples/sgemm $bench; do
	$program >/dev/null
done
export WORMHOLE_TRANSPORT=memfd WORMHOLE_MEMFD=$work/socket OCL_ICD_VENDORS=$PWD/target/release/libwormhole_opencl.so
# PoCL compiles a kernel once more for a small number of work-items.
for program in clinfo samples/vadd 'samples/vadd -n 1024' samples/sgemm samples/threads $bench; do
	if ! $program >"$work/program.log" 2>&1; then
		cat "$work/program.log" "$work/server.log" >&2
		exit 1
	fi
done
mkdir -p "$out"
cp -r "$work/cache/." "$out/"
