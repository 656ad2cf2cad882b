#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds wormhole.ko and wormhole_guest.ko.
# usage: [WORMHOLE_BREAK=open|cpl] [CLIPPY=1] modules.sh [FLAVOUR...]	(all KERNEL_FLAVOURS if none is named)
# out:	build/modules/VERSION-FLAVOUR[-WORMHOLE_BREAK][-clippy]/*.ko
# With CLIPPY=1 the compiler is clippy, and any warning an error.
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
	out=$release${WORMHOLE_BREAK:+-$WORMHOLE_BREAK}${CLIPPY:+-clippy}
	mkdir -p "$build/modules/$out"
	say "modules for $out"
	"$here/enter.sh" make --no-print-directory -C "/wormhole/build/kdir/$release" -j"$(nproc)" \
		M=/wormhole MO="/wormhole/build/modules/$out" WORMHOLE_BREAK="${WORMHOLE_BREAK:-}" ARCH=x86 KERNELRELEASE="$release" \
		CROSS_COMPILE=x86_64-linux-gnu- CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 ${CLIPPY:+CLIPPY=1 KRUSTFLAGS=-Dwarnings} modules
done
