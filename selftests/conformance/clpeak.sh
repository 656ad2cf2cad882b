#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# clpeak runs through by way of wormhole-server; its figures, beside the native ones, are for reading. In the build root.
# A run takes minutes, and so the native figures are kept until clpeak or PoCL is another.
# usage: clpeak.sh
# out: TAP, and the figures as its comments
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
start_server clpeak tcp
# Each measures the whole machine: one after the other.
status=0
of=$({ dpkg-query -W pocl-opencl-icd; cat "$unpacked/bin/clpeak"; } | sha256sum)
if [ "$(cat "$conformance/clpeak.native.of" 2>/dev/null)" != "$of" ]; then
	env "${native[@]}" timeout 1200 clpeak >"$conformance/clpeak.native" 2>&1
	echo "$of" >"$conformance/clpeak.native.of"
fi
env "${forwarded[@]}" timeout 1200 clpeak >"$conformance/clpeak.forwarded" 2>&1 || status=$?
paste -d '|' "$conformance/clpeak.native" "$conformance/clpeak.forwarded" |
	awk -F '|' '/ : [0-9.]+ *\|/ { split($1, name, ":"); split($2, other, ":"); printf "# %-30s native %10s forwarded %10s\n", name[1], name[2], other[2] }'
echo 1..1
# Its last measurement.
if [ $status = 0 ] && grep -q 'Kernel launch latency *:' "$conformance/clpeak.forwarded"; then
	echo "ok 1 - clpeak runs through"
else
	echo "not ok 1 - clpeak runs through: ended with $status"
fi
