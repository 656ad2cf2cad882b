#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# One boot of the Intel host, which runs one of the scripts in host/. Prints the TAP streams that this leaves.
# usage: boot.sh SCRIPT [CPUS]		(after stage.sh)
set -uo pipefail
cd "$(dirname "$0")/../.."
script=$1 cpus=${2:-1}
status=0
# How much is to be done, if somebody says it, is said on the host too.
mapfile -t amounts < <(env | grep -E '^WORMHOLE_(ROUNDS|BOOTS)=')

rm -rf "build/run/$script/out"
selftests/testbed/run.sh --name "$script" --cpus "$cpus" --timeout 1800 -- \
	env "${amounts[@]}" "/usr/lib/wormhole/$script.sh" >&2 || status=1
streams=(build/run/"$script"/out/*.tap)
if [ -e "${streams[0]}" ]; then
	cat "${streams[@]}"
else
	printf '1..1\nnot ok 1 - %s left no results\n' "$script"
fi
exit $status
