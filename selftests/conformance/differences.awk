# SPDX-License-Identifier: Apache-2.0 OR MIT
# Makes TAP of what tests resulted in natively and by way of wormhole-server.
# usage: awk -f differences.awk DIFFERENCES NATIVE FORWARDED
# DIFFERENCES has lines "NAME NATIVE FORWARDED REASON..."; the others "NAME RESULT". All that does not pass both ways is
# listed there, and counts as skipped. What is listed and has another result fails, or the list would be of no worth.

FNR == 1 { files++ }
/^#/ || NF == 0 { next }

files == 1 {
	listed[$1] = $2 " natively, " $3 " forwarded"
	reason = $4
	for (i = 5; i <= NF; i++) reason = reason " " $i
	why[$1] = reason
	next
}
files == 2 { native[$1] = $2; next }

{
	ran++
	seen[$1]
	result = native[$1] " natively, " $2 " forwarded"
	if (!($1 in native))
		print "not ok " ran " - " $1 ": never ran natively"
	else if ($1 in listed)
		print (listed[$1] == result ? "ok " : "not ok ") ran " - " $1 ": " result (listed[$1] == result ? " # SKIP " why[$1] : ", listed as " listed[$1])
	else
		print (native[$1] == "pass" && $2 == "pass" ? "ok " : "not ok ") ran " - " $1 ": " result
}

END {
	for (name in native)
		if (!(name in seen))
			print "not ok " ++ran " - " name ": ran natively alone"
	print "1.." ran + 0
}
