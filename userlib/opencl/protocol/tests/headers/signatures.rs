// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every function of the description against the dispatch table and the prototypes.

use std::collections::HashSet;

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;
use syn::TypeBareFn;
use wormhole_idl::{Api, Call, Function, Since};

use crate::bindgen::{declared, normal, Declared};
use crate::description;

/// Versions of OpenCL that a program can be written for, as cl_version.h names them.
const VERSIONS: [u32; 7] = [100, 110, 120, 200, 210, 220, 300];

/// What the headers say.
struct Headers {
    table: Declared,
    /// With the version, oldest first.
    prototypes: Vec<(u32, Declared)>,
}

/// Runs bindgen for the test of this name.
fn headers(test: &str, versions: &[u32]) -> Headers {
    let all = [
        "cl",
        "cl_ext",
        "cl_gl",
        "cl_egl",
        "cl_d3d10",
        "cl_d3d11",
        "cl_dx9_media_sharing",
    ];
    let prototypes = versions.iter().map(|version| {
        let functions = ["--allowlist-function", "cl[A-Z].*"];
        let name = format!("{test}-{version}");
        (*version, declared(&name, *version, &all, &functions))
    });
    let table = ["--allowlist-type", "_cl_icd_dispatch"];
    Headers {
        table: declared(&format!("{test}-table"), 300, &["cl_icd"], &table),
        prototypes: prototypes.collect(),
    }
}

/// Names of the types that descriptions can use.
fn known_types() -> HashSet<String> {
    let source = include_str!("../../src/types.rs");
    let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.map(str::to_owned).collect()
}

/// A type of the headers in the description's terms: one that descriptions do not have is
/// replaced by what it stands for.
fn in_known_types(ty: TokenStream, from: &Declared, known: &HashSet<String>) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) => {
            let name = ident.to_string();
            match from.aliases.get(&name).filter(|_| !known.contains(&name)) {
                Some(target) => in_known_types(target.clone(), from, known),
                None => TokenTree::Ident(ident).into(),
            }
        }
        TokenTree::Group(group) => {
            let inner = in_known_types(group.stream(), from, known);
            TokenTree::Group(Group::new(group.delimiter(), inner)).into()
        }
        other => other.into(),
    };
    ty.into_iter().map(replace).collect()
}

/// The function's parameters and result.
fn signature(function: &Function) -> TokenStream {
    let params = function.params.iter().map(|param| {
        let (name, ty) = (&param.name, &param.ty);
        quote!(#name: #ty)
    });
    let returns = function.returns.as_ref().map(|ty| quote!(-> #ty));
    quote!(fn(#(#params),*) #returns)
}

/// The signature without its parameters' names, in which headers differ from each other.
fn nameless(signature: TokenStream) -> String {
    let function: TypeBareFn = syn::parse2(signature).expect("a function's type");
    let inputs = function.inputs.iter().map(|input| normal(&input.ty));
    let inputs: Vec<_> = inputs.collect();
    format!("({}){}", inputs.join(","), normal(&function.output))
}

/// Where a description differs from the headers. Also how many signatures were compared with
/// the table's, and with prototypes.
fn differences(api: &Api, headers: &Headers) -> (Vec<String>, usize, usize) {
    let known = known_types();
    let mut wrong = Vec::new();
    let (mut in_table, mut by_prototype) = (0, 0);
    let slots = &headers.table.slots;
    let described: Vec<_> = api.of_table().collect();
    if slots.len() != described.len() {
        let (theirs, ours) = (slots.len(), described.len());
        wrong.push(format!("the table has {theirs} functions, not {ours}"));
    }
    for ((name, ty), function) in slots.iter().zip(described) {
        let (slot, ours) = (function.slot, function.name.to_string());
        if *name != ours {
            wrong.push(format!("slot {slot} is {name}, not {ours}"));
            continue;
        }
        let ours = signature(function);
        let theirs = normal(in_known_types(ty.clone(), &headers.table, &known));
        let pointer = normal(quote!(Option<unsafe extern "C" #ours>));
        in_table += 1;
        if theirs != pointer {
            wrong.push(format!("slot {slot}, {name}: {theirs}, not {pointer}"));
        }
        let prototypes = || {
            let versions = headers.prototypes.iter();
            versions.filter_map(|(version, of)| Some((*version, of, of.prototypes.get(name)?)))
        };
        let ours = nameless(ours);
        for (version, of, theirs) in prototypes() {
            let theirs = nameless(in_known_types(theirs.clone(), of, &known));
            by_prototype += 1;
            if theirs != ours {
                wrong.push(format!("{version}: {name} is {theirs}, not {ours}"));
            }
        }
        if let Since::Core(major, minor) = function.since {
            let first = prototypes().next().map(|(version, ..)| version);
            let ours = major * 100 + minor * 10;
            // Not all versions may have been looked at.
            let newest = headers.prototypes.last().map(|(version, _)| *version);
            if first != Some(ours) && (first.is_some() || newest >= Some(ours)) {
                wrong.push(format!("{name} is since {first:?}, not {ours}"));
            }
        }
    }
    (wrong, in_table, by_prototype)
}

#[test]
fn every_signature_is_the_headers() {
    let (wrong, in_table, by_prototype) =
        differences(&description(None), &headers("right", &VERSIONS));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(in_table, 149);
    assert!(by_prototype > 700, "only {by_prototype} prototypes");
}

/// One mistake of each sort, each in a description that is else right.
#[test]
fn mistakes_in_signatures_are_found() {
    let headers = headers("mistakes", &[100, 110, 120]);
    let result = "clFinish(command_queue: cl_command_queue) -> cl_";
    let since = |version: &str| {
        let rest =
            "#[call(posted)]\n    #[defer(command_queue)]\n    pub fn clEnqueueMarkerWithWaitList";
        format!("#[since({version})]\n    {rest}")
    };
    for (right, mistake, found) in [
        // A parameter's type, constness, what it points to, its name,
        ("num_entries: cl_uint,", "num_entries: cl_ulong,", "clGetPlatformIDs"),
        ("arg_value: *const c_void,", "arg_value: *mut c_void,", "clSetKernelArg"),
        ("event_list: *const cl_event,", "event_list: *const cl_mem,", "clWaitForEvents"),
        ("image: cl_mem,", "picture: cl_mem,", "clGetImageInfo"),
        // a callback's, and of a function that only Direct3D's headers have,
        ("event_command_status: cl_int", "event_command_status: cl_uint", "clSetEventCallback"),
        ("subresource: cl_uint,", "subresource: cl_int,", "clCreateFromD3D10Texture2DKHR"),
        // a result, a version,
        (&format!("{result}int"), &format!("{result}mem"), "clFinish"),
        (&since("1.2"), &since("1.1"), "clEnqueueMarkerWithWaitList is since"),
        // the table's order, and its length.
        ("pub fn clEnqueueTask", "pub fn clEnqueueTusk", "is clEnqueueTask"),
        ("#[since(1.0)]\n    #[call(local)]\n    #[custom(client = crate::program::unload_compiler)]\n    pub fn clUnloadCompiler() -> cl_int;", "", "149 functions, not 148"),
    ] {
        let (wrong, ..) = differences(&description(Some((right, mistake))), &headers);
        assert!(
            wrong.iter().any(|line| line.contains(found)),
            "{mistake}: {wrong:?}"
        );
    }
}

/// None of them fails for another reason than that a device lacks what it needs.
#[test]
fn version_3_0_has_114_functions() {
    let api = description(None);
    let core = |f: &&Function| matches!(f.since, Since::Core(..));
    let core: Vec<_> = api.functions.iter().filter(core).collect();
    assert_eq!(core.len(), 114);
    let in_1_2 = core.iter().filter(|f| matches!(f.since, Since::Core(1, _)));
    assert_eq!(in_1_2.count(), 89);
    let refused = core.iter().filter(|f| matches!(f.call, Call::Refused(_)));
    let working = core.iter().filter(|f| f.forwarded());
    assert_eq!((working.count(), refused.count()), (98, 16));
}
