#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# "make run": the main job end to end; the RESULT lines stand at the end.
set -uo pipefail
cd "$(dirname "$0")/../.."
selftests/testbed/run.sh --name run --cpus "${CPUS:-1}" -- /usr/lib/wormhole/programs.sh
status=$?
echo
cat build/run/run/out/results 2>/dev/null
exit $status
