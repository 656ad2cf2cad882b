#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Prepares a kernel cache that the server VM's PoCL starts with: compiling a kernel takes a second here and a minute on
# an emulated host. Runs programs natively and through Wormhole, between two processes, in the build root.
# usage: pocl_cache.sh NAME PROGRAM...	(instant when all is as it was); "PROGRAM ARGUMENT..." is one word
# out:	build/pocl-cache/NAME
# POCL_KERNELLIB_NAME must be the same here and there; sse2 runs on every CPU.
set -euo pipefail
out=/wormhole/build/pocl-cache/$1
shift
programs=("$@")
release=/wormhole/build/target/release

# The programs, the files and modules that they are given, and what makes kernels of theirs.
mapfile -t files < <(for word in ${programs[*]}; do type -P -- "$word" || realpath -qe -- "$word" || :; done)
key=$({
	printf '%s\n' "${programs[@]}"
	cat "${files[@]}" "$0"
	find /wormhole/userlib/opencl ${PYTHONPATH:+"$PYTHONPATH"} -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 cat
	dpkg-query -W pocl-opencl-icd
} | sha256sum)
if [ "$(cat "$out.of" 2>/dev/null)" = "$key" ]; then
	exit 0
fi

work=$(mktemp -d)
export POCL_DEVICES=basic POCL_KERNELLIB_NAME=sse2 POCL_CACHE_DIR=$work/cache
"$release/wormhole-server" --opencl --memfd "$work/socket" 2>"$work/server.log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server; rm -rf "$work"' EXIT
for _ in $(seq 100); do
	[ ! -S "$work/socket" ] || break
	sleep 0.1
done
forwarded=(WORMHOLE_TRANSPORT=memfd "WORMHOLE_MEMFD=$work/socket" "OCL_ICD_VENDORS=$release/libwormhole_opencl.so")
# run VARIABLE...
run() {
	local program
	for program in "${programs[@]}"; do
		# shellcheck disable=SC2086 # words
		if ! env "$@" $program >"$work/program.log" 2>&1; then
			cat "$work/program.log" "$work/server.log" >&2
			exit 1
		fi
	done
}
run OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd
run "${forwarded[@]}"
rm -rf "$out"
mkdir -p "$out"
cp -r "$work/cache/." "$out/"
echo "$key" >"$out.of"
