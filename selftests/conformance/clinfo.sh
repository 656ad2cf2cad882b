#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# clinfo by way of wormhole-server must say what it says natively, but for what clinfo.masked lists. In the build root.
# usage: clinfo.sh
# out: TAP
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
start_server clinfo tcp
env "${native[@]}" clinfo >"$conformance/clinfo.native"
env "${forwarded[@]}" clinfo >"$conformance/clinfo.forwarded"
echo 1..1
unmasked() {
	awk -f clinfo.awk clinfo.masked "$conformance/clinfo.$1"
}
if diff <(unmasked native) <(unmasked forwarded) >&2; then
	echo "ok 1 - clinfo: the same as natively, but for what is masked"
else
	echo "not ok 1 - clinfo: the same as natively, but for what is masked"
fi
