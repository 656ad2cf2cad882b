# SPDX-License-Identifier: Apache-2.0 OR MIT
# Everything is built in build/root, a Debian root of our own; see Documentation/testbed.rst.

TESTBED := selftests/testbed
ENTER   := $(TESTBED)/enter.sh

.DEFAULT_GOAL := help
.PHONY: help packages root userland modules stage run test test-slow fuzz conformance bench shell coverage wire api-check man clean distclean
# The steps share the build root and print progress: one at a time. Each uses all cores itself.
.NOTPARALLEL:

help:		## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

packages:	## install the Debian packages that the build itself needs (asks first)
	apt-get install make mmdebstrap

root:
	@$(TESTBED)/root.sh

userland: root	## build the programs and libraries, into build/target/release
	@$(ENTER) cargo build --manifest-path userlib/Cargo.toml --release --locked

modules: root	## build both kernel modules for every kernel flavour, into build/modules
	@$(TESTBED)/modules.sh

stage: root
	@selftests/stage.sh

run: stage	## the main job: two VMs on an Intel host, OpenCL programs in one on the accelerator of the other
	@selftests/e2e/run.sh

test:		## every test
	@selftests/test.sh

test-slow: stage	## what takes too long for "make test": all of PoCL's tests, and programs in the client VM
	@selftests/conformance/slow.sh

fuzz: root	## what a hostile peer can reach, fuzzed for FUZZ_SECONDS (600) each; corpora and failures in build/fuzz
	@selftests/fuzz/run.sh

conformance: root	## programs that nobody here wrote judge the OpenCL library; conformance-NAME runs one of them
	@selftests/conformance/run.sh

CONFORMANCE := clinfo pocl clblast clpeak tinygrad stress
$(CONFORMANCE:%=conformance-%): conformance-%: root
	@selftests/conformance/run.sh $*

bench: stage	## what calls cost, as ratios; also into build/bench.json
	@selftests/e2e/bench.sh

shell: stage	## a shell on the Intel host
	@$(TESTBED)/shell.sh

coverage: root	## which OpenCL functions are forwarded
	@$(ENTER) cargo run --manifest-path userlib/Cargo.toml --release --locked --quiet -p wormhole-idl -- coverage

wire: root	## every OpenCL message as it is on the wire, into build/wire.rst
	@$(ENTER) cargo run --manifest-path userlib/Cargo.toml --release --locked --quiet -p wormhole-idl -- wire >build/wire.rst

api-check: root	## the OpenCL description against the headers: every signature, version, constant
	@$(ENTER) cargo test --manifest-path userlib/Cargo.toml --locked -p wormhole-opencl-protocol --test headers

man: userland	## man pages and shell completions of wormholectl, into build/man and build/completions
	@$(ENTER) build/target/release/wormholectl generate man --out build/man
	@$(ENTER) build/target/release/wormholectl generate completions --out build/completions

clean:		## remove what was built from this tree, keep downloads and the emulator
	rm -rf --one-file-system build/target build/modules build/stage build/run build/test

distclean:	## remove everything that was built or downloaded
	rm -rf --one-file-system build
