#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Every message that the user's page explains is one that the sources have. TAP.
set -euo pipefail
cd "$(dirname "$0")/.."
page=Documentation/opencl-user.rst
# Sources in one line each, with strings that go over several lines joined.
sources=$(cat userlib/*/src/*.rs userlib/*/src/*/*.rs userlib/opencl/*/src/*.rs | sed 's/\\$//' | tr '\n' ' ' | tr -s ' ')

bad=0
count=0
while IFS= read -r message; do
	count=$((count + 1))
	# What stands between the parts that vary.
	while IFS= read -r part; do
		part=$(sed 's/^ *//; s/ *$//' <<<"$part")
		[ ${#part} -gt 2 ] || continue
		if [[ $sources != *"$part"* ]]; then
			echo "# $page: no source says: $part"
			bad=$((bad + 1))
		fi
	done <<<"${message//…/$'\n'}"
done < <(sed -n '/^Messages$/,/^A real host$/p' "$page" | sed -n 's/^``\([^`]*\)``  *[^ ].*/\1/p')
echo "TAP version 13"
echo "1..1"
if [ "$bad" = 0 ] && [ "$count" -gt 40 ]; then
	echo "ok 1 - $count messages"
else
	echo "not ok 1 - messages: $bad of $count are none"
	exit 1
fi
