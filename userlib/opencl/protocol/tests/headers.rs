// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The description and the constants against Debian's OpenCL headers.
//!
//! Needs bindgen and a C compiler (Debian: bindgen, gcc, opencl-c-headers).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use wormhole_idl::{Api, Since};

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Text without spaces, paths and trailing commas, so that two spellings of
/// one type are equal.
fn normal(text: &str) -> String {
    let mut text: String = text.split_whitespace().collect();
    for prefix in [
        "::core::option::",
        "core::option::",
        "::core::ffi::",
        "core::ffi::",
    ] {
        text = text.replace(prefix, "");
    }
    text.replace(",)", ")").replace(",>", ">")
}

/// The signature of each slot of the dispatch table, in order; `None` where
/// the header has none (Direct3D).
fn header_slots() -> Vec<(String, Option<String>)> {
    let header = scratch("icd.h");
    let text = "#define CL_TARGET_OPENCL_VERSION 300\n#include <CL/cl_icd.h>\n";
    std::fs::write(&header, text).expect("the target directory is writable");
    let bindgen = std::env::var_os("BINDGEN").unwrap_or_else(|| "bindgen".into());
    let output = Command::new(bindgen)
        .arg(&header)
        .args(["--no-layout-tests", "--no-doc-comments", "--use-core"])
        .args(["--ctypes-prefix", "core::ffi"])
        .args(["--allowlist-type", "_cl_icd_dispatch"])
        .output()
        .expect("bindgen (Debian's package bindgen)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = syn::parse_file(&String::from_utf8(output.stdout).expect("Rust is UTF-8"))
        .expect("bindgen writes Rust");
    let mut types = HashMap::new();
    let mut slots = Vec::new();
    for item in &file.items {
        match item {
            syn::Item::Type(item) => {
                let ty = &item.ty;
                types.insert(item.ident.to_string(), quote::quote!(#ty).to_string());
            }
            syn::Item::Struct(item) if item.ident == "_cl_icd_dispatch" => {
                for field in &item.fields {
                    let ty = &field.ty;
                    let name = field.ident.as_ref().expect("a named field").to_string();
                    slots.push((name, quote::quote!(#ty).to_string()));
                }
            }
            _ => {}
        }
    }
    let signature = |name: &str| types.get(name).map(|text| normal(text));
    slots
        .into_iter()
        .map(|(name, ty)| (name, signature(ty.trim())))
        .collect()
}

fn described() -> Api {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/opencl.spec.rs");
    Api::load(&path).expect("the description is good")
}

#[test]
fn every_signature_is_the_headers() {
    let slots = header_slots();
    let api = described();
    assert_eq!(slots.len(), 149);
    assert_eq!(slots.len(), api.functions.len());
    let mut compared = 0;
    for ((name, signature), function) in slots.iter().zip(&api.functions) {
        assert_eq!(*name, function.name.to_string(), "slot {}", function.slot);
        let Some(signature) = signature else {
            assert!(name.contains("D3D") || name.contains("DX9"), "{name}");
            continue;
        };
        let params = function.params.iter().map(|param| {
            let (name, ty) = (&param.name, &param.ty);
            quote::quote!(#name: #ty).to_string()
        });
        let params: Vec<_> = params.collect();
        let returns = function.returns.as_ref();
        let returns = returns.map(|ty| format!("->{}", quote::quote!(#ty)));
        let ours = format!(
            "Option<unsafe extern \"C\" fn({}){}>",
            params.join(","),
            returns.unwrap_or_default()
        );
        assert_eq!(normal(&ours), *signature, "{name}");
        compared += 1;
    }
    assert!(compared > 130, "only {compared} signatures compared");
}

#[test]
fn version_1_2_has_89_functions() {
    let api = described();
    let in_1_2 = api
        .functions
        .iter()
        .filter(|f| matches!(f.since, Since::Core(1, _)))
        .count();
    assert_eq!(in_1_2, 89);
    let working = api
        .functions
        .iter()
        .filter(|f| matches!(f.since, Since::Core(1, _)) && f.forwarded())
        .count();
    assert!(working >= 45, "{working} of them work");
}

/// Each constant as an assertion in C.
#[test]
fn every_constant_is_the_headers() {
    let source = include_str!("../src/constants.rs");
    let file = syn::parse_file(source).expect("Rust");
    let mut c = String::from(
        "#define CL_TARGET_OPENCL_VERSION 300\n#include <CL/cl.h>\n#include <CL/cl_ext.h>\n",
    );
    let mut count = 0;
    for item in &file.items {
        if let syn::Item::Const(item) = item {
            let (name, value) = (&item.ident, &item.expr);
            let value = quote::quote!(#value).to_string();
            c.push_str(&format!(
                "_Static_assert({name} == ({value}), \"{name}\");\n"
            ));
            count += 1;
        }
    }
    assert!(count > 100, "only {count} constants");
    let path = scratch("constants.c");
    std::fs::write(&path, c).expect("the target directory is writable");
    let output = Command::new("cc")
        .args(["-std=c11", "-fsyntax-only"])
        .arg(&path)
        .output()
        .expect("a C compiler");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
