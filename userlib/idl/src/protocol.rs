// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates what both ends share: function types, the dispatch table, the
//! numbers of functions, kinds of handles and the messages.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use crate::expand::{self, WireField};
use crate::model::{Api, Function};

/// Source of the shared module. It expects the C types, `Handle`, `Few`, `Wire`,
/// `Reader`, `Writer`, `Malformed` and `Request` to be in scope.
///
/// # Errors
/// If the generator made no valid Rust.
pub fn generate(api: &Api) -> anyhow::Result<String> {
    let types = api.of_table().map(function_type);
    let table = dispatch_table(api);
    let kinds = kinds(api);
    let messages = api
        .functions
        .iter()
        .filter(|function| function.travels())
        .map(message);
    let names = api.functions.iter().map(|f| f.name.to_string());
    let blocking = api.functions.iter().map(|f| f.blocking);
    let count = api.functions.len();
    let catalogue = catalogue(api);
    crate::format(quote! {
        #(#types)*
        #table
        #kinds
        /// Number of functions in the description.
        pub const FUNCTIONS: usize = #count;
        /// Name of each function, by its number.
        pub const FUNCTION_NAMES: [&str; FUNCTIONS] = [#(#names),*];
        /// Whether an answer may take long, by the function's number.
        pub const BLOCKING: [bool; FUNCTIONS] = [#(#blocking),*];
        #(#messages)*
        #catalogue
    })
}

/// The type of a pointer to the function.
fn function_type(function: &Function) -> TokenStream {
    let name = format_ident!("{}_fn", function.name);
    let params = function.params.iter().map(|param| {
        let (name, ty) = (&param.name, &param.ty);
        quote!(#name: #ty)
    });
    let returns = function.returns.as_ref().map(|ty| quote!(-> #ty));
    let doc = format!("Type of `{}`.", function.name);
    quote! {
        #[doc = #doc]
        pub type #name = unsafe extern "C" fn(#(#params),*) #returns;
    }
}

fn dispatch_table(api: &Api) -> TokenStream {
    let fields = api.of_table().map(|function| {
        let name = &function.name;
        let ty = format_ident!("{}_fn", name);
        quote!(pub #name: #ty)
    });
    quote! {
        /// The table that an ICD's objects point to (`cl_icd_dispatch` of CL/cl_icd.h).
        #[repr(C)]
        #[allow(missing_docs)]
        pub struct Dispatch { #(#fields),* }
    }
}

fn kinds(api: &Api) -> TokenStream {
    let variants = api.handles.iter().map(|handle| {
        let variant = &handle.variant;
        let doc = format!("`{}`", handle.name);
        quote!(#[doc = #doc] #variant)
    });
    let invalid = api.handles.iter().map(|handle| {
        let (variant, invalid) = (&handle.variant, &handle.invalid);
        quote!(Kind::#variant => #invalid)
    });
    let names = api.handles.iter().map(|handle| {
        let (variant, name) = (&handle.variant, handle.name.to_string());
        quote!(Kind::#variant => #name)
    });
    let all = api.handles.iter().map(|handle| {
        let variant = &handle.variant;
        quote!(Kind::#variant)
    });
    let count = api.handles.len();
    quote! {
        /// Kinds of objects.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { #(#variants),* }
        impl Kind {
            /// Every kind.
            pub const ALL: [Kind; #count] = [#(#all),*];
            /// Its C type.
            pub fn name(self) -> &'static str {
                match self { #(#names),* }
            }
            /// Status that refuses a handle that is not a live one of this kind.
            pub fn invalid(self) -> cl_int {
                match self { #(#invalid),* }
            }
        }
    }
}

fn structure(name: &syn::Ident, doc: &str, fields: &[WireField]) -> TokenStream {
    let borrows = fields
        .iter()
        .any(|field| field.ty.to_string().contains("'a"));
    let generics = borrows.then(|| quote!(<'a>));
    let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
    let types = fields.iter().map(|field| &field.ty);
    // An empty message reads and writes nothing.
    let (w, r) = match fields.is_empty() {
        true => (format_ident!("_w"), format_ident!("_r")),
        false => (format_ident!("w"), format_ident!("r")),
    };
    quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub struct #name #generics { #(pub #names: #types),* }
        impl<'a> Wire<'a> for #name #generics {
            const MIN: usize = 0;
            #[inline]
            fn put(&self, #w: &mut Writer<'a>) {
                #(self.#names.put(#w);)*
            }
            #[inline]
            fn get(#r: &mut Reader<'a>) -> Result<Self, Malformed> {
                Ok(#name { #(#names: Wire::get(#r)?),* })
            }
        }
    }
}

fn message(function: &Function) -> TokenStream {
    let request = expand::request_name(function);
    let reply = expand::reply_name(function);
    let request_fields = expand::request(function);
    let reply_fields = expand::reply(function);
    let borrows = |fields: &[WireField]| fields.iter().any(|f| f.ty.to_string().contains("'a"));
    let request_generics = borrows(&request_fields).then(|| quote!(<'a>));
    let reply_generics = borrows(&reply_fields).then(|| quote!(<'r>));
    let slot = function.slot;
    let blocking = function.blocking;
    let request_struct = structure(
        &request,
        &format!("Request of `{}`.", function.name),
        &request_fields,
    );
    let reply_struct = structure(
        &reply,
        &format!("Reply to `{}` that succeeded.", function.name),
        &reply_fields,
    );
    quote! {
        #request_struct
        #reply_struct
        impl<'a> Request<'a> for #request #request_generics {
            const FUNCTION: u16 = #slot;
            const BLOCKING: bool = #blocking;
            type Reply<'r> = #reply #reply_generics;
        }
    }
}

/// A macro over all messages, for tests that go through every one.
fn catalogue(api: &Api) -> TokenStream {
    let entries = api
        .functions
        .iter()
        .filter(|function| function.travels())
        .flat_map(|function| {
            [
                (expand::request_name(function), expand::request(function)),
                (expand::reply_name(function), expand::reply(function)),
            ]
        })
        .map(|(name, fields)| {
            let names = fields.iter().map(|field| &field.name);
            quote!(#name { #(#names),* })
        });
    quote! {
        /// Calls `$macro!` with `Name { field, … }` of every message.
        #[macro_export]
        macro_rules! for_each_message {
            ($macro:ident) => { $macro! { #(#entries)* } };
        }
    }
}
