#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The main job, on the Intel host: programs that know nothing of Wormhole run in the client VM on the server VM's
# OpenCL. One RESULT line each; fails if anything was not verified.
set -euo pipefail
. "$(dirname "$0")/pair.sh"
pair_up
failed=0

# exits_per_call EXITS CALLS
exits_per_call() {
	awk -v e="$1" -v c="$2" 'BEGIN { if (c > 0) printf "%.2f", e / c; else printf "none" }'
}

# By default programs go by what is best here.
best=ring
if wormholectl --json info | grep -Eq '"vmfunc": ?true'; then
	best=vmfunc
fi

# calls FILE: of a program's statistics
calls() {
	sed 's/.*"calls": *\([0-9]*\).*/\1/' "$1"
}

# transport FILE
transport() {
	sed 's/.*"transport": *"\([a-z]*\)".*/\1/' "$1"
}

# result PROGRAM VERIFIED: reads the program's statistics and exits
result() {
	local calls exits transport
	calls=$(calls /out/"$1".json)
	exits=$(cat /out/"$1".exits)
	transport=$(transport /out/"$1".json)
	if [ "$transport" != "$best" ]; then
		note "$1 went by $transport, not by $best"
		failed=1
	fi
	printf 'RESULT program=%s transport=%s calls=%s exits_per_call=%s verified=%s\n' "$1" "$transport" "$calls" \
		"$(exits_per_call "$exits" "$calls")" "$2" | tee -a /out/results
	[ "$2" = yes ] || failed=1
}

# run_client PROGRAM COMMAND...
run_client() {
	local program=$1
	shift
	note "client VM: $*"
	vm exec client --timeout 600 --exits /out/"$program".exits --env WORMHOLE_STATS=/out/stats.json \
		--env WORMHOLE_LOG=info --env WORMHOLE_TRANSPORT="${way:-auto}" -- "$@" >/out/"$program".out || return 1
	vm pull client /out/stats.json /out/"$program".json
}

# What clinfo says of the device must be what it says in the server VM itself, but for what Wormhole masks or renames.
comparable() {
	grep -E 'Device (Name|Vendor|Type|OpenCL C Version)|Driver Version|Max (compute units|work group size|work item|memory allocation|number of constant args)|Global memory size|Local memory size|Address bits|Preferred / native' "$1" | sed 's/[[:space:]]*$//'
}
note "server VM: clinfo, natively"
vm exec server --timeout 600 "${pocl[@]}" -- clinfo >/out/clinfo.native
verified=no
if run_client clinfo clinfo; then
	comparable /out/clinfo.native >/out/clinfo.expected
	comparable /out/clinfo.out >/out/clinfo.seen
	if [ -s /out/clinfo.expected ] && diff /out/clinfo.expected /out/clinfo.seen >&2; then
		verified=yes
	fi
fi
result clinfo $verified

for program in vadd sgemm; do
	verified=no
	if run_client $program $lib/$program && tail -n 1 /out/$program.out | grep -q 'verified=yes$'; then
		verified=yes
	fi
	result $program $verified
done

# What a round of vadd costs when all is warm: 500 of them, by one way.
steady() {
	local way=$1 few=20 many=520 calls exits verified=no
	if run_client steady-$way-$few $lib/vadd -n 1024 -r $few && run_client steady-$way-$many $lib/vadd -n 1024 -r $many &&
		[ "$(transport /out/steady-$way-$many.json)" = "$way" ] && tail -n 1 /out/steady-$way-$many.out | grep -q 'verified=yes$'; then
		verified=yes
	else
		failed=1
	fi
	calls=$(($(calls /out/steady-$way-$many.json) - $(calls /out/steady-$way-$few.json)))
	exits=$(($(cat /out/steady-$way-$many.exits) - $(cat /out/steady-$way-$few.exits)))
	printf 'RESULT program=vadd-steady transport=%s calls=%s exits_per_call=%s verified=%s\n' "$way" "$calls" \
		"$(exits_per_call "$exits" "$calls")" $verified | tee -a /out/results
}
steady ring
if [ $best = vmfunc ]; then
	steady vmfunc
fi

vm pull server /out/server.log /out/server.log || :

# Not OpenCL yet: a small service whose function runs on the client's own vCPU.
note "client VM: delegate-sample, its service in the server VM"
vm exec server -- pkill -x wormhole-server || :
start_delegate_server -n 1
vm exec client --timeout 300 --exits /out/delegate.exits -- $lib/delegate-sample client -n 10000 >/out/delegate.out || failed=1
sed -n 's/^RESULT .*calls=\([0-9]*\).*/\1/p' /out/delegate.out >/out/delegate.calls
sed -n "s|^\(RESULT .*\) verified=|\1 exits_per_call=$(exits_per_call "$(cat /out/delegate.exits)" "$(cat /out/delegate.calls)") verified=|p" \
	/out/delegate.out | tee -a /out/results
exit $failed
