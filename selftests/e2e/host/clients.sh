# SPDX-License-Identifier: Apache-2.0 OR MIT
# Sourced on the Intel host, after pair.sh: how many exitless calls client VMs of one server VM complete together.

clients=(client1 client2 client3 client4)
# Additions of all of them in a round
additions=4000
rounds=5
# Of each client VM's program: its process here, what it reads from and what it writes to
programs=()
inputs=()
outputs=()

# start_additions VM
start_additions() {
	local fifo=/run/additions.$1 input output
	mkfifo "$fifo.in" "$fifo.out"
	vm exec "$1" --input --timeout 1800 --env WORMHOLE_TRANSPORT=vmfunc -- \
		$lib/wormhole-opencl-bench --additions <"$fifo.in" >"$fifo.out" &
	programs+=($!)
	exec {input}>"$fifo.in" {output}<"$fifo.out"
	inputs+=("$input")
	outputs+=("$output")
	rm "$fifo.in" "$fifo.out"
}

# The last one first: it has the inputs of those before it, too.
end_additions() {
	local number input
	for ((number = ${#programs[@]} - 1; number >= 0; number--)); do
		input=${inputs[number]}
		exec {input}>&-
		wait "${programs[number]}" || return 1
	done
}

# add_together WORKING: so many client VMs, at once. Prints the ticks of the host that it takes.
add_together() {
	local working=$1 before number line
	before=$(vm ticks) || return 1
	for ((number = 0; number < working; number++)); do
		echo $((additions / working)) >&"${inputs[number]}"
	done
	for ((number = 0; number < working; number++)); do
		read -r line <&"${outputs[number]}" && [[ $line == *verified=yes ]] || return 1
	done
	echo $(($(vm ticks) - before))
}

# add_in_rounds WORKING: a row as wormhole-opencl-bench has them
add_in_rounds() {
	local working=$1 who="client VMs" round ticks=()
	[ "$working" != 1 ] || who="client VM"
	note "OpenCL, $working $who"
	# The first one warms up.
	for ((round = 0; round <= rounds; round++)); do
		ticks[round]=$(add_together "$working") || return 1
	done
	printf '%s\n' "${ticks[@]:1}" | awk -v name="vadd and clFinish, $working $who" -v additions="$additions" '
		{ values = values separator additions * 1e6 / $1; separator = "," }
		END { printf "{\"name\":\"%s\",\"unit\":\"/Mtsc\",\"values\":[%s]}\n", name, values }'
}

# The rows. All programs are there all the time, and those that do not work wait for input.
clients_together() {
	local client working
	for client in "${clients[@]}"; do
		start_additions "$client"
	done
	add_together ${#clients[@]} >/dev/null || return 1
	for working in 1 2 4; do
		add_in_rounds $working || return 1
	done
	end_additions
}
