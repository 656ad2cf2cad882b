// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the client library's functions and its dispatch table.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, Type};

use crate::expand;
use crate::model::{Api, Call, Element, Function, Param, Role, Typed};

/// Source of the client's module: every function with its C signature, the
/// module `marshal` with what they do unless it is written by hand, and the
/// table `DISPATCH`.
///
/// # Errors
/// If the generator made no valid Rust.
pub fn generate(api: &Api) -> anyhow::Result<String> {
    let entries = api.of_table().map(|function| entry(api, function));
    let marshal = api
        .functions
        .iter()
        .filter(|f| f.travels() || f.refused())
        .filter(|f| f.message.is_none() && !matches!(f.call, Call::Release))
        .map(|function| marshal(api, function));
    let names = api.of_table().map(|function| &function.name);
    let releases = api.handles.iter().filter_map(|handle| {
        let release = handle.release.as_ref()?;
        let function = api.functions.iter().find(|f| f.name == *release)?;
        let message = expand::request_name(function);
        let param = &function.params.first()?.name;
        let variant = &handle.variant;
        Some(quote!(Kind::#variant => Some(#message { #param: handle }.frame())))
    });
    crate::format(quote! {
        #(#entries)*

        /// The table that every object of this library points to.
        pub static DISPATCH: Dispatch = Dispatch { #(#names),* };

        /// The request that releases an object, if its kind is ever released.
        pub(crate) fn release_request(kind: Kind, handle: Handle) -> Option<Writer<'static>> {
            match kind {
                #(#releases,)*
                _ => None,
            }
        }

        /// What a function does when it is called, with the status as an error. What is written by
        /// hand may go without.
        #[allow(dead_code)]
        pub(crate) mod marshal {
            use super::*;
            #(#marshal)*
        }
    })
}

/// Source of the drop-in library: each core function under its own name.
///
/// # Errors
/// If the generator made no valid Rust.
pub fn exports(api: &Api) -> anyhow::Result<String> {
    let functions = api
        .functions
        .iter()
        .filter(|f| matches!(f.since, crate::Since::Core(..)) && !f.is_icd_entry())
        .map(|function| {
            let name = &function.name;
            let params = params(function, |_| true);
            let args = function.params.iter().map(|param| &param.name);
            let returns = function.returns.as_ref().map(|ty| quote!(-> #ty));
            let doc = format!("`{name}` of the OpenCL specification.");
            quote! {
                #[doc = #doc]
                ///
                /// # Safety
                /// As the specification says.
                #[no_mangle]
                pub unsafe extern "C" fn #name(#params) #returns {
                    // SAFETY: the caller's promises are the same.
                    unsafe { (DISPATCH.#name)(#(#args),*) }
                }
            }
        });
    crate::format(quote!(#(#functions)*))
}

impl Function {
    /// Whether the ICD itself must export it.
    pub fn is_icd_entry(&self) -> bool {
        self.name == "clGetExtensionFunctionAddress"
    }

    fn arguments(&self) -> impl Iterator<Item = &Param> {
        self.params
            .iter()
            .filter(|param| !matches!(param.role, Role::Status))
    }
}

fn params(function: &Function, keep: impl Fn(&Param) -> bool) -> TokenStream {
    let params = function
        .params
        .iter()
        .filter(|param| keep(param))
        .map(|param| {
            let (name, ty) = (&param.name, &param.ty);
            quote!(#name: #ty)
        });
    quote!(#(#params),*)
}

/// The function with its C signature.
fn entry(api: &Api, function: &Function) -> TokenStream {
    let name = &function.name;
    let slot = function.slot;
    let args = function.arguments().map(|param| &param.name);
    let stub = matches!(function.call, Call::Stub(_));
    let work = match (&function.call, &function.custom.client) {
        (Call::Stub(status), _) => quote!(|| Err(#status)),
        // SAFETY comments of generated code stand here, once: the caller of
        // the C function makes the promises that the inner one needs.
        (_, Some(path)) => quote!(move || unsafe { #path(#(#args),*) }),
        (Call::Retain, _) | (Call::Release, _) => {
            let param = &function.params[0];
            let Role::Handle { kind, .. } = &param.role else {
                unreachable!("checked by the parser")
            };
            let variant = variant(api, kind);
            let object = &param.name;
            let action = match function.call {
                Call::Retain => quote!(retain),
                _ => quote!(release),
            };
            quote!(move || registry::#action(Kind::#variant, #object as usize))
        }
        _ => quote!(move || unsafe { marshal::#name(#(#args),*) }),
    };
    let all: Vec<_> = function.params.iter().map(|param| &param.name).collect();
    let declared = params(function, |_| true);
    let params = function.params.iter().map(|param| {
        let ty = &param.ty;
        let used = !stub || matches!(param.role, Role::Status);
        let name = match used {
            true => param.name.clone(),
            false => format_ident!("_{}", param.name),
        };
        quote!(#name: #ty)
    });
    let doc = format!("`{name}` of the OpenCL specification.");
    let (returns, body) = match &function.returns {
        None => (None, quote!(entry::nothing(#slot))),
        Some(ty) if function.returns_status() => {
            let body = match &function.custom.idle {
                // What catches panics saves registers, which this needs not.
                Some(path) => quote! {
                    if unsafe { #path(#(#all),*) } {
                        return entry::idle(#slot);
                    }
                    #[inline(never)]
                    unsafe extern "C" fn otherwise(#declared) -> #ty {
                        entry::status(#slot, #work)
                    }
                    unsafe { otherwise(#(#all),*) }
                },
                None => quote!(entry::status(#slot, #work)),
            };
            (Some(quote!(-> #ty)), body)
        }
        Some(ty) => {
            let status = match function.status_param() {
                Some(param) => quote!(#param),
                None => quote!(std::ptr::null_mut()),
            };
            (
                Some(quote!(-> #ty)),
                // SAFETY: as above; errcode_ret is null or valid.
                quote! {
                    let work = #work;
                    unsafe { entry::pointer(#slot, #status, work) }
                },
            )
        }
    };
    quote! {
        #[doc = #doc]
        ///
        /// # Safety
        /// As the specification says.
        pub unsafe extern "C" fn #name(#(#params),*) #returns {
            #body
        }
    }
}

fn variant<'a>(api: &'a Api, kind: &Ident) -> &'a Ident {
    &api.kind(kind).expect("checked by the parser").variant
}

fn wire_number(ty: &Type, value: TokenStream) -> TokenStream {
    match ty {
        Type::Path(path) if path.path.is_ident("usize") => quote!((#value) as u64),
        Type::Path(path) if path.path.is_ident("isize") => quote!((#value) as i64),
        _ => value,
    }
}

/// What the function does by default.
fn marshal(api: &Api, function: &Function) -> TokenStream {
    let name = &function.name;
    let slot = function.slot;
    let request = expand::request_name(function);
    let mut handles = Vec::new();
    let mut inputs = Vec::new();
    let mut news = Vec::new();
    let mut publish = Vec::new();
    let mut outputs = Vec::new();
    let mut fields = Vec::new();
    // The objects themselves are wanted, beside their names, by what is made from them and by
    // queries that the client answers.
    let makes = function.makes.is_some()
        || function
            .params
            .iter()
            .any(|param| matches!(param.role, Role::New { .. }));
    let parent = function.params.iter().find(|param| match &param.role {
        Role::Handle {
            kind,
            optional: false,
        } => makes && api.kind(kind).is_some_and(|kind| kind.release.is_some()),
        _ => false,
    });
    let asked = queried(function).filter(|_| {
        function.refcount.is_some() || function.before.is_some() || function.after.is_some()
    });
    let needing = queried(function).filter(|_| function.needs.is_some());
    let wanted = [parent, asked, needing]
        .into_iter()
        .flatten()
        .map(|param| &param.name);
    let wanted: Vec<_> = wanted.collect();
    let parent = match parent {
        Some(param) => {
            let object = object_of(param);
            quote!(vec![#object.clone()])
        }
        None => quote!(Vec::new()),
    };
    let mut query = None;
    for param in function.arguments() {
        let p = &param.name;
        match &param.role {
            Role::Handle { kind, optional } => {
                let local = name_of(param);
                let variant = variant(api, kind);
                handles.push(match (wanted.contains(&p), optional) {
                    (true, _) => {
                        let object = object_of(param);
                        quote! {
                            let #object = registry::get(Kind::#variant, #p as usize)?;
                            let #local = #object.handle();
                        }
                    }
                    (false, true) => quote! {
                        let #local = registry::name_optional(Kind::#variant, #p as usize)?;
                    },
                    (false, false) => quote! {
                        let #local = registry::name(Kind::#variant, #p as usize)?;
                    },
                });
                fields.push(quote!(#p: #local));
            }
            Role::Number => {
                let value = wire_number(&param.ty, quote!(#p));
                fields.push(quote!(#p: #value));
            }
            Role::Array {
                len,
                element,
                nullable,
                invalid,
                mismatch,
            } => {
                let local = format_ident!("{p}_value");
                // Handles come with their number; other arrays may be left out.
                let array = match (nullable, element) {
                    (true, Element::Handle(_)) => {
                        quote!(input::paired_array(#p, (#len) as usize, #mismatch)?)
                    }
                    (true, _) => quote!(input::optional_array(#p, (#len) as usize, #mismatch)?),
                    (false, _) => quote!(input::array(#p, (#len) as usize, #mismatch)?),
                };
                let array = match element {
                    Element::Handle(kind) => {
                        let variant = variant(api, kind);
                        let invalid = match invalid {
                            Some(status) => quote!(#status),
                            None => quote!(Kind::#variant.invalid()),
                        };
                        match nullable {
                            true => quote! {
                                #array.map(|list| input::handles(Kind::#variant, list, #invalid))
                                    .transpose()?
                            },
                            false => quote!(input::handles(Kind::#variant, #array, #invalid)?),
                        }
                    }
                    Element::Number(ty) | Element::Plain(ty) => {
                        let number = wire_number(ty, quote!(*number));
                        match nullable {
                            true => quote! {
                                #array.map(|list| list.iter().map(|number| #number).collect())
                            },
                            false => quote!(#array.iter().map(|number| #number).collect()),
                        }
                    }
                };
                // SAFETY: the caller promises that many elements, or null.
                inputs.push(quote!(let #local = unsafe { #array };));
                fields.push(quote!(#p: #local));
            }
            Role::Bytes {
                len,
                nullable,
                when,
                mismatch,
            } => {
                let local = format_ident!("{p}_value");
                let bytes = match nullable {
                    true => quote!(input::optional_bytes(#p.cast(), (#len) as usize)),
                    false => quote!(input::bytes(#p.cast(), (#len) as usize, #mismatch)?),
                };
                let bytes = match (when, nullable) {
                    (Some(when), true) => quote!(if #when { #bytes } else { None }),
                    (Some(when), false) => quote!(if #when { Some(#bytes) } else { None }),
                    (None, _) => bytes,
                };
                inputs.push(quote!(let #local = unsafe { #bytes };));
                fields.push(quote!(#p: #local));
            }
            Role::Str {
                nullable, mismatch, ..
            } => {
                let local = format_ident!("{p}_value");
                let string = match nullable {
                    true => quote!(input::optional_string(#p)),
                    false => quote!(input::string(#p, #mismatch)?),
                };
                inputs.push(quote!(let #local = unsafe { #string };));
                fields.push(quote!(#p: #local));
            }
            Role::Strings { len, mismatch } => {
                let local = format_ident!("{p}_value");
                inputs.push(quote! {
                    let #local = unsafe { input::strings(#p, (#len) as usize, #mismatch)? };
                });
                fields.push(quote!(#p: #local));
            }
            Role::New { kind } => {
                let local = format_ident!("{p}_new");
                let variant = variant(api, kind);
                news.push(quote! {
                    let #local = match #p.is_null() {
                        true => None,
                        false => Some(New::named(Kind::#variant, #parent)?),
                    };
                });
                fields.push(quote! {
                    #p: #local.as_ref().map_or(Handle::NULL, |new| new.handle())
                });
                publish.push(quote! {
                    if let Some(new) = #local {
                        unsafe { #p.write(new.publish() as _) };
                    }
                });
            }
            Role::Out { ty } => {
                outputs.push(quote! {
                    if !#p.is_null() {
                        unsafe { #p.write(reply.#p as #ty) };
                    }
                });
            }
            Role::Info {
                size,
                filled,
                typed,
            } => query = Some(self::query(api, function, p, size, filled, typed.as_ref())),
            Role::List {
                max,
                count,
                element,
            } => query = Some(list(api, p, max, count, element, &lost(function))),
            Role::Part | Role::Status | Role::Callback | Role::Opaque => {}
        }
    }
    let made = function.makes.as_ref().map(|kind| {
        let variant = variant(api, kind);
        news.push(quote!(let made = New::named(Kind::#variant, #parent)?;));
        fields.push(quote!(new: made.handle()));
        quote!(made.publish() as _)
    });
    let checks = function.checks.iter().map(|check| {
        let (condition, status) = (&check.condition, &check.status);
        quote! {
            if !(#condition) {
                return Err(#status);
            }
        }
    });
    let needs = needing.zip(function.needs.as_ref());
    let needs = needs.map(|(param, (path, status))| {
        let object = object_of(param);
        quote! {
            if !#path(&#object) {
                return Err(#status);
            }
        }
    });
    let prepared = quote! {
        #(#handles)*
        #needs
        #(#checks)*
        #(#inputs)*
    };
    let send = match (query, &function.call) {
        (_, Call::Refused(status)) => quote!(Err(#status)),
        (Some(query), _) => quote! {
            let request = #request { #(#fields),* };
            #query
        },
        (None, Call::Posted) => quote! {
            #(#news)*
            let request = #request { #(#fields),* };
            connection::post(&request)?;
            #(#publish)*
            Ok(())
        },
        (None, _) => {
            let lost = lost(function);
            let result = made.unwrap_or_else(|| quote!(()));
            let reply = match outputs.is_empty() {
                true => format_ident!("_reply"),
                false => format_ident!("reply"),
            };
            quote! {
                #(#news)*
                let request = #request { #(#fields),* };
                connection::call(&request, |#reply| { #(#outputs)* })#lost?;
                #(#publish)*
                Ok(#result)
            }
        }
    };
    let params = params(function, |param| !matches!(param.role, Role::Status));
    let result = match (&function.returns, function.returns_status()) {
        (Some(ty), false) => quote!(#ty),
        _ => quote!(()),
    };
    let doc = format!("Function number {slot}.");
    quote! {
        #[doc = #doc]
        ///
        /// # Safety
        /// As for the function.
        pub(crate) unsafe fn #name(#params) -> Result<#result, cl_int> {
            #prepared
            #send
        }
    }
}

/// The object that a call is about.
fn queried(function: &Function) -> Option<&Param> {
    function.params.iter().find(|param| param.is_object())
}

/// The variable that has the object of a handle.
fn object_of(param: &Param) -> Ident {
    format_ident!("{}_object", param.name)
}

/// The variable that has its name.
fn name_of(param: &Param) -> Ident {
    format_ident!("{}_name", param.name)
}

/// Adapts the status of a call that could not reach the server.
fn lost(function: &Function) -> TokenStream {
    match &function.lost {
        Some(status) => quote!(.map_err(|status| connection::lost_as(status, #status))),
        None => TokenStream::new(),
    }
}

fn query(
    api: &Api,
    function: &Function,
    value: &Ident,
    size: &Ident,
    filled: &Ident,
    typed: Option<&Typed>,
) -> TokenStream {
    let slot = function.slot;
    let lost = lost(function);
    let object = queried(function).map(object_of);
    let name = queried(function).map(name_of);
    let give = quote!(unsafe { query::give(&value, #size, #value, #filled) });
    let refcount = function.refcount.as_ref().map(|counted| {
        quote! {
            if param_name == #counted {
                let value = registry::references(&#object).to_ne_bytes();
                return #give;
            }
        }
    });
    let before = function.before.as_ref().map(|path| {
        quote! {
            if let Some(answer) = #path(&#object, param_name) {
                let value = answer?;
                return #give;
            }
        }
    });
    let (cached, store) = match function.cache {
        true => (
            quote! {
                if let Some(value) = query::cached(#slot, #name, param_name) {
                    return #give;
                }
            },
            quote!(query::store(#slot, #name, param_name, &value);),
        ),
        false => Default::default(),
    };
    let typed = typed.map(|typed| {
        let by = &typed.by;
        let cases = typed.cases.iter().map(|(case, kind)| {
            let variant = variant(api, kind);
            quote!(#case => registry::localise(Kind::#variant, &value)?)
        });
        quote! {
            let value = match #by {
                #(#cases,)*
                _ => value,
            };
        }
    });
    let after = function
        .after
        .as_ref()
        .map(|path| quote!(let value = #path(&#object, param_name, value);));
    quote! {
        #refcount
        #before
        #cached
        let value = connection::call(&request, |reply| reply.#value.to_vec())#lost?;
        #typed
        #after
        #store
        #give
    }
}

fn list(
    api: &Api,
    value: &Ident,
    max: &Ident,
    count: &Ident,
    element: &Element,
    lost: &TokenStream,
) -> TokenStream {
    let take = match element {
        Element::Handle(_) => quote!(reply.#value),
        Element::Number(_) | Element::Plain(_) => quote!(reply.#value.to_vec()),
    };
    let give = match element {
        Element::Handle(kind) => {
            let variant = variant(api, kind);
            quote! {
                let list = registry::locals(Kind::#variant, &list);
                unsafe { query::give_list(&list, #max, #value.cast::<usize>(), #count) }
            }
        }
        Element::Number(_) | Element::Plain(_) => {
            quote!(unsafe { query::give_plain(&list, #max, #value, #count) })
        }
    };
    quote! {
        query::check_list(#max, #value.is_null(), #count.is_null())?;
        let list = connection::call(&request, |reply| #take)#lost?;
        #give
    }
}
