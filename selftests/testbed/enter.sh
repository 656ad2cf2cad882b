#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Runs a command in the build root (build/root), with the project at /wormhole, which is the working directory.
# usage: enter.sh COMMAND [ARG...]
# Mounts live in a mount namespace of the command's own, and its processes in a PID namespace: when it ends, or is
# killed, nothing is left behind. Process 1 there is a shell, which reaps orphans.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
root=$project/build/root
. "$here/message.sh"
[ $# -gt 0 ] || die "usage: enter.sh COMMAND [ARG...]"
[ "$(id -u)" = 0 ] || die "the build root is a chroot, which needs root: run make as root (sudo make …)"
[ -d "$root/wormhole" ] || die "there is no build root yet: selftests/testbed/root.sh makes it"

# The build root's own environment, plus what names a proxy.
environment=(
	HOME=/root LC_ALL=C.UTF-8 "TERM=${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	CARGO_HOME=/wormhole/build/cargo CARGO_TARGET_DIR=/wormhole/build/target
	GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory 'GIT_CONFIG_VALUE_0=*' DEBIAN_FRONTEND=noninteractive
)
while IFS='=' read -r name value; do
	case $name in
	http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | CARGO_HTTP_* | CARGO_NET_* | WORMHOLE_* | RUST_LOG | CI)
		environment+=("$name=$value")
		;;
	esac
done < <(env)

setup='
set -e
root=$1 project=$2
shift 2
mount --make-rprivate /
mount --bind "$project" "$root/wormhole"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/run"
cp -L /etc/resolv.conf "$root/run/resolv.conf" 2>/dev/null || :
mount --bind "$root/run/resolv.conf" "$root/etc/resolv.conf" 2>/dev/null || :
exec chroot "$root" env -i --default-signal=INT,QUIT "$@"
'
# Not exec: unshare blocks SIGTERM and SIGINT, and the first process of a PID namespace ignores both unless it handles
# them. A signal here ends the namespace, and with it every process in it.
unshare --mount --pid --fork --kill-child -- \
	bash -c "$setup" enter "$root" "$project" "${environment[@]}" \
	bash -c 'cd /wormhole && "$@"; exit $?' enter "$@" <&0 &
child=$!
trap 'kill -KILL $child 2>/dev/null; exit 130' INT
trap 'kill -KILL $child 2>/dev/null; exit 143' TERM HUP
wait "$child"
