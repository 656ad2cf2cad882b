#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Lays out what the client VM needs to run programs that nobody here wrote, and the server VM to run them natively. In the
# build root, after fetch.sh and selftests/stage.sh.
# usage: stage.sh pocl|slow
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
slow)
	compile_stress
	programs=("$unpacked"/bin/{clblast_test_xaxpy,clpeak} "$conformance/stress")
	python=$(realpath /usr/bin/python3)
	modules=/usr/lib/${python##*/}
	numpy=$unpacked/lib/python3/dist-packages/numpy
	both "${programs[@]}" train.py $(libraries "${programs[@]}" "$python" $(find "$modules" "$numpy" -name '*.so'))
	for role in server client; do
		mkdir -p "$stage/$role"/usr/{bin,lib} "$stage/$role/$inside/python"
		cp -a /usr/bin/python3 "$python" "$stage/$role/usr/bin/"
		cp -a "$modules" "$stage/$role/usr/lib/"
		cp -a "$conformance/python-vm/tinygrad" "$numpy" "$stage/$role/$inside/python/"
		# Compiling it there is more work than running it.
		python3 -m compileall -q "$stage/$role/$inside/python"
	done
	cp clblast.awk "$stage/host/$inside/"
	# tinygrad keeps no binaries: natively they are others.
	export PYTHONPATH=$stage/client/$inside/python GPU=1 CACHELEVEL=0
	kernels "${programs[0]}" "${programs[1]} --kernel-latency" "${programs[2]} -n 1000" 'python3 train.py mlp 4'
	;;
esac
