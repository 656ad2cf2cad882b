#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Exitless calls in bare VMs, on the Intel host; whether those tests find gates that are broken on purpose; and the same
# host with other settings of KVM. TAP.
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
	echo 1..3
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
		cpl attacks_from_another_vcpu
	END
}
note "gates that are broken on purpose"
caught | tee /out/broken.tap

# without PARAMETER TEST...: these tests with that parameter of kvm_intel off
without() {
	local parameter=$1 file=/sys/module/kvm_intel/parameters/$1
	shift
	if [ "$(<"$file")" != Y ]; then
		printf '1..1\nok 1 # SKIP %s is off to begin with\n' "$parameter"
		return
	fi
	if rmmod kvm_intel && modprobe kvm_intel "$parameter=0" && [ "$(<"$file")" = N ] && load_module; then
		dmesg --clear
		$lib/wormhole-switch-test "$@" || failed=1
		echo 1..1
		if dmesg | grep -E 'WARNING:|BUG:|Oops|dump_invalid_vmcs' >&2; then
			printf 'not '
			failed=1
		fi
		printf 'ok 1 - the kernel has nothing to say with %s=0\n' "$parameter"
	else
		printf '1..1\nnot ok 1 - kvm_intel and wormhole load with %s=0\n' "$parameter"
		failed=1
	fi
	rmmod wormhole
	rmmod kvm_intel && modprobe kvm_intel
}
note "interrupts without APIC virtualization"
without enable_apicv result interrupt signal_to_user_space nmi nmis_between_calls \
	a_running_vcpu_is_notified_without_an_exit >/out/no-apicv.tap
cat /out/no-apicv.tap
note "KVM without EPT"
without ept guest_code_runs no_calls_without_ept >/out/no-ept.tap
cat /out/no-ept.tap
exit $failed
