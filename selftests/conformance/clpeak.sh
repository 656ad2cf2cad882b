#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# clpeak runs through by way of wormhole-server; its figures, beside the native ones, are for reading. In the build root.
# What kernels compute in a second is the vendor's business, and most of clpeak's time: natively it is not measured.
# usage: clpeak.sh
# out: TAP, and the figures as its comments
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
start_server clpeak tcp
# Each measures the whole machine: one after the other.
status=0
env "${native[@]}" timeout 600 clpeak --global-bandwidth --transfer-bandwidth --kernel-latency >"$conformance/clpeak.native" 2>&1
env "${forwarded[@]}" timeout 1200 clpeak >"$conformance/clpeak.forwarded" 2>&1 || status=$?
awk -F ' *: *' '
	/^ *$/ { section = "" }
	/\([A-Z]+\)$/ { section = $1 ", " }
	!/ : +[0-9.]+( us)? *$/ || /Compute units/ { next }
	{ name = section $1; gsub(/ +/, " ", name) }
	FNR == NR { native[name] = $2; next }
	{ printf "# %-62s native %10s forwarded %10s\n", name, name in native ? native[name] : "-", $2 }
' "$conformance/clpeak.native" "$conformance/clpeak.forwarded"
echo 1..1
# Its last measurement.
if [ $status = 0 ] && grep -q 'Kernel launch latency *:' "$conformance/clpeak.forwarded"; then
	echo "ok 1 - clpeak runs through"
else
	echo "not ok 1 - clpeak runs through: ended with $status"
fi
