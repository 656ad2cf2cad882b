// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates a vendor's library that is played: it looks at everything that it is given, and
//! gives what it is told to give.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;

use crate::model::{Api, Call, Element, Function, Param, Role, Typed};
use crate::server::looked_up;

/// Source of the module: functions by the names of the vendor's, and their table. It expects
/// `Played`, `Vendor`, `Kind` and the C types to be in scope.
///
/// # Errors
/// If the generator made no valid Rust.
pub fn generate(api: &Api) -> anyhow::Result<String> {
    let functions: Vec<_> = api.functions.iter().filter(|f| looked_up(f)).collect();
    let played = functions.iter().map(|function| played(api, function));
    let fields = functions.iter().map(|function| {
        let name = &function.name;
        let ty = format_ident!("{name}_fn");
        quote!(#name: Some(#name as #ty))
    });
    crate::format(quote! {
        #(#played)*

        /// The table of all these.
        pub fn table() -> Vendor {
            Vendor { #(#fields),* }
        }
    })
}

fn variant<'a>(api: &'a Api, kind: &Ident) -> &'a Ident {
    &api.kind(kind).expect("checked by the parser").variant
}

fn played(api: &Api, function: &Function) -> TokenStream {
    let name = &function.name;
    let text = name.to_string();
    let looks = function.params.iter().map(|param| look(api, param));
    let gives = function.params.iter().map(|param| give(api, param));
    let params = function.params.iter().map(|param| {
        let (name, ty) = (&param.name, &param.ty);
        quote!(#name: #ty)
    });
    let returns = function.returns.as_ref().map(|ty| quote!(-> #ty));
    let first = function.params.first().map(|param| &param.name);
    let counts = api.handles.iter().find_map(|kind| {
        let variant = &kind.variant;
        match &function.call {
            Call::Release if kind.release.as_ref() == Some(name) => {
                Some(quote!(played.release(Kind::#variant, #first as usize);))
            }
            Call::Retain if api.retain(&kind.name) == Some(name) => {
                Some(quote!(played.retain(Kind::#variant, #first as usize);))
            }
            _ => None,
        }
    });
    // What cannot be given back has nobody left to say so to.
    let status_of = match function.call {
        Call::Release => quote!(CL_SUCCESS),
        _ => quote!(played.status()),
    };
    let status = function.status_param();
    let set_status = status.map(|status| {
        quote! {
            if !#status.is_null() {
                unsafe { #status.write(status) };
            }
        }
    });
    let result = match (&function.returns, &function.makes) {
        (Some(ty), Some(kind)) => {
            let variant = variant(api, kind);
            quote! {
                match status {
                    CL_SUCCESS => played.make(Kind::#variant) as #ty,
                    _ => std::ptr::null_mut(),
                }
            }
        }
        (Some(_), None) if function.returns_status() => quote!(status),
        (Some(_), None) => quote!(std::ptr::null_mut()),
        (None, _) => TokenStream::new(),
    };
    quote! {
        pub unsafe extern "C" fn #name(#(#params),*) #returns {
            Played::during(#text, |played| {
                #(#looks)*
                let status = #status_of;
                if status == CL_SUCCESS {
                    #counts
                    #(#gives)*
                }
                #set_status
                #result
            })
        }
    }
}

/// Looks at all that a parameter leads to.
fn look(api: &Api, param: &Param) -> TokenStream {
    let p = &param.name;
    match &param.role {
        Role::Handle { kind, optional } => {
            let variant = variant(api, kind);
            let look = quote!(played.live(Kind::#variant, #p as usize););
            match optional {
                true => quote!(if !#p.is_null() { #look }),
                false => look,
            }
        }
        Role::Array {
            len,
            element,
            nullable,
            ..
        } => {
            let handles = match element {
                Element::Handle(kind) => {
                    let variant = variant(api, kind);
                    Some(quote! {
                        for object in &list {
                            played.live(Kind::#variant, *object as usize);
                        }
                    })
                }
                _ => None,
            };
            quote! {
                let list = unsafe { played.list(#p, (#len) as usize, #nullable) };
                #handles
            }
        }
        Role::Bytes {
            len,
            nullable,
            when,
            ..
        } => {
            let look = quote! {
                unsafe { played.list(#p.cast::<u8>(), (#len) as usize, #nullable) };
            };
            match when {
                Some(when) => quote!(if #when { #look }),
                None => look,
            }
        }
        Role::Str { nullable, .. } => quote!(unsafe { played.text(#p, #nullable) };),
        _ => TokenStream::new(),
    }
}

/// Gives something through a parameter, if that is what it is for.
fn give(api: &Api, param: &Param) -> TokenStream {
    let p = &param.name;
    match &param.role {
        Role::Out { .. } => quote! {
            if !#p.is_null() {
                unsafe { played.fill(#p, 1) };
            }
        },
        Role::New { kind } => {
            let variant = variant(api, kind);
            quote! {
                if !#p.is_null() {
                    unsafe { #p.write(played.make(Kind::#variant) as #kind) };
                }
            }
        }
        Role::Info {
            size,
            filled,
            typed,
        } => {
            let info = quote!(unsafe { played.info(#size, #p, #filled) });
            let Some(Typed { by, cases }) = typed else {
                return quote!(#info;);
            };
            let cases = cases.iter().map(|(value, kind)| {
                let variant = variant(api, kind);
                quote!(#value => unsafe { played.objects(Kind::#variant, #size, #p, #filled) })
            });
            quote! {
                match #by {
                    #(#cases,)*
                    _ => #info,
                }
            }
        }
        Role::List {
            max,
            count,
            element,
        } => match element {
            Element::Handle(kind) => {
                let variant = variant(api, kind);
                quote!(unsafe { played.found(Kind::#variant, #max, #p.cast(), #count) };)
            }
            _ => quote!(unsafe { played.some(#max, #p, #count) };),
        },
        _ => TokenStream::new(),
    }
}
