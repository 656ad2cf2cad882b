// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates a table of the vendor's functions that counts the references which are taken and
//! given back through it.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, Type};

use crate::model::{Api, Function, HandleKind, Param};
use crate::server::looked_up;

/// Source of the module. It expects the C types, `Kind`, `Vendor`, and the functions `vendor`,
/// `taken`, `given_back`, to be in scope.
///
/// # Errors
/// If the generator made no valid Rust.
pub fn generate(api: &Api) -> anyhow::Result<String> {
    let functions = api.functions.iter().filter(|function| looked_up(function));
    let counting: Vec<_> = functions
        .filter_map(|function| Some((function, count(api, function)?)))
        .collect();
    let wrappers = counting.iter().map(|(f, count)| wrapper(f, count));
    let fields = counting.iter().map(|(function, _)| {
        let name = &function.name;
        let ty = format_ident!("{name}_fn");
        quote!(#name: vendor.#name.map(|_| #name as #ty))
    });
    let asks = api.functions.iter().filter_map(|function| {
        let (refcount, name) = (function.refcount.as_ref()?, &function.name);
        let crate::Role::Handle { kind, .. } = &function.params.first()?.role else {
            return None;
        };
        let variant = &api.kind(kind)?.variant;
        Some(quote! {
            Kind::#variant => {
                let ask = vendor().#name?;
                unsafe { ask(object as #kind, #refcount, size, value, std::ptr::null_mut()) }
            }
        })
    });
    crate::format(quote! {
        #(#wrappers)*

        /// The vendor's functions, of which those that take or give back references count.
        pub(super) fn counting(vendor: Vendor) -> Vendor {
            Vendor { #(#fields,)* ..vendor }
        }

        /// The vendor's own count of an object's references, if it tells.
        ///
        /// # Safety
        /// `object` is a live object of this kind.
        pub(super) unsafe fn vendors_count(kind: Kind, object: usize) -> Option<cl_uint> {
            let mut count: cl_uint = 0;
            let (size, value) = (size_of::<cl_uint>(), (&raw mut count).cast());
            let status = match kind {
                #(#asks)*
                _ => return None,
            };
            (status == CL_SUCCESS).then_some(count)
        }
    })
}

/// What a function does to the references there are, after it was called; with what comes
/// before that.
struct Count {
    before: TokenStream,
    after: TokenStream,
}

fn counted<'a>(api: &'a Api, ty: &Type) -> Option<&'a HandleKind> {
    api.handle(ty).filter(|kind| kind.release.is_some())
}

fn count(api: &Api, function: &Function) -> Option<Count> {
    let name = &function.name;
    for kind in &api.handles {
        let (variant, object) = (&kind.variant, function.params.first().map(|p| &p.name));
        if kind.release.as_ref() == Some(name) {
            return Some(Count {
                before: quote!(unsafe { given_back(Kind::#variant, #object as usize) };),
                after: TokenStream::new(),
            });
        }
        if api.retain(&kind.name) == Some(name) {
            return Some(Count {
                before: TokenStream::new(),
                after: quote!(taken(Kind::#variant, 1);),
            });
        }
    }
    let made = function.returns.as_ref().and_then(|ty| counted(api, ty));
    let made = made.map(|kind| {
        let variant = &kind.variant;
        quote!(taken(Kind::#variant, 1);)
    });
    let given = function.params.iter().enumerate();
    let given: Vec<_> = given
        .filter_map(|(at, param)| given_out(api, function, at, param))
        .collect();
    if made.is_none() && given.is_empty() {
        return None;
    }
    Some(Count {
        before: TokenStream::new(),
        after: quote!(#made #(#given)*),
    })
}

/// Objects that a function gives out by a pointer: one, or as many as the parameter behind it
/// says.
fn given_out(api: &Api, function: &Function, at: usize, param: &Param) -> Option<TokenStream> {
    let Type::Ptr(pointer) = &param.ty else {
        return None;
    };
    let kind = counted(api, &pointer.elem).filter(|_| pointer.mutability.is_some())?;
    // What is only found is not the caller's.
    if function.name.to_string().starts_with("clGet") {
        return None;
    }
    let (p, variant) = (&param.name, &kind.variant);
    let is_count = |param: &&Param| matches!(&param.ty, Type::Ptr(to) if matches!(&*to.elem, Type::Path(path) if path.path.is_ident("cl_uint")));
    let count = match function.params.get(at + 1).filter(is_count) {
        Some(count) => {
            let (count, room) = (&count.name, &function.params.get(at.checked_sub(1)?)?.name);
            quote!(if #count.is_null() { #room } else { unsafe { *#count } })
        }
        None => quote!(1),
    };
    Some(quote! {
        if !#p.is_null() {
            taken(Kind::#variant, #count);
        }
    })
}

fn wrapper(function: &Function, count: &Count) -> TokenStream {
    let name = &function.name;
    let names: Vec<&Ident> = function.params.iter().map(|param| &param.name).collect();
    let types = function.params.iter().map(|param| &param.ty);
    let returns = function.returns.as_ref().map(|ty| quote!(-> #ty));
    let succeeded = match function.returns_status() {
        true => quote!(result == CL_SUCCESS),
        false => quote!(!result.is_null()),
    };
    let Count { before, after } = count;
    quote! {
        unsafe extern "C" fn #name(#(#names: #types),*) #returns {
            #before
            // It is there: else nobody would have this one.
            let call = vendor().#name.expect("a function of the vendor's");
            let result = unsafe { call(#(#names),*) };
            if #succeeded {
                #after
            }
            result
        }
    }
}
