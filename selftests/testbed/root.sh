#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Makes build/root: a Debian root with every tool that the build needs, so that nothing is installed on this machine.
# usage: root.sh		(instant when it is already there)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../.." && pwd)/build
. "$here/message.sh"
. "$here/lock.sh"
. "$here/versions"

# KiB of disk that a whole build takes, rounded up
needed_kib=$((10 * 1024 * 1024))

packages=$(sed 's/#.*//' "$here/root.packages" | xargs)
if [ -c /dev/kvm ] && grep -qw vmx /proc/cpuinfo; then
	# the machine can be an Intel host itself: QEMU boots the host image instead of the emulator
	packages+=" qemu-system-x86"
fi

[ "$(id -u)" = 0 ] || die "the build root is a chroot, which needs root: run make as root (sudo make …)"
lock_build "$build" root
stamp=$build/stamps/root
key=$({ echo "$packages"; cat "$here/root.sh" "$here/versions"; } | sha256sum | cut -d' ' -f1)
if [ -d "$build/root" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
	exit 0
fi

[ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m): the testbed needs x86_64"
command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: apt-get install mmdebstrap"
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
	die "Debian's archive keys are missing: apt-get install debian-archive-keyring"
unshare --mount --pid --fork true 2>/dev/null ||
	die "this machine does not let root make mount and PID namespaces (a container without CAP_SYS_ADMIN?): run on a plain machine or VM"
mkdir -p "$build/stamps" "$build/log"
free_kib=$(df --output=avail -k "$build" | tail -n1)
[ "$free_kib" -ge "$needed_kib" ] ||
	die "$build has $((free_kib / 1048576)) GiB free, the build takes $((needed_kib / 1048576)): free some disk space"

# This machine's own Debian mirror and proxy, if apt here knows them; mmdebstrap's default mirror if not.
main=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n1 || true)
security=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian-Security' 2>/dev/null | head -n1 || true)
mirror=()
if [ -n "$main" ] && [ -n "$security" ]; then
	mirror=("deb $main $SUITE main" "deb $main $SUITE-updates main" "deb $security $SUITE-security main")
fi
proxy=()
while read -r option; do
	[ -z "$option" ] || proxy+=(--aptopt="$option")
done < <(apt-config dump --format '%f "%v";%n' Acquire::http::Proxy Acquire::https::Proxy 2>/dev/null)

# The kernels come from backports, the emulator's source from the release itself.
sources='f=$1/etc/apt/sources.list; awk -v s='$SUITE' '\''$1 == "deb" && $3 == s { print "deb", $2, s "-backports main"; print "deb-src", $2, s " main" }'\'' $f >$f.add; cat $f.add >>$f; rm $f.add'

rm -rf --one-file-system "$build/root" "$build/root.new"
run_logged "$build/log/root.log" "build root: installing Debian $SUITE with the build tools in build/root" \
	mmdebstrap --mode=root --variant=minbase --include="${packages// /,}" \
	--aptopt='APT::Install-Recommends "false";' --aptopt='Acquire::Languages "none";' --aptopt='Acquire::Retries "3";' \
	--dpkgopt='force-unsafe-io' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	"${proxy[@]}" --setup-hook="$sources" --customize-hook='mkdir $1/wormhole' \
	--skip=cleanup/apt/lists "$SUITE" "$build/root.new" "${mirror[@]}"
for certificate in /usr/local/share/ca-certificates/*.crt; do
	[ -e "$certificate" ] || continue
	cp "$certificate" "$build/root.new/usr/local/share/ca-certificates/"
done
chroot "$build/root.new" update-ca-certificates >>"$build/log/root.log" 2>&1
mv "$build/root.new" "$build/root"
echo "$key" >"$stamp"
