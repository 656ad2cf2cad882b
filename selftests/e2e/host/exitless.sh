#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Exitless calls in bare VMs, on the Intel host; and whether those tests find gates that are broken on purpose. TAP.
set -uo pipefail
. "$(dirname "$0")/pair.sh"
failed=0

note "exitless calls, in bare VMs"
modprobe kvm_intel
load_module || exit 1
$lib/wormhole-switch-test | tee /out/switch.tap || failed=1
rmmod wormhole

caught() {
	local number=0 flaw test
	echo 1..2
	while read -r flaw test; do
		number=$((number + 1))
		insmod "$lib/wormhole-broken-$flaw.ko" || return 1
		if $lib/wormhole-switch-test "$test" >"/out/broken-$flaw.log"; then
			printf 'not '
		fi
		printf 'ok %d - %s finds the gate broken by "%s"\n' $number "$test" "$flaw"
		rmmod wormhole
	done <<-END
		open vmfunc_to_the_server
		cpl enter_from_kernel_mode
	END
}
note "gates that are broken on purpose"
caught | tee /out/broken.tap
exit $failed
