// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the client's functions from the description.

use std::path::PathBuf;

use wormhole_idl::Api;

fn main() -> anyhow::Result<()> {
    let spec = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../spec/opencl.spec.rs");
    println!("cargo:rerun-if-changed={}", spec.display());
    let source = wormhole_idl::client::generate(&Api::load(&spec)?)?;
    std::fs::write(
        PathBuf::from(std::env::var("OUT_DIR")?).join("client.rs"),
        source,
    )?;
    Ok(())
}
