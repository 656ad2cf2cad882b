// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The description and the constants against Debian's OpenCL headers.
//!
//! Needs bindgen and a C compiler (Debian: bindgen, gcc, opencl-c-headers).

mod bindgen;
mod constants;
mod signatures;

use wormhole_idl::Api;

/// The description, or one in which a text that it has is replaced once.
fn description(mistake: Option<(&str, &str)>) -> Api {
    let text = include_str!("../../../spec/opencl.spec.rs");
    let text = match mistake {
        Some((right, wrong)) => {
            assert!(text.contains(right), "the description has no {right}");
            text.replacen(right, wrong, 1)
        }
        None => text.to_owned(),
    };
    Api::parse(&text).expect("the description is good")
}
