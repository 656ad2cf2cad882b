# SPDX-License-Identifier: Apache-2.0 OR MIT
# Sourced on the Intel host, after pair.sh: runs OpenCL programs by one way or another, and compares the ways. A way is
# what WORMHOLE_TRANSPORT can be, or native: in the server VM, without Wormhole.
# What is known of a run is in /out, as PROGRAM.WAY.*: out, verified, transport, calls, exits (its VM's), both_exits (both
# VMs'), ticks.

both_exits() {
	echo $(($(vm exits client) + $(vm exits server)))
}

# run_program PROGRAM WAY COMMAND...
run_program() {
	local files=/out/$1.$2 way=$2 vm=client before
	local environment=(--env WORMHOLE_TRANSPORT="$way" --env WORMHOLE_VSOCK=host:$port --env WORMHOLE_TCP=$server_address:$port
		--env WORMHOLE_STATS=/out/stats.json --env WORMHOLE_LOG=info)
	shift 2
	if [ "$way" = native ]; then
		vm=server
		environment=("${pocl[@]}")
	fi
	note "$vm VM, $way: $*"
	before=$(both_exits)
	vm exec $vm --timeout 600 --exits "$files.exits" --ticks "$files.ticks" "${environment[@]}" -- "$@" >"$files.out"
	echo $(($(both_exits) - before)) >"$files.both_exits"
	if [ "$way" = native ]; then
		echo native >"$files.transport"
		# Nothing counts them there.
		echo none >"$files.calls"
	else
		vm pull client /out/stats.json "$files.json"
		sed 's/.*"transport": *"\([a-z]*\)".*/\1/' "$files.json" >"$files.transport"
		sed 's/.*"calls": *\([0-9]*\).*/\1/' "$files.json" >"$files.calls"
	fi
}

# clinfo must say what it says in the server VM itself, but for what Wormhole masks or renames.
unmasked() {
	awk -f $lib/clinfo.awk $lib/clinfo.masked "/out/clinfo.$1.out"
}

# right PROGRAM WAY: what it printed
right() {
	case $1 in
	clinfo)
		unmasked native >/out/clinfo.expected
		unmasked "$2" >/out/clinfo.seen
		[ -s /out/clinfo.expected ] && diff /out/clinfo.expected /out/clinfo.seen >&2
		;;
	*) tail -n 1 "/out/$1.$2.out" | grep -q 'verified=yes$' ;;
	esac
}

# verify PROGRAM WAY TRANSPORT: that what it printed is right, and that it went by TRANSPORT
verify() {
	local files=/out/$1.$2 verified=no
	if ! right "$1" "$2"; then
		note "$1, $2: printed what is not right"
	elif [ "$(<"$files.transport")" != "$3" ]; then
		note "$1, $2: went by $(<"$files.transport"), not by $3"
	else
		verified=yes
	fi
	echo $verified >"$files.verified"
}

# difference PROGRAM LONG SHORT WAY: what PROGRAM is to be, from two runs that differ in their rounds alone
difference() {
	local files=/out/$1.$4 long=/out/$2.$4 short=/out/$3.$4 what
	for what in calls exits both_exits ticks; do
		echo $(($(<"$long.$what") - $(<"$short.$what"))) >"$files.$what"
	done
	cp "$long.transport" "$files.transport"
	# "no" sorts before "yes"
	sort "$long.verified" "$short.verified" | head -n 1 >"$files.verified"
}

# row PROGRAM WAY: PROGRAM TRANSPORT CALLS EXITS TICKS VERIFIED
row() {
	local files=/out/$1.$2
	echo "$1 $(<"$files.transport") $(<"$files.calls") $(<"$files.both_exits") $(<"$files.ticks") $(<"$files.verified")"
}

emulated() {
	cat /sys/class/dmi/id/{sys_vendor,bios_vendor,bios_version,product_name} 2>/dev/null | grep -qi bochs
}

# table: makes one of rows on its standard input; each program's begin with the native one
table() {
	if emulated; then
		echo "Figures of an EMULATED host, not of hardware. Instructions: all that the host's CPU executed, in both VMs and outside;"
		echo "idle time counts as if it worked. VM exits: of both VMs, without those for the host's own interrupts."
		[ "$(nproc)" = 1 ] || echo "With several CPUs their mean is counted: instructions compare with nothing."
	else
		echo "What stands under instructions are ticks of the host's time-stamp counter. VM exits: of both VMs."
	fi
	echo "But for vadd-steady these are whole runs, in which programs and the vendor's library start, too."
	awk '
		BEGIN {
			line = "%-12s %-7s %7s %11s %18s %10s %9s\n"
			printf line, "program", "way", "calls", "exits/call", "instructions/call", "to native", "verified"
		}
		$2 == "native" { native = $5; native_calls = $3 }
		{
			counted = $3 != "none"
			# By the call where both are counted: some ways make more rounds.
			times = counted && native_calls != "none" ? $3 / native_calls : 1
			# A difference may be less than what the timers of the VMs do meanwhile.
			if ($4 < 0) $4 = 0
			printf line, $1, $2, $3, counted ? sprintf("%.2f", $4 / $3) : "-", counted ? sprintf("%.0f", $5 / $3) : "-",
				sprintf("%.2f", $5 / times / native), $6
		}'
}
