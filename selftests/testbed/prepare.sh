#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Makes all that the testbed boots from, unless it is there: the build root, the stock kernel, its build directory with
# Rust, the emulator, the images, the testbed's programs. Two things at a time: one mostly computes, one mostly unpacks.
# usage: prepare.sh		(a second when nothing is to be done)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/message.sh"
. "$here/versions"
"$here/root.sh"
"$here/kernel.sh"

(
	"$here/bochs.sh"
	"$here/kdir.sh" "${KERNEL_FLAVOURS%% *}"
) &
compute=$!
(
	"$here/images.sh"
	"$here/programs.sh"
) &
unpack=$!
trap 'kill "$compute" "$unpack" 2>/dev/null; exit 130' INT TERM HUP
status=0
wait "$compute" || status=$?
wait "$unpack" || status=$?
exit "$status"
