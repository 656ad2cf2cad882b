#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# CLBlast's tests, which compare with a BLAS on the CPU, by way of wormhole-server. In the build root.
# usage: clblast.sh [ROUTINE...]
# out: TAP, a test for each routine and precision
set -euo pipefail
cd "$(dirname "$0")"
. ./environment.sh
# Of each level of BLAS, and what CLBlast has besides: vectors, matrix and vector, matrices, batches.
[ $# -gt 0 ] || set -- xaxpy xdot xscal xamax xgemv xger xgemm xsyrk xomatcopy
logs=$conformance/clblast
rm -rf "$logs"
mkdir -p "$logs"
start_server clblast tcp

printf '%s\n' "$@" | env "${forwarded[@]}" xargs -P "$(nproc)" -I ROUTINE \
	sh -c 'timeout 900 clblast_test_ROUTINE >"$1/ROUTINE" 2>&1; echo "ended with $?" >>"$1/ROUTINE"' clblast "$logs"

awk -f clblast.awk "${@/#/$logs/}"
