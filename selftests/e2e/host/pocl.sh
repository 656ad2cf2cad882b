# SPDX-License-Identifier: Apache-2.0 OR MIT
# Sourced on the Intel host, after pair.sh, when the VMs are paired: PoCL's own tests in the client VM, and natively in the
# server VM. A test passes if it ends well, and in the client VM prints what it prints natively, too.

# pocl_result NAME STATUS: a line for differences.awk
pocl_result() {
	case $2 in
	0) echo "$1 pass" ;;
	77) echo "$1 skip" ;;
	*) echo "$1 fail" ;;
	esac
}

# pocl_tests TRANSPORT: leaves TAP in /out/pocl.tap
pocl_tests() {
	local here=$lib/pocl transport=$1 test name program status
	local libraries=(--env LD_LIBRARY_PATH="$here")
	mapfile -t tests < <(grep '^[^#]' "$here/pocl.vm")
	for test in "${tests[@]}"; do
		read -r name program <<<"$test"
		note "$name: natively, by $transport"
		status=0
		vm exec server --timeout 300 "${pocl[@]}" "${libraries[@]}" -- "$here/$program" >/out/pocl.expected || status=$?
		pocl_result "$name" $status >>/out/pocl.native
		status=0
		vm exec client --timeout 300 --env WORMHOLE_TRANSPORT="$transport" "${libraries[@]}" -- "$here/$program" >/out/pocl.seen || status=$?
		[ $status != 0 ] || diff /out/pocl.expected /out/pocl.seen >&2 || status=1
		pocl_result "$name" $status >>/out/pocl.forwarded
	done
	awk -f "$here/differences.awk" "$here/pocl.differences" /out/pocl.native /out/pocl.forwarded >/out/pocl.tap
}
