# SPDX-License-Identifier: Apache-2.0 OR MIT
# What clinfo printed, without the properties that Wormhole masks or renames.
# usage: awk -f clinfo.awk MASKED OUTPUT
# MASKED has a property's name on each line, and why behind a #; HEADING/NAME is one of several under a heading, and the
# name of a heading is all of them. A line of which the first 50 columns are empty goes on with the property before it.

FNR == 1 { files++ }

files == 1 {
	sub(/[ \t]*(#.*)?$/, "")
	if ($0 != "") masked[$0]
	next
}

{
	sub(/[ \t]+$/, "")
	match($0, /^ */)
	inner = RLENGTH == 4
	if (RLENGTH < 50) {
		split(substr($0, RLENGTH + 1), parts, /   */)
		if (!inner) heading = parts[1]
		property = inner ? heading "/" parts[1] : parts[1]
	}
	if (!(property in masked) && !(inner && heading in masked)) print
}
