#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# PoCL's own tests, natively on PoCL and by way of wormhole-server: each must have the same result, unless
# pocl.differences says why not. In the build root.
# usage: pocl.sh [METHOD|large...]
# METHOD is how PoCL makes a function of a work-group, which is the server's business: loopvec, its default, if none is
# given. Tests that are run with all methods have a name for each, which ends with it. "large" is the one test that takes
# 10 GiB of memory.
# out: TAP
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
results=$conformance/pocl-results
mkdir -p "$results"
[ $# -gt 0 ] || set -- loopvec

large='/test_large_buf$'
# It has one method, and so none in its name.
cbs='/cond_barrier_in_var_for$'

# run FILE WHAT VARIABLE...: makes FILE of lines "NAME pass|fail|skip", and FILE.log of what the tests printed
run() {
	local file=$1 select
	case $2 in
	loopvec) select=(--exclude-regex "_(cbs|repl|loops)\$|$cbs|$large") ;;
	large) select=(--tests-regex "$large") ;;
	cbs) select=(--tests-regex "_cbs\$|$cbs") ;;
	*) select=(--tests-regex "_$2\$") ;;
	esac
	# It fails if a test does.
	env "${@:3}" ctest --test-dir "$conformance/pocl/tests" --parallel "$(nproc)" \
		--timeout 600 "${select[@]}" --output-junit "$file.xml" --output-log "$file.log" >/dev/null 2>&1 || :
	sed -n 's/.*<testcase name="\([^"]*\)".* status="\([a-z]*\)".*/\1 \2/p' "$file.xml" |
		sed "s, run$, pass,; s, \\(notrun\\|disabled\\)$, skip,; s,&apos;,',g" | sort >"$file"
	[ -s "$file" ]
}

for what; do
	expected=$results/$what.native
	seen=$results/$what.forwarded
	method=POCL_WORK_GROUP_METHOD=${what/large/loopvec}
	# As long as PoCL and its tests are the same, so are these.
	of=$({ dpkg-query -W pocl-opencl-icd; cat versions pocl.sh; } | sha256sum)
	if [ "$(cat "$expected.of" 2>/dev/null)" != "$of" ]; then
		run "$expected" "$what" "$method" "${native[@]}"
		echo "$of" >"$expected.of"
	fi
	start_server "pocl-$what" tcp "$method"
	run "$seen" "$what" "${forwarded[@]}"
	awk -f differences.awk pocl.differences "$expected" "$seen"
done
