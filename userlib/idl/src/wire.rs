// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the wire document.

use std::fmt::Write;

use proc_macro2::TokenStream;
use syn::Type;

use crate::expand::{self, WireField};
use crate::meaning::{meaning, Meaning};
use crate::model::{Api, Call, Function, Role};

/// What holds for every message.
const HEAD: &str = "\
.. SPDX-License-Identifier: Apache-2.0 OR MIT
.. Made by `wormhole-idl wire`; do not edit.

================
OpenCL, the wire
================

Every transport carries the same messages, from client to server *requests* and back
*replies*, and keeps their order and borders. A request is *posted*, and never answered, or
a *call*, which gets one reply.

Values
======

======================= ======================================================
number                  little-endian, as wide as its C type; ``size_t`` and the
                        like have 8 bytes
handle                  8 bytes: the index of an object's name, then the generation
                        of that index, 4 bytes each. 0 is ``NULL``.
bytes, text             how many, 4 bytes, and they; text has no terminator
list of …               how many, 4 bytes, and that many of it
3 of …                  that many of it
data                    a byte: 0, and bytes follow; or 1, and they are in memory that
                        both ends have: from where, and how many, 8 bytes each
optional …              a byte, 0 or 1, and if that is 1 the value
kind of argument        a byte: 0 unknown, 1 memory object, 2 sampler, 3 local
                        memory, 4 a value, whose length follows in 4 bytes
argument                index, 4 bytes; size as given, 8 bytes; handle of a memory object
                        or sampler; optional bytes
======================= ======================================================

There is no padding, and a value has one encoding only. What is longer than it says, or
shorter, is malformed, and the server ends the connection.

The client chooses the names of the objects that it makes, with indices below 2\\ :sup:`31`
and generations from 1 on; an index can be used again with a higher generation once its
object is released. The server chooses those of platforms and devices, which have the
index's top bit and generation 1.

Frames
======

======================= ======================================================
request                 number of the function, 2 bytes; flags, 2 bytes; the
                        function's fields
reply                   status, 4 bytes; how many non-blocking reads were handed over
                        so far, 8 bytes; a list of those handed over with this reply:
                        the client's number of each, 8 bytes, and its bytes, none if it
                        failed; number 0, which is not counted, is what kernels
                        printed; and, if the status is 0, the function's fields. Empty
                        if the status is 0 and there is nothing else to tell
======================= ======================================================

Flag 1 of a request says that the program has one thread, so that no other request can come
before the reply. The other flags are 0.

A posted request that fails puts its status on an account, that of the object named below, unless
there is one. The call that reports the account fails with that status.

Functions
=========

Those that are not here never travel.
";

/// The document of every message, in reStructuredText.
pub fn document(api: &Api) -> String {
    let mut text = HEAD.to_owned();
    for function in api.functions.iter().filter(|function| function.travels()) {
        // Writing to a string does not fail.
        let _ = write_function(&mut text, api, function);
    }
    text
}

fn write_function(text: &mut String, api: &Api, function: &Function) -> std::fmt::Result {
    let title = format!("{} {}", function.slot, function.name);
    writeln!(text, "\n{title}\n{}\n", "-".repeat(title.len()))?;
    let travels = match &function.call {
        Call::Posted | Call::Release => "Posted.",
        Call::SyncIf(_) => "A call or posted.",
        _ => "A call.",
    };
    write!(text, "{travels}")?;
    if let Some(account) = &function.defer {
        write!(
            text,
            " If posted, it fails on the account of ``{account}``."
        )?;
    }
    for account in &function.report {
        write!(text, " Reports the account of ``{account}``.")?;
    }
    if function.report_all {
        write!(text, " Reports any account.")?;
    }
    writeln!(text)?;
    write_fields(text, api, function, "request", &expand::request(function))?;
    write_fields(text, api, function, "reply", &expand::reply(function))
}

fn write_fields(
    text: &mut String,
    api: &Api,
    function: &Function,
    title: &str,
    fields: &[WireField],
) -> std::fmt::Result {
    if fields.is_empty() {
        return Ok(());
    }
    writeln!(text)?;
    let width = fields.iter().map(|field| field.name.to_string().len());
    let width = width.max().unwrap_or(0).max(title.len());
    let rule = format!("{} {}", "=".repeat(width), "=".repeat(54));
    writeln!(text, "{rule}\n{title:width$} is\n{rule}")?;
    for field in fields {
        let what = words(&field.ty);
        let what = match meaning(api, function, field) {
            Meaning::Number => match typed(function, field) {
                Some(typed) => format!("{what}: {typed}"),
                None => what,
            },
            Meaning::Text => what.replace("bytes", "text"),
            Meaning::Object(kind) => format!("{what}, {kind}"),
            Meaning::AnyObject => format!("{what}, of any kind"),
            Meaning::New(kind) => format!("{what}, the name of a new {kind}"),
            Meaning::LengthOf(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("``{name}``")).collect();
                format!("{what}, the length of {}", names.join(" and "))
            }
        };
        writeln!(text, "{:width$} {what}", field.name.to_string())?;
    }
    writeln!(text, "{rule}")
}

/// When a query's value is handles.
fn typed(function: &Function, field: &WireField) -> Option<String> {
    let param = function.params.iter().find(|p| p.name == field.name)?;
    let Role::Info {
        typed: Some(typed), ..
    } = &param.role
    else {
        return None;
    };
    let cases = typed.cases.iter();
    let cases: Vec<_> = cases
        .map(|(value, kind)| format!("{kind} for ``{value}``"))
        .collect();
    Some(format!("handles, {}", cases.join(", ")))
}

/// A type of the wire in words.
fn words(ty: &TokenStream) -> String {
    match syn::parse2(ty.clone()) {
        Ok(ty) => words_of(&ty),
        Err(_) => ty.to_string(),
    }
}

fn words_of(ty: &Type) -> String {
    let path = match ty {
        Type::Path(path) => path,
        Type::Array(array) => {
            let len = &array.len;
            return format!("{} of {}", quote::quote!(#len), words_of(&array.elem));
        }
        // The only other one is a slice of bytes.
        _ => return "bytes".into(),
    };
    let Some(last) = path.path.segments.last() else {
        return String::new();
    };
    let inner = match &last.arguments {
        syn::PathArguments::AngleBracketed(arguments) => arguments.args.first(),
        _ => None,
    };
    let inner = match inner {
        Some(syn::GenericArgument::Type(inner)) => words_of(inner),
        _ => String::new(),
    };
    match last.ident.to_string().as_str() {
        "Vec" | "Few" => format!("list of {inner}"),
        "Option" => format!("optional {inner}"),
        "Handle" => "handle".into(),
        "ArgKind" => "kind of argument".into(),
        "Data" => "data".into(),
        "KernelArg" => "argument".into(),
        "NdRange" => "index space".into(),
        number => number.into(),
    }
}
