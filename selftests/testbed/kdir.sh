#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Makes a kernel build directory in which Rust modules for the stock kernel can be built. Debian's headers have no Rust
# metadata: the headers and kbuild packages are merged, rust/ and scripts/ come from the source package, and only the
# rust part of the kernel is built. Its compiler, bindgen and pahole are those that Debian built the kernel with, so the
# symbols are the stock kernel's.
# usage: kdir.sh FLAVOUR	(instant when it is already there)
# out:	build/kdir/VERSION-FLAVOUR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../.." && pwd)/build
. "$here/message.sh"
. "$here/lock.sh"
. "$here/versions"
[ $# = 1 ] || die "usage: kdir.sh FLAVOUR (one of: $KERNEL_FLAVOURS)"
flavour=$1
[[ " $KERNEL_FLAVOURS " == *" $flavour "* ]] || die "$flavour is none of the flavours $KERNEL_FLAVOURS (selftests/testbed/versions)"
"$here/kernel.sh"
version=$(cat "$build/kernel/version")
release=$version-$flavour
lock_build "$build" kdir
stamp=$build/stamps/kdir-$release
key=$({ cat "$here/kdir.sh" "$build/stamps/root"; (cd "$build/debs/$version" && ls ./*.deb); } | sha256sum | cut -d' ' -f1)
if [ -d "$build/kdir/$release" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
	exit 0
fi

make_kdir='
set -euo pipefail
version=$1 release=$2
series=$(cut -d. -f1,2 <<<"$version")
debs=/wormhole/build/debs/$version
kdir=/wormhole/build/kdir/$release
unpacked=$(mktemp -d -p /wormhole/build/kdir)
rm -rf "$kdir"
mkdir -p "$kdir"
for package in "linux-headers-$version-common" "linux-headers-$release" "linux-kbuild-$version"; do
	dpkg-deb -x "$debs/${package}"_*.deb "$unpacked"
done
cp -a "$unpacked/usr/src/linux-headers-$version-common/"{Makefile,arch,include} "$kdir/"
cp -a "$unpacked/usr/lib/linux-kbuild-$version/"{scripts,tools} "$kdir/"
if [ -d "$unpacked/usr/lib/linux-kbuild-$version/certs" ]; then
	cp -a "$unpacked/usr/lib/linux-kbuild-$version/certs" "$kdir/"
fi
cp -a "$unpacked/usr/src/linux-headers-$release/"{.config,Module.symvers,vmlinux,include,arch} "$kdir/"
rm -rf "$unpacked"

# What is needed of the source is unpacked once and kept for the other flavours.
subset=/wormhole/build/debs/$version/source-subset.tar
source=linux-source-$series
if [ ! -e "$subset" ]; then
	mkdir -p "$subset.d"
	dpkg-deb --fsys-tarfile "$debs/${source}"_*.deb | tar -xO "./usr/src/$source.tar.xz" | xz -dc -T2 |
		tar -x -C "$subset.d" --strip-components=1 --wildcards \
			"$source/rust/*" "$source/scripts/*" "$source/arch/x86/kvm/*" "$source/virt/*" \
			"$source/drivers/base/*.h" "$source/drivers/android/*.h" "$source/samples/rust/*" \
			"$source/.clippy.toml" "$source/.rustfmt.toml" "$source/tools/include/*"
	tar -cf "$subset.new" -C "$subset.d" .
	rm -rf "$subset.d"
	mv "$subset.new" "$subset"
fi
tar -xf "$subset" -C "$kdir" --skip-old-files

cat >"$kdir/rust-only.mk" <<"EOF"
include Makefile
PHONY += rust_only
rust_only:
	$(Q)$(MAKE) $(build)=scripts scripts/target.json
	$(Q)$(MAKE) $(build)=rust
EOF
# --no-print-directory: the top Makefile would run itself again and lose the target rust_only.
# may-sync-config= : .config is taken as it is, there are no Kconfig files here.
# need-compiler=1: the probing of the compiler stays on.
make --no-print-directory -C "$kdir" -f rust-only.mk -j"$(nproc)" may-sync-config= need-compiler=1 ARCH=x86 \
	CROSS_COMPILE=x86_64-linux-gnu- CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 KERNELRELEASE="$release" rust_only
'
mkdir -p "$build/kdir"
run_logged "$build/log/kdir-$flavour.log" "kernel build directory for $release, with Rust (3 minutes)" \
	"$here/enter.sh" bash -c "$make_kdir" kdir "$version" "$release"
echo "$key" >"$stamp"
