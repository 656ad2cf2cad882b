#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Fetches the programs that judge the OpenCL library, and builds PoCL's tests.
# usage: fetch.sh		(instant when they are already there)
# out:	build/conformance/{root,pocl,python,python-vm}: Debian packages, unpacked; PoCL's tests; what PyPI has
set -euo pipefail
cd "$(dirname "$0")/../.."
here=selftests/conformance
testbed=selftests/testbed
. $testbed/message.sh
. $testbed/lock.sh
. $here/versions
"$testbed/root.sh"
lock_build "$PWD/build" conformance
mkdir -p build/conformance build/debs/conformance build/log

# stale THING KEY: whether THING is to be made again, because it is missing or made of something else
stale() {
	[ "$(cat "build/stamps/conformance-$1" 2>/dev/null)" != "$2" ] || [ ! -d "build/conformance/$1" ]
}

fresh() {
	echo "$2" >"build/stamps/conformance-$1"
}

# debian WHAT COMMAND...: runs it in the build root; once more with new package lists if the archive has moved on
debian() {
	local what=$1 log=build/log/conformance-fetch.log
	shift
	say "conformance: downloading $what"
	if ! $testbed/enter.sh "$@" >"$log" 2>&1; then
		if ! $testbed/enter.sh apt-get update -o APT::Update::Error-Mode=any >>"$log" 2>&1; then
			tail -n 5 "$log" >&2
			die "cannot download $what: the Debian archive is not reachable. The output is in $log"
		fi
		if ! $testbed/enter.sh "$@" >>"$log" 2>&1; then
			tail -n 5 "$log" >&2
			die "cannot download $what: the archive does not have it. The output is in $log"
		fi
	fi
}

apt=(apt-get -q -y -o APT::Sandbox::User=root -o Acquire::Retries=3)

mapfile -t packages < <(sed 's/#.*//' $here/packages | xargs -n 1)
# What is in the build root already is not downloaded, so its packages count.
key=$({ cat $here/packages; cat build/stamps/root; } | sha256sum | cut -d' ' -f1)
if stale root "$key"; then
	rm -rf build/conformance/root build/debs/conformance/*.deb
	debian "${packages[*]}" "${apt[@]}" -o Dir::Cache::archives=/wormhole/build/debs/conformance \
		--no-install-recommends --download-only install "${packages[@]}"
	mkdir build/conformance/root
	for package in build/debs/conformance/*.deb; do
		$testbed/enter.sh dpkg -x "/wormhole/$package" build/conformance/root
	done
	fresh root "$key"
fi

# As Debian builds them, but without the library, which is not built: the tests are linked to the ICD loader.
options=(
	-DCMAKE_BUILD_TYPE=Release -DENABLE_TESTS=1 -DENABLE_ICD=1 -DENABLE_LLVM=0 -DENABLE_HOST_CPU_DEVICES=1
	-DHOST_DEVICE_BUILD_HASH=none -DKERNELLIB_HOST_CPU_VARIANTS=distro -DENABLE_HWLOC=0 -DENABLE_LOADABLE_DRIVERS=0
	-DENABLE_EXAMPLES=0 -DENABLE_POCLCC=0 -DOPENCL_H=OFF
)
key=$({ cat $here/versions; echo "${options[@]}"; } | sha256sum | cut -d' ' -f1)
if stale pocl "$key"; then
	rm -rf build/conformance/pocl
	mkdir -p build/conformance/pocl build/debs/pocl
	debian "PoCL's source" bash -c 'cd build/debs/pocl && "$@"' fetch \
		"${apt[@]}" source --download-only --only-source "pocl=$POCL_SOURCE"
	# shellcheck disable=SC2016 # expanded in the build root
	build='. selftests/conformance/environment.sh
		cd build/conformance/pocl
		dpkg-source -x "/wormhole/build/debs/pocl/pocl_$1.dsc" source
		shift
		cmake -S source -B tests "$@"
		make -C tests/tests -j"$(nproc)"
		# What it sets are the paths of a library that is not built.
		rm tests/CTestCustom.cmake'
	run_logged build/log/conformance-pocl.log "conformance: building PoCL's tests (1 minute)" \
		$testbed/enter.sh bash -euc "$build" build "$POCL_SOURCE" "${options[@]}"
	fresh pocl "$key"
fi

for python in python python-vm; do
	requirements=$here/requirements${python#python}.txt
	key=$({ cat "$requirements"; "$testbed/enter.sh" python3 --version; } | sha256sum | cut -d' ' -f1)
	stale $python "$key" || continue
	rm -rf build/conformance/$python
	say "conformance: downloading $(sed -n 's/ --hash.*//p' "$requirements" | xargs) from PyPI"
	if ! $testbed/enter.sh env PYTHONPATH=build/conformance/root/usr/lib/python3/dist-packages python3 -m pip install \
		--quiet --root-user-action ignore --disable-pip-version-check --cache-dir build/debs/pip --no-deps --require-hashes \
		--target build/conformance/$python --requirement "$requirements" >build/log/conformance-pip.log 2>&1; then
		tail -n 5 build/log/conformance-pip.log >&2
		die "cannot install $requirements: is PyPI reachable? The output is in build/log/conformance-pip.log"
	fi
	fresh $python "$key"
done
