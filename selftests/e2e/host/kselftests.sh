#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The kernel modules' own tests, on the Intel host. TAP: one stream after the other.
set -uo pipefail
. "$(dirname "$0")/pair.sh"
failed=0

note "/dev/wormhole"
kvm_modules=()
for module in irqbypass kvm kvm-intel; do
	file=$(modinfo -n $module 2>/dev/null) && [ -e "$file" ] && kvm_modules+=("$file")
done
$lib/wormhole-ioctl-test $lib/wormhole.ko "${kvm_modules[@]}" | tee /out/ioctl.tap || failed=1

note "/dev/wormhole_guest0, in two VMs"
guests() {
	load_module && start_serve && start_vm server && start_vm client || return 1
	wait_for 60 "wormholectl to pair the two VMs" paired || return 1
	vm wait server client && load_guest server && load_guest client || return 1
	vm exec server --timeout 600 -- $lib/guest-test server >/out/guest-server.tap &
	local server=$!
	vm exec client --timeout 600 -- $lib/guest-test client | tee /out/guest-client.tap || failed=1
	wait $server || failed=1
	cat /out/guest-server.tap
	vm stop client server
	kill -TERM $serve_pid
	wait $serve_pid
	rmmod wormhole
}
guests || failed=1
exit $failed
