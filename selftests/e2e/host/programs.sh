#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The main job, on the Intel host: programs that know nothing of Wormhole run in the client VM on the server VM's
# OpenCL, by the way that they take by themselves, by every other, and natively. One RESULT line each and a table of
# all. Fails if anything was not verified.
# usage: programs.sh [pocl]	with "pocl", PoCL's own tests run, too; TAP
set -euo pipefail
. "$(dirname "$0")/pair.sh"
. "$(dirname "$0")/ways.sh"
pair_up --network
start_relay

# exits_per_call EXITS CALLS
exits_per_call() {
	# A difference of two runs may be less than what the timers of the VMs do meanwhile.
	awk -v e="$1" -v c="$2" 'BEGIN { if (c > 0) printf "%.2f", (e > 0 ? e : 0) / c; else printf "none" }'
}

best=$(best_way)

# result PROGRAM WAY
result() {
	local files=/out/$1.$2
	printf 'RESULT program=%s transport=%s calls=%s exits_per_call=%s verified=%s\n' "$1" "$(<"$files.transport")" \
		"$(<"$files.calls")" "$(exits_per_call "$(<"$files.exits")" "$(<"$files.calls")")" "$(<"$files.verified")" |
		tee -a /out/results
}

# The first run also brings into memory what all need. The native ones come last: theirs has seen no less.
run_program vadd auto $lib/vadd
run_program threads auto $lib/threads
for way in tcp vsock ring auto native; do
	run_program clinfo $way clinfo
	run_program sgemm $way $lib/sgemm
	run_program vadd-20 $way $lib/vadd -n 1024 -r 20
	# What a run takes to start varies by as much as some hundred calls that are forwarded, or thousands that are not.
	rounds=1000
	[[ $way != auto && $way != native ]] || rounds=8000
	run_program vadd-long $way $lib/vadd -n 1024 -r $((20 + rounds))
done

# These make the same calls there; clinfo makes others, for what Wormhole masks.
for program in sgemm vadd-20 vadd-long; do
	cp /out/$program.auto.calls /out/$program.native.calls
done
verify vadd auto $best
verify threads auto $best
for way in native auto ring vsock tcp; do
	transport=${way/auto/$best}
	for program in clinfo sgemm vadd-20 vadd-long; do
		verify $program $way "$transport"
	done
	# What a round costs when all is warm.
	difference vadd-steady vadd-long vadd-20 $way
done

for program in clinfo vadd sgemm threads; do
	result $program auto
done
result vadd-steady ring
[ $best = ring ] || result vadd-steady auto
for program in clinfo vadd-20 sgemm vadd-steady; do
	for way in native auto ring vsock tcp; do
		row $program $way
	done
done | table >/out/table

if [ "${1:-}" = pocl ]; then
	. "$(dirname "$0")/pocl.sh"
	pocl_tests $best
fi

vm pull server /out/server.log /out/server.log || :

# Not OpenCL yet: a small service whose function runs on the client's own vCPU.
note "client VM: delegate-sample, its service in the server VM"
vm exec server -- pkill -x wormhole-server || :
start_delegate_server -n 1
vm exec client --timeout 300 --exits /out/delegate.exits -- $lib/delegate-sample client -n 10000 >/out/delegate.out
sed -n 's/^RESULT .*calls=\([0-9]*\).*/\1/p' /out/delegate.out >/out/delegate.calls
sed -n "s|^\(RESULT .*\) verified=|\1 exits_per_call=$(exits_per_call "$(cat /out/delegate.exits)" "$(cat /out/delegate.calls)") verified=|p" \
	/out/delegate.out | tee -a /out/results

unverified=$(grep -Lx yes /out/*.verified) || :
if [ -n "$unverified" ] || ! tail -n 1 /out/results | grep -q 'program=delegate-sample .* verified=yes$'; then
	note "not verified:" $unverified
	exit 1
fi
