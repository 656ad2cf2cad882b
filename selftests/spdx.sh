#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Every file says its licence in its first lines, and the one that its place demands. TAP.
set -euo pipefail
cd "$(dirname "$0")/.."

expected() {
	case $1 in
	include/uapi/*) echo 'GPL-2.0 WITH Linux-syscall-note' ;;
	# changes of Bochs are under its licence
	selftests/testbed/patches/*) echo 'LGPL-2.1-or-later' ;;
	rust/* | Kbuild) echo 'GPL-2.0' ;;
	*) echo 'Apache-2.0 OR MIT' ;;
	esac
}

bad=0
count=0
while IFS= read -r file; do
	[ -f "$file" ] || continue
	case $file in
	# licence texts themselves; lock files are generated and have no comments of ours
	LICENSES/* | *Cargo.lock | *.proptest-regressions | */proptest-regressions/*) continue ;;
	esac
	count=$((count + 1))
	found=$(head -n 3 "$file" | sed -n 's/.*SPDX-License-Identifier: \(.*\)/\1/p' | sed 's/ *\(\*\/\|-->\)$//' | head -n 1)
	want=$(expected "$file")
	if [ "$found" != "$want" ]; then
		echo "# $file: found '${found:-nothing}', want '$want'"
		bad=$((bad + 1))
	fi
done < <(git ls-files --cached --others --exclude-standard)
echo "TAP version 13"
echo "1..1"
if [ "$bad" = 0 ] && [ "$count" -gt 0 ]; then
	echo "ok 1 - SPDX lines of $count files"
else
	echo "not ok 1 - SPDX lines: $bad of $count files are wrong"
	exit 1
fi
