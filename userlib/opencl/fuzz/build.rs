// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the grammar and the played vendor from the description.

use std::path::{Path, PathBuf};

use wormhole_idl::Api;

fn main() -> anyhow::Result<()> {
    let spec = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../spec/opencl.spec.rs");
    println!("cargo:rerun-if-changed={}", spec.display());
    let api = Api::load(&spec)?;
    let constants = spec.with_file_name("../protocol/src/constants.rs");
    println!("cargo:rerun-if-changed={}", constants.display());
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("grammar.rs"),
        wormhole_idl::grammar::generate(&api)?,
    )?;
    std::fs::write(out.join("played.rs"), wormhole_idl::played::generate(&api)?)?;
    std::fs::write(out.join("constants.rs"), list(&constants)?)?;
    Ok(())
}

/// Source of a list of the constants that are numbers without a sign.
fn list(constants: &Path) -> anyhow::Result<String> {
    let mut text = String::from("const CONSTANTS: &[u64] = &[");
    for item in syn::parse_file(&std::fs::read_to_string(constants)?)?.items {
        let syn::Item::Const(item) = item else {
            continue;
        };
        let name = item.ident;
        if matches!(&*item.ty, syn::Type::Path(path) if path.path.is_ident("cl_uint")) {
            text += &format!("wormhole_opencl_protocol::constants::{name} as u64,");
        }
    }
    Ok(text + "];")
}
