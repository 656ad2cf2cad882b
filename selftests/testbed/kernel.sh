#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Picks the stock kernel (the first one of KERNELS in the file versions that the archive has), downloads its packages
# with apt, which verifies them, and unpacks the one that the testbed boots.
# usage: kernel.sh		(instant when it is already there)
# out:	build/debs/VERSION/*.deb
#	build/kernel/VERSION-FLAVOUR/	vmlinuz, lib/modules/VERSION-FLAVOUR
#	build/kernel/version		VERSION, for example 7.3.4+deb13
#	build/kernel/release		VERSION-FLAVOUR that the testbed boots
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../.." && pwd)/build
. "$here/message.sh"
. "$here/lock.sh"
. "$here/versions"
lock_build "$build" kernel
stamp=$build/stamps/kernel
key=$({ cat "$here/kernel.sh" "$here/versions"; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
	exit 0
fi
mkdir -p "$build/stamps" "$build/log"
flavour=${KERNEL_FLAVOURS%% *}

# packages VERSION: what the build directory (kdir.sh) and the testbed need
packages() {
	local version=$1 series
	series=$(cut -d. -f1,2 <<<"$version")
	echo "linux-headers-$version-common" "linux-kbuild-$version" "linux-source-$series"
	local f
	for f in $KERNEL_FLAVOURS; do
		echo "linux-headers-$version-$f"
	done
	echo "linux-binary-$version-$flavour" "linux-modules-$version-$flavour"
}

# archive_version VERSION: the Debian version of that kernel's packages, if the archive has every one of them
archive_version() {
	local debian package
	debian=$("$here/enter.sh" apt-cache madison "linux-binary-$1-$flavour" | awk '{ print $3; exit }')
	[ -n "$debian" ] || return 1
	for package in $(packages "$1"); do
		"$here/enter.sh" apt-cache madison "$package" | awk -v v="$debian" '$3 == v { found = 1 } END { exit !found }' || return 1
	done
	echo "$debian"
}

# fetch VERSION: downloads its packages, unless they are here
fetch() {
	local version=$1 debian package wanted=()
	local dir=$build/debs/$version
	[ ! -e "$dir/complete" ] || return 0
	debian=$(archive_version "$version") || return 1
	for package in $(packages "$version"); do
		wanted+=("$package=$debian")
	done
	rm -rf "$dir"
	mkdir -p "$dir" "$build/log"
	say "kernel $version: downloading its packages (230 MB)"
	"$here/enter.sh" bash -c 'cd "$1" && shift && apt-get -o APT::Sandbox::User=root download "$@"' fetch \
		"/wormhole/build/debs/$version" "${wanted[@]}" >"$build/log/kernel.log" 2>&1 || return 1
	touch "$dir/complete"
}

# first_available: the first of KERNELS that is here or can be had
first_available() {
	local version
	for version in $KERNELS; do
		if fetch "$version"; then
			picked=$version
			return 0
		fi
		say "kernel $version is not to be had from the archive, trying the next one"
	done
	return 1
}

picked=
if ! first_available; then
	run_logged "$build/log/kernel-update.log" "kernel: refreshing the package lists" "$here/enter.sh" apt-get update -o APT::Update::Error-Mode=any
	first_available || die "none of the kernels $KERNELS is in the archive, which has now: $(
		"$here/enter.sh" apt-cache search --names-only "^linux-binary-[0-9].*deb.*-$flavour\$" | sed 's/^linux-binary-\([^ ]*\)-'"$flavour"' .*/\1/' | sort -rV | head -n 8 | xargs
	). Put one of these first in KERNELS in selftests/testbed/versions"
fi
[ "$picked" = "${KERNELS%% *}" ] || say "kernel: taking $picked, which is not the best tested one (${KERNELS%% *})"

release=$picked-$flavour
rm -rf "$build/kernel/$release.new"
mkdir -p "$build/kernel/$release.new"
for package in linux-binary linux-modules; do
	"$here/enter.sh" bash -c 'dpkg-deb -x /wormhole/build/debs/$1/$2-$3_*.deb /wormhole/build/kernel/$3.new' unpack \
		"$picked" "$package" "$release"
done
(
	cd "$build/kernel/$release.new"
	mv usr/lib/modules/"$release"/vmlinuz .
	mkdir -p lib
	mv usr/lib/modules lib/modules
	rm -rf usr
	# not in these packages; depmod complains without them
	touch "lib/modules/$release/modules."{order,builtin,builtin.modinfo}
)
# Decompressed here, once, rather than by every emulated machine at every boot
"$here/enter.sh" bash -c 'find "$1" -name "*.ko.xz" -print0 | xargs -0 xz -d && depmod -b "$1" "$2"' modules \
	"/wormhole/build/kernel/$release.new" "$release"
# The same kernel without its wrapping, which a VM boots directly: unpacking costs an emulated machine seconds.
"$here/enter.sh" bash -c '
cd "$1"
offset=$(LC_ALL=C grep -obUaP "\x28\xb5\x2f\xfd" vmlinuz | head -n1 | cut -d: -f1)
tail -c +$((offset + 1)) vmlinuz | zstd -dcq >vmlinux 2>/dev/null
readelf -h vmlinux >/dev/null' vmlinux "/wormhole/build/kernel/$release.new" ||
	die "cannot unpack the kernel $release (it is not zstd-compressed any more?): see selftests/testbed/kernel.sh"
rm -rf "${build:?}/kernel/$release"
mv "$build/kernel/$release.new" "$build/kernel/$release"
echo "$picked" >"$build/kernel/version"
echo "$release" >"$build/kernel/release"
echo "$key" >"$stamp"
say "kernel: stock Debian $release"
