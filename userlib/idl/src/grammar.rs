// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the grammar of the messages, from which fuzzing makes some.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{BinOp, Expr, Ident};

use crate::expand::{self, WireField};
use crate::meaning::{meaning, Meaning};
use crate::model::{Api, Call, Function, Role};

/// Source of the module. It expects `Message`, `Field`, `Meaning`, `Sent` and `Shaped`, the types
/// of the wire and the C types to be in scope.
///
/// # Errors
/// If the generator made no valid Rust.
pub fn generate(api: &Api) -> anyhow::Result<String> {
    let travelling: Vec<_> = api.functions.iter().filter(|f| f.travels()).collect();
    let messages = travelling.iter().map(|function| message(api, function));
    let count = travelling.len();
    let arms = travelling.iter().map(|function| {
        let (slot, request) = (function.slot, expand::request_name(function));
        quote!(#slot => read::<#request>(request, reply))
    });
    crate::format(quote! {
        /// Every message.
        pub static MESSAGES: [Message; #count] = [#(#messages),*];

        /// Reads bytes as the request and as the reply of a function.
        pub fn read_as(function: u16, request: &[u8], reply: &[u8]) -> (bool, bool) {
            match function {
                #(#arms,)*
                _ => (false, false),
            }
        }
    })
}

fn message(api: &Api, function: &Function) -> TokenStream {
    let (slot, name) = (function.slot, function.name.to_string());
    let sent = match &function.call {
        Call::Release => quote!(Sent::Release),
        Call::Posted => quote!(Sent::Posted),
        Call::SyncIf(_) => quote!(Sent::Either),
        _ => quote!(Sent::Call),
    };
    let fields = |fields: Vec<WireField>| {
        let fields = fields.iter().map(|one| field(api, function, one));
        let fields: Vec<_> = fields.collect();
        quote!(&[#(#fields),*])
    };
    let request = fields(expand::request(function));
    let reply = fields(expand::reply(function));
    quote! {
        Message { function: #slot, name: #name, sent: #sent, request: #request, reply: #reply }
    }
}

fn field(api: &Api, function: &Function, field: &WireField) -> TokenStream {
    let name = field.name.to_string();
    let ty = field.ty.to_string().replace("'a", "'static");
    // It was made of tokens, of which only a lifetime is another one now.
    let ty: TokenStream = ty.parse().expect("a type");
    let variant = |kind: &Ident| api.kind(kind).map(|kind| kind.variant.clone());
    let meaning = match meaning(api, function, field) {
        Meaning::Number => quote!(Meaning::Number),
        Meaning::Text => quote!(Meaning::Text),
        Meaning::Object(kind) => {
            let variant = variant(&kind);
            quote!(Meaning::Object(Kind::#variant))
        }
        Meaning::AnyObject => quote!(Meaning::AnyObject),
        Meaning::New(kind) => {
            let variant = variant(&kind);
            quote!(Meaning::New(Kind::#variant))
        }
        Meaning::LengthOf(names) => {
            let names = names.iter().map(Ident::to_string);
            quote!(Meaning::LengthOf(&[#(#names),*]))
        }
    };
    let len = match length(function, &field.name) {
        Some(len) => quote!(Some(#len)),
        None => quote!(None),
    };
    let goes_with = match flags(function, &field.name) {
        Some((flags, mask)) => {
            let flags = flags.to_string();
            quote!(Some((#flags, #mask)))
        }
        None => quote!(None),
    };
    quote! {
        Field {
            name: #name,
            shape: <#ty as Shaped>::SHAPE,
            meaning: #meaning,
            len: #len,
            goes_with: #goes_with,
        }
    }
}

/// The field and those of its bits of which one is set exactly if bytes are there.
fn flags<'a>(function: &'a Function, name: &Ident) -> Option<(&'a Ident, &'a Expr)> {
    let param = function.params.iter().find(|param| param.name == *name)?;
    let Role::Bytes {
        when: Some(Expr::Binary(when)),
        ..
    } = &param.role
    else {
        return None;
    };
    match (&*when.left, &when.op) {
        (Expr::Binary(masked), BinOp::Ne(_)) if matches!(masked.op, BinOp::BitAnd(_)) => {
            let Expr::Path(flags) = &*masked.left else {
                return None;
            };
            Some((flags.path.get_ident()?, &masked.right))
        }
        _ => None,
    }
}

/// Length of an array or of bytes where it is always the same.
fn length<'a>(function: &'a Function, name: &Ident) -> Option<&'a Expr> {
    let param = function.params.iter().find(|param| param.name == *name)?;
    match &param.role {
        Role::Array { len, .. } | Role::Bytes { len, .. } => {
            Some(len).filter(|len| matches!(len, Expr::Lit(_) | Expr::Call(_)))
        }
        _ => None,
    }
}
