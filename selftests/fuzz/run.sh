#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Fuzzes what a hostile peer can reach, guided by coverage. What was found worth keeping stays in build/fuzz/TARGET/corpus,
# where the next run goes on; an input that something is wrong with is left beside it.
# usage: run.sh [TARGET...]	FUZZ_SECONDS (600) each
#        run.sh TARGET FILE	one input again
set -euo pipefail
cd "$(dirname "$0")/../.."
. selftests/testbed/message.sh
enter=selftests/testbed/enter.sh
all=(session messages calls ring client)

run_logged build/log/fuzz.log "fuzz targets" \
	"$enter" bash -c 'cd selftests/fuzz && cargo build --release --locked --features link --target-dir /wormhole/build/fuzz/target'

# target NAME ARGUMENT...
target() {
	"$enter" "build/fuzz/target/x86_64-unknown-linux-gnu/release/$1" "${@:2}"
}

if [ $# = 2 ] && [ -f "$2" ]; then
	file=$(realpath --relative-to=. "$2")
	[ "${file#../}" = "$file" ] || die "$2 is outside of $PWD"
	target "$1" "$file"
	exit
fi

[ $# -gt 0 ] || set -- "${all[@]}"
failed=()
for name; do
	[[ " ${all[*]} " = *" $name "* ]] || die "there is no target $name, but ${all[*]}"
	say "$name: ${FUZZ_SECONDS:=600} s"
	mkdir -p "build/fuzz/$name/corpus"
	target "$name" -max_total_time="$FUZZ_SECONDS" -timeout=60 -max_len=8192 -len_control=0 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/$name/" "build/fuzz/$name/corpus" 2>&1 | tee "build/log/fuzz-$name.log" ||
		failed+=("$name")
done
for name in "${failed[@]}"; do
	input=$(sed -n 's/.*Test unit written to //p' "build/log/fuzz-$name.log" | tail -n 1)
	say "$name: FAILED, see build/log/fuzz-$name.log; again: selftests/fuzz/run.sh $name $input"
done
[ ${#failed[@]} = 0 ]
