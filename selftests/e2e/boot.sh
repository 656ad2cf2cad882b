#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Boots the Intel host, runs one of the scripts in e2e/host there, and prints the TAP streams that it leaves.
# usage: boot.sh SCRIPT [OPTION...]	SCRIPT without .sh; options are testbed/run.sh's
set -uo pipefail
cd "$(dirname "$0")/../.."
script=$1
shift
# How much is to be done, if somebody says it, is said on the host too.
mapfile -t amounts < <(env | grep -E '^WORMHOLE_(ROUNDS|BOOTS)=')
out=build/run/$script/out
rm -rf "$out"
status=0
selftests/testbed/run.sh --name "$script" "$@" -- env "${amounts[@]}" "/usr/lib/wormhole/$script.sh" >&2 || status=1
streams=("$out"/*.tap)
if [ -e "${streams[0]}" ]; then
	cat "${streams[@]}"
else
	printf '1..1\nnot ok 1 - %s left no results\n' "$script"
fi
exit $status
