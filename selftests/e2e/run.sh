#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# "make run": the main job end to end; a table of all ways and the RESULT lines stand at the end.
# usage: run.sh [pocl]	with "pocl", what conformance/stage.sh laid out for it runs, too; TAP in build/run/run/out/pocl.tap
set -uo pipefail
cd "$(dirname "$0")/../.."
selftests/testbed/run.sh --name run ${1:+--add "conformance/stage-$1"} --cpus "${CPUS:-1}" --timeout 1800 -- \
	/usr/lib/wormhole/programs.sh "$@"
status=$?
for report in table results; do
	echo
	cat build/run/run/out/$report 2>/dev/null
done
exit $status
