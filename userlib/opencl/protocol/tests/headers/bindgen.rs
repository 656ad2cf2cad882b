// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What Debian's headers declare, by bindgen.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// What Direct3D's headers give to CL/cl_d3d10.h and its like, which Linux lacks.
const DIRECT3D: &str = "#define ID3D10Buffer void\n#define ID3D10Texture2D void\n\
    #define ID3D10Texture3D void\n#define ID3D11Buffer void\n#define ID3D11Texture2D void\n\
    #define ID3D11Texture3D void\n#define IDirect3DSurface9 void\n#define HANDLE void *\n\
    #define UINT cl_uint\n#define DXGI_FORMAT int\n#define D3DFORMAT int\n";

/// A place of the test's own.
pub fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A C type or signature in Rust, without spaces, paths and trailing commas, so that two spellings
/// of one are equal.
pub fn normal(tokens: impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
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

/// What one run of bindgen found.
#[derive(Default)]
pub struct Declared {
    /// Types that stand for others.
    pub aliases: HashMap<String, TokenStream>,
    /// Fields of the dispatch table in order.
    pub slots: Vec<(String, TokenStream)>,
    /// Functions that have a prototype.
    pub prototypes: HashMap<String, TokenStream>,
}

/// Runs bindgen on these headers of `CL` as a program sees them that is written for `version`, such as 120.
/// `name` is of the run.
pub fn declared(name: &str, version: u32, headers: &[&str], options: &[&str]) -> Declared {
    let directory = scratch(name);
    std::fs::create_dir_all(&directory).expect("the target directory is writable");
    for stand_in in ["d3d10.h", "d3d11.h", "d3d9.h"] {
        std::fs::write(directory.join(stand_in), "").expect("it is writable");
    }
    let header = directory.join("all.h");
    let includes = headers.iter().fold(String::new(), |text, header| {
        text + "#include <CL/" + header + ".h>\n"
    });
    let text = format!("#define CL_TARGET_OPENCL_VERSION {version}\n{DIRECT3D}{includes}");
    std::fs::write(&header, text).expect("it is writable");
    let bindgen = std::env::var_os("BINDGEN").unwrap_or_else(|| "bindgen".into());
    let output = Command::new(bindgen)
        .arg(&header)
        .args(["--no-layout-tests", "--no-doc-comments", "--use-core"])
        .args(["--ctypes-prefix", "core::ffi"])
        .args(options)
        .arg("--")
        .arg("-I")
        .arg(&directory)
        // The dispatch table has Direct3D's functions there alone.
        .args(["-D_WIN32", "-D__stdcall=", "-Wno-builtin-macro-redefined"])
        .output()
        .expect("bindgen (Debian's package bindgen)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("Rust is UTF-8");
    let file = syn::parse_file(&text).expect("bindgen writes Rust");
    let mut found = Declared::default();
    for item in &file.items {
        match item {
            syn::Item::Type(item) => {
                let name = item.ident.to_string();
                found.aliases.insert(name, item.ty.to_token_stream());
            }
            syn::Item::Struct(item) if item.ident == "_cl_icd_dispatch" => {
                for field in &item.fields {
                    let name = field.ident.as_ref().expect("a named field").to_string();
                    found.slots.push((name, field.ty.to_token_stream()));
                }
            }
            syn::Item::ForeignMod(block) => {
                for item in &block.items {
                    let syn::ForeignItem::Fn(item) = item else {
                        continue;
                    };
                    let (inputs, output) = (&item.sig.inputs, &item.sig.output);
                    let name = item.sig.ident.to_string();
                    let signature = quote::quote!(fn(#inputs) #output);
                    found.prototypes.insert(name, signature);
                }
            }
            _ => {}
        }
    }
    found
}
