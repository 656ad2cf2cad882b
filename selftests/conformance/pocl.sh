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

# Tests that print from many work-groups want the device that runs one after the other, and choose it by a variable that
# only the library in their own process sees: forwarded they have a server that has it.
# wanting_basic METHOD: a regular expression of them
wanting_basic() {
	find "$conformance/pocl/tests" -name CTestTestfile.cmake -exec \
		sed -n "s/^set_tests_properties(\([^ ]*\) .*POCL_WORK_GROUP_METHOD=$1;POCL_DEVICES=basic.*/\1/p" {} + | paste -sd '|' | sed -n 's/..*/^(&)$/p'
}

# run FILE VARIABLE... -- SELECTION...: appends to FILE lines "NAME pass|fail|skip", and to FILE.log what the tests printed
run() {
	local file=$1 variables=()
	shift
	rm -f "$file.xml"
	while [ "$1" != -- ]; do
		variables+=("$1")
		shift
	done
	# It fails if a test does.
	env "${variables[@]}" ctest --test-dir "$conformance/pocl/tests" --parallel "$(nproc)" --timeout 600 "${@:2}" \
		--output-junit "$file.xml" --output-log "$file.part" >/dev/null 2>&1 || :
	cat "$file.part" >>"$file.log"
	grep -q '<testcase ' "$file.xml"
	sed -n 's/.*<testcase name="\([^"]*\)".* status="\([a-z]*\)".*/\1 \2/p' "$file.xml" |
		sed "s, run$, pass,; s, \\(notrun\\|disabled\\)$, skip,; s,&apos;,',g" >>"$file"
}

for what; do
	method=${what/large/loopvec}
	case $what in
	loopvec) all=(--exclude-regex "_(cbs|repl|loops)\$|$cbs|$large") ;;
	large) all=(--tests-regex "$large") ;;
	cbs) all=(--tests-regex "_cbs\$|$cbs") ;;
	*) all=(--tests-regex "_$what\$") ;;
	esac
	basic=
	[ "$what" = large ] || basic=$(wanting_basic "$what")
	expected=$results/$what.native
	seen=$results/$what.forwarded
	rm -f "$seen" "$seen.log"
	# As long as PoCL and its tests are the same, so are these.
	of=$({ dpkg-query -W pocl-opencl-icd; cat versions pocl.sh; } | sha256sum)
	if [ "$(cat "$expected.of" 2>/dev/null)" != "$of" ]; then
		rm -f "$expected" "$expected.log"
		run "$expected" "POCL_WORK_GROUP_METHOD=$method" "${native[@]}" -- "${all[@]}"
		echo "$of" >"$expected.of"
	fi
	start_server "pocl-$what" tcp "POCL_WORK_GROUP_METHOD=$method"
	others=("${all[@]}")
	if [ "$what" = loopvec ]; then
		others[1]+="|$basic"
	elif [ -n "$basic" ]; then
		others+=(--exclude-regex "$basic")
	fi
	run "$seen" "${forwarded[@]}" -- "${others[@]}"
	if [ -n "$basic" ]; then
		start_server "pocl-$what-basic" tcp "POCL_WORK_GROUP_METHOD=$method" POCL_DEVICES=basic
		run "$seen" "${forwarded[@]}" -- --tests-regex "$basic"
	fi
	awk -f differences.awk pocl.differences "$expected" "$seen"
done
