// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the dispatcher, and what counts references, from the description.

use std::path::PathBuf;

use wormhole_idl::Api;

fn main() -> anyhow::Result<()> {
    let spec = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../spec/opencl.spec.rs");
    println!("cargo:rerun-if-changed={}", spec.display());
    let api = Api::load(&spec)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("server.rs"), wormhole_idl::server::generate(&api)?)?;
    std::fs::write(
        out.join("references.rs"),
        wormhole_idl::references::generate(&api)?,
    )?;
    Ok(())
}
