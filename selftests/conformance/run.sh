#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Programs that nobody here wrote, and a stress, judge the OpenCL library on this machine.
# usage: run.sh [NAME...]	all that "make test" runs if none is given: clinfo pocl clblast clpeak tinygrad stress
# Or "pocl METHOD...", as one word.
# out: TAP
set -uo pipefail
cd "$(dirname "$0")/../.."
. selftests/testbed/message.sh
enter=selftests/testbed/enter.sh
selftests/conformance/fetch.sh || exit 1
"$enter" cargo build --manifest-path userlib/Cargo.toml --release --locked --quiet -p wormhole-server -p wormhole-opencl >&2 || exit 1
[ $# -gt 0 ] || set -- clinfo pocl clblast clpeak tinygrad stress
status=0
for name; do
	start=$SECONDS
	say "conformance: $name"
	read -ra command <<<"$name"
	if ! "$enter" "selftests/conformance/${command[0]}.sh" "${command[@]:1}"; then
		# What it printed until then may have been good.
		printf '1..1\nnot ok 1 - conformance: %s ended with an error\n' "$name"
		status=1
	fi
	say "conformance: $name: $((SECONDS - start)) s"
done
exit $status
