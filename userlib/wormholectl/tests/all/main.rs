// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of `wormholectl` that need no KVM and no host module.

mod control;
mod fake_host;
mod fake_qemu;
mod pairing;
mod serve;
