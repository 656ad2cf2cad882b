#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Lays out what the client VM needs to run programs that nobody here wrote, and the server VM to run them natively. In the
# build root, after fetch.sh and selftests/stage.sh.
# usage: stage.sh pocl
# out: build/conformance/stage-WHAT/{host,server,client}, for testbed/run.sh --add
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
what=$1
stage=$conformance/stage-$what
inside=usr/lib/wormhole/$what
rm -rf "$stage"
mkdir -p "$stage"/{host,server,client}/$inside "$stage/server/var/cache"

# libraries PROGRAM...: what the programs are linked to, apart from what each VM has
libraries() {
	ldd "$@" | awk '$2 == "=>" && $1 !~ /^(libc|libm|libOpenCL)\.so/ { print $3 }' | sort -u
}

# both FILE...: into both VMs
both() {
	local role
	for role in server client; do
		cp -L "$@" "$stage/$role/$inside/"
	done
}

# kernels PROGRAM...: with what the server VM's PoCL makes for them
kernels() {
	../pocl_cache.sh "$what" "$@"
	cp -al /wormhole/build/pocl-cache/"$what" "$stage/server/var/cache/pocl"
}

case $what in
pocl)
	mapfile -t programs < <(awk -v at="$conformance/pocl/tests/tests/" '/^[^#]/ { split($1, name, "/"); print at name[1] "/" $2 }' pocl.vm)
	both "${programs[@]}" $(libraries "${programs[@]}")
	cp pocl.vm pocl.differences differences.awk "$stage/host/$inside/"
	kernels "${programs[@]}"
	;;
esac
