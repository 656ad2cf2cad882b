#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Makes the base images of the Intel host and of both VMs: Debian, as ext4, without a loop mount. What is ours is not in
# them, it is laid over at every run (build/stage/), so they are made once.
# usage: images.sh		(instant when they are already there)
# out:	build/images/host.img, which has the other two inside: /guest/server.img, /guest/client.img
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../.." && pwd)/build
. "$here/message.sh"
. "$here/lock.sh"
. "$here/versions"

# The emulated disk's geometry (16 heads of 63 sectors): a size must be a multiple of it.
cylinder=$((16 * 63 * 512))

# Runs in the build root: make_image ROLE PACKAGE,PACKAGE… DIRECTORY_TO_ADD|-
make_image='
set -euo pipefail
role=$1 packages=$2 add=$3 suite=$4 cylinder=$5
images=/wormhole/build/images
archives=/wormhole/build/debs/archives
tree=$images/$role.tree
rm -rf --one-file-system "$tree"
mkdir -p "$archives"
excludes=()
for path in doc man info locale lintian bug icons pixmaps; do
	excludes+=(--dpkgopt="path-exclude=/usr/share/$path/*")
done
excludes+=(--dpkgopt="path-exclude=/usr/lib/llvm-*/lib/*.a")
mmdebstrap --mode=root --variant=essential --include="$packages" \
	--aptopt="APT::Install-Recommends \"false\";" --aptopt="Acquire::Languages \"none\";" --aptopt="Acquire::Retries \"3\";" \
	--dpkgopt="force-unsafe-io" "${excludes[@]}" --skip=download/empty --skip=essential/unlink \
	--setup-hook="mkdir -p \$1/var/cache/apt/archives && cp -l $archives/*.deb \$1/var/cache/apt/archives/ 2>/dev/null || :" \
	--customize-hook="cp -ln \$1/var/cache/apt/archives/*.deb $archives/ && mkdir -p \$1/out" \
	"$suite" "$tree" /etc/apt/sources.list
rm -rf "$tree"/var/lib/apt "$tree"/var/cache/apt "$tree"/var/log/* "$tree"/usr/share/{doc,man,info,locale}
if [ "$add" != - ]; then
	mkdir -p "$tree/guest"
	cp -al "$add"/* "$tree/guest/"
fi
kib=$(du -s --apparent-size --block-size=1024 "$tree" | cut -f1)
files=$(find "$tree" | wc -l)
# room for block rounding and metadata
bytes=$(((kib + files * 4 + kib / 16 + 16384) * 1024))
bytes=$(((bytes / cylinder + 1) * cylinder))
rm -f "$images/$role.new"
truncate -s "$bytes" "$images/$role.new"
mke2fs -q -t ext4 -O ^has_journal,^resize_inode -m 0 -N $((files + files / 8 + 256)) -L "$role" -d "$tree" "$images/$role.new"
rm -rf --one-file-system "$tree"
'

# image ROLE [DIRECTORY]: makes the image unless it is there
image() {
	local role=$1 add=${2:--} packages key stamp=$build/stamps/image-$1 out=$build/images/$1.img
	packages=$(sed 's/#.*//' "$here/images/$role.packages" | xargs)
	[ "$add" = - ] || out=$build/images/host.img
	key=$({ echo "$packages $SUITE"; cat "$here/images.sh"; [ "$add" = - ] || cat "$build"/stamps/image-{server,client}; } | sha256sum | cut -d' ' -f1)
	if [ -e "$out" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
		return 0
	fi
	mkdir -p "$(dirname "$out")" "$build/log"
	run_logged "$build/log/image-$role.log" "image of the $role: installing Debian $SUITE with $packages" \
		"$here/enter.sh" bash -c "$make_image" image "$role" "${packages// /,}" "$add" "$SUITE" "$cylinder"
	mkdir -p "$(dirname "$out")"
	mv "$build/images/$role.new" "$out"
	echo "$key" >"$stamp"
}

lock_build "$build" images
image server
image client
mkdir -p "$build/images/guest"
ln -f "$build"/images/{server,client}.img "$build/images/guest/"
image host /wormhole/build/images/guest
