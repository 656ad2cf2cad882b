#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds what is ours and lays it out as the Intel host and the two VMs will see it.
# usage: stage.sh
# out:	build/stage/{host,server,client}/: trees that the testbed lays over the images
set -euo pipefail
cd "$(dirname "$0")/.."
. selftests/testbed/message.sh
. selftests/testbed/versions
enter=selftests/testbed/enter.sh

selftests/testbed/prepare.sh
say "programs and libraries"
"$enter" cargo build --manifest-path userlib/Cargo.toml --release --locked
for crate in ioctl switch guest delegate opencl; do
	"$enter" cargo build --manifest-path selftests/$crate/Cargo.toml --release --locked --quiet
done
"$enter" make --no-print-directory -s -C samples all delegate OUT=/wormhole/build/samples DELEGATE=/wormhole/build/target/release
# Also with gates that are broken on purpose, for the tests that must find it out.
for flaw in '' open cpl; do
	if ! WORMHOLE_BREAK=$flaw selftests/testbed/modules.sh "${KERNEL_FLAVOURS%% *}" >build/log/modules.log 2>&1; then
		tail -n 30 build/log/modules.log >&2
		die "the kernel modules do not build, the whole output is in build/log/modules.log"
	fi
done

modules=build/modules/$(cat build/kernel/release)
release=build/target/release
rm -rf build/stage
for role in host server client; do
	mkdir -p build/stage/$role/usr/{bin,lib/wormhole}
done
cp $release/wormholectl build/stage/host/usr/bin/
cp "$modules/wormhole.ko" $release/wormhole-ioctl-test $release/wormhole-switch-{test,bench} $release/wormhole-delegate-torture \
	$release/wormhole-opencl-compare selftests/e2e/host/*.sh selftests/conformance/clinfo.{awk,masked} build/stage/host/usr/lib/wormhole/
cp $release/wormhole-server build/stage/server/usr/bin/
cp $release/libwormhole_opencl.so build/stage/client/usr/lib/wormhole/
for guest in server client; do
	cp "$modules/wormhole_guest.ko" $release/guest-test $release/wormhole-delegate-{bench,hazards,torture} $release/delegate-sample \
		$release/wormhole-opencl-bench build/samples/* build/stage/$guest/usr/lib/wormhole/
done
for flaw in open cpl; do
	cp "$modules-$flaw/wormhole.ko" build/stage/host/usr/lib/wormhole/wormhole-broken-$flaw.ko
done
for module in build/stage/*/usr/lib/wormhole/*.ko; do
	"$enter" strip --strip-debug "/wormhole/$module"
done
# PoCL compiles a kernel once more for a small number of work-items.
"$enter" selftests/pocl_cache.sh programs clinfo build/samples/{vadd,sgemm,threads} 'build/samples/vadd -n 1024' $release/wormhole-opencl-bench
mkdir -p build/stage/server/var/cache
cp -al build/pocl-cache/programs build/stage/server/var/cache/pocl
mkdir -p build/stage/client/etc/OpenCL/vendors
echo /usr/lib/wormhole/libwormhole_opencl.so >build/stage/client/etc/OpenCL/vendors/wormhole.icd
