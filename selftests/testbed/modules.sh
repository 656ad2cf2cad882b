#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds wormhole.ko and wormhole_guest.ko.
# usage: modules.sh [FLAVOUR...]	(all KERNEL_FLAVOURS if none is named)
# out:	build/modules/VERSION-FLAVOUR/*.ko
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../.." && pwd)/build
. "$here/message.sh"
. "$here/versions"
[ $# -gt 0 ] || read -ra all <<<"$KERNEL_FLAVOURS"
[ $# -gt 0 ] || set -- "${all[@]}"

for flavour; do
	"$here/kdir.sh" "$flavour"
	release=$(cat "$build/kernel/version")-$flavour
	mkdir -p "$build/modules/$release"
	say "modules for $release"
	"$here/enter.sh" make --no-print-directory -C "/wormhole/build/kdir/$release" -j"$(nproc)" \
		M=/wormhole MO="/wormhole/build/modules/$release" ARCH=x86 KERNELRELEASE="$release" \
		CROSS_COMPILE=x86_64-linux-gnu- CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 modules
done
