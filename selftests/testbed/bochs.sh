#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds the emulator of the Intel host from Debian's source package, with our patches.
# usage: bochs.sh		(instant when it is already there)
# out:	build/bochs/bochs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../.." && pwd)/build
. "$here/message.sh"
. "$here/lock.sh"
. "$here/versions"
lock_build "$build" bochs
stamp=$build/stamps/bochs
key=$({ echo "$BOCHS"; cat "$here/bochs.sh" "$here"/patches/*.patch; } | sha256sum | cut -d' ' -f1)
if [ -x "$build/bochs/bochs" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
	exit 0
fi
sources=$build/debs/bochs
mkdir -p "$sources" "$build/stamps" "$build/log"

# tarball UPSTREAM: "SHA256 FILE" of its source tarball, as apt's verified index of source packages says
tarball() {
	"$here/enter.sh" apt-cache showsrc --only-source bochs | awk -v want="bochs_$1.orig.tar.xz" '
		/^[^ ]/ { sums = ($1 == "Checksums-Sha256:") }
		sums && $3 == want { print $1, $3; exit }'
}

# fetch UPSTREAM: downloads and verifies the tarball
fetch() {
	local sum file
	read -r sum file < <(tarball "$1") || return 1
	if ! (cd "$sources" && sha256sum --quiet -c <<<"$sum  $file") >/dev/null 2>&1; then
		say "bochs $1: downloading its source"
		# This may fail on the .dsc and have left the tarball all the same: the sum decides.
		"$here/enter.sh" bash -c 'cd /wormhole/build/debs/bochs && apt-get -o APT::Sandbox::User=root source --download-only --only-source bochs="$1"' \
			fetch "$("$here/enter.sh" apt-cache showsrc --only-source bochs | awk -v u="$1" '$1 == "Version:" && index($2, u "-") == 1 { print $2; exit }')" \
			>"$build/log/bochs-fetch.log" 2>&1 || true
	fi
	(cd "$sources" && sha256sum --quiet -c <<<"$sum  $file") >&2 || return 1
	archive=$file
}

first_available() {
	local version
	for version in $BOCHS; do
		if fetch "$version"; then
			picked=$version
			return 0
		fi
		say "bochs $version is not to be had from the archive, trying the next one"
	done
	return 1
}

picked=
archive=
if ! first_available; then
	run_logged "$build/log/bochs-update.log" "bochs: refreshing the package lists" "$here/enter.sh" apt-get update -o APT::Update::Error-Mode=any
	first_available || die "none of the Bochs versions $BOCHS is in the archive as a source package, which has now: $(
		"$here/enter.sh" apt-cache showsrc --only-source bochs | awk '$1 == "Version:" { print $2 }' | xargs
	). Put its upstream part in BOCHS in selftests/testbed/versions and see whether selftests/testbed/patches fit"
fi

rm -rf "$build/bochs"
mkdir -p "$build/bochs"
tar -xf "$sources/$archive" -C "$build/bochs" --strip-components=1
for patch in "$here"/patches/*.patch; do
	patch --quiet -d "$build/bochs" -p1 --fuzz=0 <"$patch" ||
		die "$(basename "$patch") does not fit bochs $picked: see selftests/testbed/patches"
done

options=(
	--with-nogui --disable-plugins --disable-debugger --disable-docbook
	--enable-smp --enable-x86-64 --enable-cpu-level=6 --enable-vmx=2 --enable-svm
	--enable-avx --enable-evex --enable-amx --enable-fpu --enable-cet --enable-uintr
	--enable-protection-keys --enable-monitor-mwait --enable-memtype --enable-long-phy-address
	--enable-pci --enable-large-ramfile --enable-all-optimizations
)
run_logged "$build/log/bochs.log" "bochs $picked: building the emulated Intel host (3 minutes)" \
	"$here/enter.sh" bash -c 'cd build/bochs && CC=gcc CXX=g++ CFLAGS="-O3" CXXFLAGS="-O3 -march=x86-64-v2" ./configure "$@" && make -j"$(nproc)" bochs' \
	build "${options[@]}"
find "$build/bochs" -name '*.[oa]' -delete
echo "$key" >"$stamp"
