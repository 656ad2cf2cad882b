# SPDX-License-Identifier: Apache-2.0 OR MIT
# Makes TAP of what CLBlast's tests printed, each with a line "ended with STATUS" behind it: a test for each routine and
# precision. A routine that ends early fails, and so does one whose tests were all skipped for another reason than the
# precision.

# colours
{ gsub(/\033\[[0-9;]*m/, "") }
/^\* Starting tests for the/ { gsub("\x27", "", $6); routine = $6 }
/^ *[0-9]+ test\(s\) passed/ { passed = $1 }
/^ *[0-9]+ test\(s\) skipped/ { skipped = $1 }
/^ *[0-9]+ test\(s\) failed/ {
	good = $1 == 0 && passed + skipped > 0
	print (good ? "ok " : "not ok ") ++n " - " routine ": " passed " passed, " $1 " failed" (passed ? "" : " # SKIP PoCL lacks the precision")
}
/^ended with/ && $3 != 0 { print "not ok " ++n " - " routine ": ended with " $3 }
END { print "1.." n + 0 }
