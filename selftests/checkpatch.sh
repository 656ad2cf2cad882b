#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The kernel's own checkpatch.pl over all that is the kernel's, in the build root.
set -euo pipefail
cd "$(dirname "$0")/.."
checkpatch=build/kdir/$(cat build/kernel/release)/scripts/checkpatch.pl
git ls-files -z 'rust/*.rs' 'rust/*.[ch]' 'include/uapi/*.h' |
	xargs -0 perl "$checkpatch" --no-tree --quiet --show-types --summary-file --file
