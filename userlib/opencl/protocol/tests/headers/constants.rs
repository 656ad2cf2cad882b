// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every constant that is used here.

use std::process::Command;

use crate::bindgen::scratch;

/// Each constant as an assertion in C.
#[test]
fn every_constant_is_the_headers() {
    let source = include_str!("../../src/constants.rs");
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
