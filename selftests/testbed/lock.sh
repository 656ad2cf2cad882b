# SPDX-License-Identifier: Apache-2.0 OR MIT
# Sourced by the testbed's scripts, after message.sh: one process at a time makes a thing.

# lock_build BUILD THING: waits for whoever makes THING; the lock goes with this process.
lock_build() {
	mkdir -p "$1/stamps"
	exec {build_lock}>"$1/stamps/$2.lock"
	if ! flock --nonblock "$build_lock"; then
		say "$2: another process is at it, waiting"
		flock "$build_lock"
	fi
}
