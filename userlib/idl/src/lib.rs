// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From one annotated description of a C API to everything that follows from it.
//!
//! A description is Rust syntax: one `unsafe extern "C"` block whose functions
//! carry attributes that say what the C types do not: which pointer is an
//! input and how long it is, which call need not be answered, which function
//! is written by hand. [`Api::parse`] reads and checks it; [`protocol`],
//! [`client`], [`server`], [`references`], [`grammar`], [`played`], [`coverage`] and [`wire`]
//! turn it into source or text.
//!
//! # Of a type
//! `#[handle(variant = V, invalid = STATUS, release = function)]`: a kind of
//! object; without `release` one that is found, not made.
//!
//! # Of a function
//! | attribute | meaning |
//! |---|---|
//! | `since(1.2)`, `extension("…")` | what brought it |
//! | `wire` | it is no function of the API, but one that the two ends have for themselves; behind all others |
//! | `call(sync)`, `call(posted)`, `call(sync if … else posted)` | whether the caller waits for the answer |
//! | `call(local)` | answered by the client library |
//! | `call(retain)`, `call(release)` | local references; the last release is posted |
//! | `refused(STATUS)` | checked by the client, then refused, as by a device that lacks the feature |
//! | `stub(STATUS)` | not forwarded |
//! | `check(condition, STATUS)` | checked by the client, over the C parameters |
//! | `needs(path, STATUS)` | asked by the client of the object that the first handle is of |
//! | `custom(client = path, server = path)` | written by hand on that side |
//! | `custom(idle = path, …)` | of a function that returns a status: asked first whether there is nothing to do; cannot panic |
//! | `message(request(…), reply(…))` | the message, where it does not follow from the parameters |
//! | `defer(handle)` | account of the posted call's failure |
//! | `report(handle)`, `report(all)` | reports the failure of that account, or of any |
//! | `lost(STATUS)` | status if the server cannot be reached |
//! | `query(refcount = NAME, before = path, after = path, cache)` | of a query: what the client answers, edits, remembers |
//!
//! # Of a parameter
//! A handle or number needs none. `rule!(name: type => #[…] …);` gives attributes
//! to every parameter of that name and type that has none of these of its own:
//!
//! | attribute | meaning |
//! |---|---|
//! | `input(len = n)`, `input(bytes = n, when = condition)`, `input(cstr)`, `input(cstr, len = n)` | array, bytes, string or strings; with `mismatch = STATUS`, `invalid = STATUS` |
//! | `output`, `output(new)` | a number; an object that the call makes |
//! | `output(info, size = …, filled = …)` | value of a query |
//! | `output(list, max = …, count = …)` | list of objects or structures |
//! | `status` | receives the status |
//! | `callback`, `opaque` | for hand-written code |
//!
//! and further `nullable`, `optional` (a handle may be null), `append("…")` (the
//! server appends to the string), `typed_by(param, VALUE => handle, …)` (a
//! query's value is handles).

pub mod client;
pub mod coverage;
mod expand;
pub mod grammar;
mod meaning;
mod model;
mod parse;
pub mod played;
pub mod protocol;
pub mod references;
pub mod server;
pub mod wire;

pub use model::{
    Api, Call, Check, Custom, Element, Field, Function, HandleKind, Message, Param, Role, Since,
};

use std::path::Path;

use anyhow::Context;

impl Api {
    /// Reads and checks the description in `path`.
    ///
    /// # Errors
    /// With line and column, if it is not a description or contradicts itself.
    pub fn load(path: &Path) -> anyhow::Result<Api> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Api::parse(&text).map_err(|error| {
            let start = error.span().start();
            anyhow::anyhow!(
                "{}:{}:{}: {error}",
                path.display(),
                start.line,
                start.column + 1
            )
        })
    }
}

/// Formats generated tokens as a source file.
///
/// # Errors
/// If they are not a Rust file, which is a fault of the generator.
pub(crate) fn format(tokens: proc_macro2::TokenStream) -> anyhow::Result<String> {
    let file = syn::parse2(tokens).context("the generator made no valid Rust")?;
    Ok(prettyplease::unparse(&file))
}
