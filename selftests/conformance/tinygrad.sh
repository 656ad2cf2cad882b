#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# tinygrad, as PyPI has it, trains small networks: each loss must be what it is natively, to the last digit. In the build
# root.
# usage: tinygrad.sh
# out: TAP
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
export PYTHONPATH=$conformance/python DEV=CL
steps=8

# train NETWORK WAY VARIABLE...: leaves the losses in $conformance/NETWORK.WAY
train() {
	local out=$conformance/$1.$2 cache=$conformance/python-cache/$1.$2
	# It keeps binaries of programs and takes them for good, but tokens end with the server that gave them.
	rm -rf "$cache"
	mkdir -p "$cache"
	env "${@:3}" "XDG_CACHE_HOME=$cache" timeout 600 python3 train.py "$1" $steps >"$out" 2>"$out.stderr" || tail -n 20 "$out.stderr" >&2
}

test=0
# compare NETWORK WAY
compare() {
	local same="not ok"
	if [ "$(grep -c ^step "$conformance/$1.native")" = $steps ] && diff "$conformance/$1.native" "$conformance/$1.$2" >&2; then
		same=ok
	fi
	echo "$same $((++test)) - tinygrad trains $1 by $2 as natively"
}

for network in mlp lenet; do
	train $network native "${native[@]}" &
	trainings=($!)
	for way in tcp memfd; do
		start_server tinygrad-$way $way
		train $network $way "${forwarded[@]}" &
		trainings+=($!)
	done
	wait "${trainings[@]}"
	for way in tcp memfd; do
		compare $network $way
	done
done
echo 1..$test
