# SPDX-License-Identifier: Apache-2.0 OR MIT
# Adds up the results of cargo's test harness and of TAP from all logs named, and prints the line that closes "make test".
# Streams may follow each other in one log, each with its plan before its tests or behind them; their tests are numbered
# from 1. One that planned more tests than it ran counts the missing ones as failed.

function close_plan() {
	if (planned > ran) {
		printf "# %s: %d of %d planned tests never ran\n", file, planned - ran, planned
		failed += planned - ran
	}
	planned = ran = 0
}

FNR == 1 { close_plan(); file = FILENAME }

{ sub(/\r$/, "") }

/^test result: / {
	if (match($0, /[0-9]+ passed/)) passed += substr($0, RSTART, RLENGTH) + 0
	if (match($0, /[0-9]+ failed/)) failed += substr($0, RSTART, RLENGTH) + 0
	if (match($0, /[0-9]+ ignored/)) skipped += substr($0, RSTART, RLENGTH) + 0
	next
}
# Of a test of cargo's that the harness takes for passed.
/^skipped: / { passed--; skipped++; next }
/^1\.\.[0-9]+/ {
	behind = ran && !planned
	if (!behind)
		close_plan()
	planned = substr($1, 4) + 0
	if (behind)
		close_plan()
	next
}
/^(not )?ok 1 / && ran { close_plan() }
/^not ok / { ran++; failed++; printf "# %s: %s\n", file, $0; next }
/^ok .*# ?SKIP/ { ran++; skipped++; next }
/^ok / { ran++; passed++; next }

END {
	close_plan()
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
	exit failed > 0 || passed == 0
}
