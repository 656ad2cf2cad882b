#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The tests that need the Intel host and VMs. Prints their TAP streams.
set -uo pipefail
cd "$(dirname "$0")/../.."
selftests/stage.sh || exit 1
status=0
# How much is to be done, if somebody says it, is said on the host too.
mapfile -t amounts < <(env | grep -E '^WORMHOLE_(ROUNDS|BOOTS)=')

# boot SCRIPT [CPUS]: TAP that the script leaves in /out is printed
boot() {
	local script=$1 cpus=${2:-1} streams
	rm -rf "build/run/$script/out"
	if ! selftests/testbed/run.sh --name "$script" --cpus "$cpus" --timeout 1800 -- \
		env "${amounts[@]}" "/usr/lib/wormhole/$script.sh" >&2; then
		status=1
	fi
	streams=(build/run/"$script"/out/*.tap)
	if [ -e "${streams[0]}" ]; then
		cat "${streams[@]}"
	else
		printf '1..1\nnot ok 1 - %s left no results\n' "$script"
	fi
}

boot kselftests
boot exitless 2
boot delegate 2
boot faults
boot delegate_faults
boot tenants
if selftests/e2e/run.sh >&2; then
	printf '1..1\nok 1 - the main job\n'
else
	printf '1..1\nnot ok 1 - the main job\n'
	status=1
fi
exit $status
