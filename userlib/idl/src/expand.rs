// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the generators share: names, and the fields of a function's messages.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, Type};

use crate::model::{Element, Function, Role};

/// Name of the request's structure: `clFinish` → `ClFinish`.
pub(crate) fn request_name(function: &Function) -> Ident {
    let name = function.name.to_string();
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    Ident::new(
        &first.into_iter().chain(chars).collect::<String>(),
        function.name.span(),
    )
}

/// Name of the reply's structure.
pub(crate) fn reply_name(function: &Function) -> Ident {
    format_ident!("{}Reply", request_name(function))
}

/// A field of a message.
pub(crate) struct WireField {
    pub(crate) name: Ident,
    pub(crate) ty: TokenStream,
}

/// Type that a C number has on the wire.
pub(crate) fn number(ty: &Type) -> TokenStream {
    match ty {
        Type::Path(path) if path.path.is_ident("usize") => quote!(u64),
        Type::Path(path) if path.path.is_ident("isize") => quote!(i64),
        _ => quote!(#ty),
    }
}

fn optional(nullable: bool, ty: TokenStream) -> TokenStream {
    match nullable {
        true => quote!(Option<#ty>),
        false => ty,
    }
}

/// Fields of the request.
pub(crate) fn request(function: &Function) -> Vec<WireField> {
    if let Some(message) = &function.message {
        return message.request.iter().map(written).collect();
    }
    let mut fields = Vec::new();
    for param in &function.params {
        let ty = match &param.role {
            Role::Handle { .. } | Role::New { .. } => quote!(Handle),
            Role::Number => number(&param.ty),
            Role::Array {
                element, nullable, ..
            } => {
                let list = match element {
                    Element::Handle(_) => quote!(Vec<Handle>),
                    Element::Number(ty) | Element::Plain(ty) => {
                        let number = number(ty);
                        quote!(Few<#number>)
                    }
                };
                optional(*nullable, list)
            }
            Role::Bytes { nullable, when, .. } => {
                optional(*nullable || when.is_some(), quote!(&'a [u8]))
            }
            Role::Str { nullable, .. } => optional(*nullable, quote!(&'a [u8])),
            Role::Strings { .. } => quote!(Vec<&'a [u8]>),
            Role::Out { .. }
            | Role::Info { .. }
            | Role::List { .. }
            | Role::Part
            | Role::Status
            | Role::Callback
            | Role::Opaque => continue,
        };
        fields.push(WireField {
            name: param.name.clone(),
            ty,
        });
    }
    if function.makes.is_some() {
        fields.push(WireField {
            name: format_ident!("new"),
            ty: quote!(Handle),
        });
    }
    fields
}

/// Fields of the reply.
pub(crate) fn reply(function: &Function) -> Vec<WireField> {
    if let Some(message) = &function.message {
        return message.reply.iter().map(written).collect();
    }
    let mut fields = Vec::new();
    for param in &function.params {
        let ty = match &param.role {
            Role::Out { ty } => number(ty),
            Role::Info { .. } => quote!(&'a [u8]),
            Role::List { element, .. } => match element {
                Element::Handle(_) => quote!(Vec<Handle>),
                Element::Number(_) | Element::Plain(_) => quote!(&'a [u8]),
            },
            _ => continue,
        };
        fields.push(WireField {
            name: param.name.clone(),
            ty,
        });
    }
    fields
}

fn written(field: &crate::model::Field) -> WireField {
    let ty = &field.ty;
    WireField {
        name: field.name.clone(),
        ty: quote!(#ty),
    }
}
