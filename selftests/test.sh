#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Every test, in two lanes at a time: what needs the emulated host, which keeps one core busy, and what does not. The lane
# that is done first takes from the other.
# Each step's output goes to build/test/STEP.log; the last line counts.
set -uo pipefail
cd "$(dirname "$0")/.."
. selftests/testbed/message.sh
. selftests/testbed/versions

logs=build/test
rm -rf "$logs"
mkdir -p "$logs" || die "cannot write to $PWD/build: give this directory to the user who runs make"

# Counts as one test: did the command succeed?
check() {
	local name=$1 log=$logs/$1.log start=$SECONDS
	shift
	say "$name"
	if "$@" >"$log" 2>&1 </dev/null; then
		printf '1..1\nok 1 - %s\n' "$name" >"$logs/$name.tap"
	else
		printf '1..1\nnot ok 1 - %s\n' "$name" >"$logs/$name.tap"
		tail -n 30 "$log"
	fi
	echo "$logs/$name.tap" >>"$results"
	say "$name: $((SECONDS - start)) s"
}

# Counts what the command's own harness says on its standard output; failing without a failed test is a failure too.
suite() {
	local name=$1 log=$logs/$1.log errors=$logs/$1.stderr start=$SECONDS
	shift
	say "$name"
	if ! "$@" >"$log" 2>"$errors" </dev/null; then
		grep -aqE '^not ok |^test result: FAILED' "$log" || printf '1..1\nnot ok 1 - %s ended with an error\n' "$name" >>"$log"
		# With what was said before it, which is why.
		grep -aE -B 3 '^not ok |FAILED|panicked at|^error' "$log" "$errors" | head -n 60
		tail -n 30 "$errors"
	fi
	grep -a '^skipped: ' "$errors" >>"$log"
	echo "$log" >>"$results"
	say "$name: $((SECONDS - start)) s"
}

results=$logs/results
enter=selftests/testbed/enter.sh
user=--manifest-path=userlib/Cargo.toml

suite spdx selftests/spdx.sh
suite tally selftests/tally.sh
suite messages selftests/messages.sh
selftests/testbed/prepare.sh || exit 1

# Boots of the Intel host, the longest first: SCRIPT CPUS. "run" is the main job.
boots=("kselftests 1" "faults 1" "run 1" "exitless 2" "delegate 2" "tenants 1" "delegate_faults 1")

# The main job, and tests of PoCL in its VMs.
main_job() {
	local tap=build/run/run/out/pocl.tap
	rm -f $tap
	printf '1..1\n'
	selftests/e2e/run.sh pocl >&2 || printf 'not '
	printf 'ok 1 - the main job\n'
	cat $tap || printf '1..1\nnot ok 1 - no results of PoCL in the client VM\n'
}

# Boots what nobody has begun, until there is nothing.
take_boots() {
	local boot script cpus
	for boot in "${boots[@]}"; do
		read -r script cpus <<<"$boot"
		mkdir "$logs/$script.begun" 2>/dev/null || continue
		case $script in
		run) suite run main_job ;;
		*) suite "$script" selftests/e2e/boot.sh "$script" --cpus "$cpus" --timeout 1800 ;;
		esac
	done
}

emulated_lane() {
	check modules selftests/testbed/modules.sh
	check clippy-modules env CLIPPY=1 selftests/testbed/modules.sh "${KERNEL_FLAVOURS%% *}"
	check stage selftests/stage.sh
	grep -q '^ok' "$logs/stage.tap" || return
	# Without it the main job fails, but no other.
	check stage-pocl bash -c 'selftests/conformance/fetch.sh && selftests/testbed/enter.sh selftests/conformance/stage.sh pocl'
	touch "$logs/staged"
	take_boots
}

machine_lane() {
	local crate
	check rustfmt "$enter" selftests/rustfmt.sh
	check clippy "$enter" cargo clippy $user --workspace --all-targets --locked -- -D warnings
	for crate in testbed ioctl switch gate guest delegate opencl fuzz; do
		check clippy-$crate "$enter" bash -c "cd selftests/$crate && cargo clippy --all-targets --locked -- -D warnings"
	done
	suite userlib "$enter" cargo test $user --workspace --locked --no-fail-fast
	suite conformance selftests/conformance/run.sh
	suite testbed "$enter" bash -c "cd selftests/testbed && cargo test --locked --no-fail-fast"
	suite opencl-bench "$enter" bash -c "cd selftests/opencl && cargo test --locked --no-fail-fast"
	suite gate "$enter" bash -c "cd selftests/gate && cargo test --locked --no-fail-fast"
	suite loom "$enter" selftests/loom.sh
	suite kernel-logic "$enter" selftests/kernel_logic.sh
	check checkpatch "$enter" selftests/checkpatch.sh
	# What is left of the other lane's, when it has everything to boot.
	[ ! -e "$logs/staged" ] || take_boots
}

# In a process group of its own: it would not hear an interrupt from the terminal.
set -m
emulated_lane &
emulated=$!
set +m
trap 'kill -TERM -- "-$emulated" 2>/dev/null; exit 130' INT TERM HUP
machine_lane
wait "$emulated" || echo "not ok the emulated lane ended with an error" >"$logs/lane.tap"
[ ! -e "$logs/lane.tap" ] || echo "$logs/lane.tap" >>"$results"

mapfile -t files <"$results"
awk -f selftests/tally.awk "${files[@]}"
