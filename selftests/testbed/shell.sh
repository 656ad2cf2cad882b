#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Gives an interactive shell on the Intel host, with build/stage/ laid over its image and the VMs'.
# usage: shell.sh [--cpus N]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/prepare.sh"
exec "$here/enter.sh" build/target/x86_64-unknown-linux-gnu/release/testbed shell --name shell "$@"
