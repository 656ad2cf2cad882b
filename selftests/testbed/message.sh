# SPDX-License-Identifier: Apache-2.0 OR MIT
# Sourced by the testbed's scripts: progress lines and one-sentence failures.

say() {
	printf '== %s\n' "$*" >&2
}

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# run_logged LOG WHAT CMD...: CMD's output goes to LOG; its end is shown if CMD fails.
run_logged() {
	local log=$1 what=$2 start=$SECONDS
	shift 2
	mkdir -p "$(dirname "$log")"
	say "$what"
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 25 "$log" >&2
		die "$what: failed, the whole output is in $log"
	fi
	say "$what: done in $((SECONDS - start)) s"
}
