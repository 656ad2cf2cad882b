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
	awk -v e="$1" -v c="$2" 'BEGIN { if (c > 0) printf "%.1f", e / c; else printf "none" }'
}

# result PROGRAM VERIFIED: reads the program's statistics and exits
result() {
	local calls exits
	vm pull client /out/stats.json /out/"$1".json
	calls=$(sed 's/.*"calls": *\([0-9]*\).*/\1/' /out/"$1".json)
	exits=$(cat /out/"$1".exits)
	transport=$(sed 's/.*"transport": *"\([a-z]*\)".*/\1/' /out/"$1".json)
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
		--env WORMHOLE_LOG=warn -- "$@" >/out/"$program".out
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
