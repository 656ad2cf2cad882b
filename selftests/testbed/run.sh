#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Boots the Intel host, with build/stage/ laid over its image and the VMs', and runs one command there.
# usage: run.sh [--name NAME] [--add FOLDER] [--cpus N] [--timeout S] [--silence S] -- COMMAND [ARG...]
# The exit status is the command's; 125 if the machine, a kernel or the testbed failed. Results: build/run/NAME/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/prepare.sh"
exec "$here/enter.sh" build/target/x86_64-unknown-linux-gnu/release/testbed run "$@"
