// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates the server's dispatcher and the table of the vendor's functions.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, Type};

use crate::expand;
use crate::model::{Api, Call, Element, Function, Param, Role, Since, Typed};

/// Source of the server's module: `Vendor`, `dispatch`, and a function for
/// each message that is not served by hand.
///
/// # Errors
/// If the generator made no valid Rust.
pub fn generate(api: &Api) -> anyhow::Result<String> {
    let vendor = vendor(api);
    let travelling: Vec<_> = api.functions.iter().filter(|f| f.travels()).collect();
    let arms = travelling.iter().map(|function| {
        let (slot, name) = (function.slot, &function.name);
        quote!(#slot => handle::#name(s, answered, r),)
    });
    let handle = travelling.iter().map(|function| handle(function));
    let serve = travelling
        .iter()
        .filter(|function| function.custom.server.is_none() || function.message.is_none())
        .map(|function| serve(api, function));
    let releases = api.handles.iter().filter_map(|handle| {
        let (variant, release) = (&handle.variant, handle.release.as_ref()?);
        let name = &handle.name;
        Some(quote! {
            Kind::#variant => {
                if let Some(release) = self.#release {
                    // SAFETY: the caller gives up a reference that it holds.
                    unsafe { release(object as #name) };
                }
            }
        })
    });
    let retains = api.handles.iter().filter_map(|handle| {
        let (name, variant) = (&handle.name, &handle.variant);
        handle.release.as_ref()?;
        let retain = api.retain(name)?;
        Some(quote! {
            Kind::#variant => match self.#retain {
                // SAFETY: the caller promises that it is live.
                Some(retain) => unsafe { retain(object as #name) },
                None => CL_INVALID_OPERATION,
            },
        })
    });
    crate::format(quote! {
        #vendor

        impl Vendor {
            /// Adds a reference to an object, if it is of a kind that counts them.
            ///
            /// # Safety
            /// `object` is a live object of this kind.
            pub unsafe fn retain(&self, kind: Kind, object: usize) -> cl_int {
                match kind {
                    #(#retains)*
                    _ => CL_SUCCESS,
                }
            }

            /// Gives back a reference to an object.
            ///
            /// # Safety
            /// `object` is a live object of this kind and the reference is the caller's.
            pub unsafe fn release(&self, kind: Kind, object: usize) {
                match kind {
                    #(#releases)*
                    _ => {}
                }
            }
        }

        /// Serves one request: decodes it, carries it out, returns the fields of
        /// the reply or the status that refuses it.
        ///
        /// # Errors
        /// If the request is no message.
        pub fn dispatch(
            s: &mut Locked<'_>,
            function: u16,
            answered: bool,
            r: Reader<'_>,
        ) -> Result<Result<Vec<u8>, cl_int>, Malformed> {
            match function {
                #(#arms)*
                other => Err(Malformed::Function(other)),
            }
        }

        /// What [`dispatch`] does, by function. Apart, so that each one has the stack it needs.
        mod handle {
            use super::*;
            #(#handle)*
        }

        pub(crate) mod serve {
            use super::*;
            #(#serve)*
        }
    })
}

/// Whether the server looks a function up in the vendor's library.
pub(crate) fn looked_up(function: &Function) -> bool {
    matches!(function.since, Since::Core(..)) && function.forwarded()
}

fn vendor(api: &Api) -> TokenStream {
    let names: Vec<_> = api
        .functions
        .iter()
        .filter(|function| looked_up(function))
        .map(|function| &function.name)
        .collect();
    let types = names.iter().map(|name| format_ident!("{name}_fn"));
    let symbols = names.iter().map(|name| {
        let mut bytes = name.to_string().into_bytes();
        bytes.push(0);
        proc_macro2::Literal::byte_string(&bytes)
    });
    quote! {
        /// The functions of the vendor's library; `None` where it lacks one.
        #[derive(Clone, Copy, Default)]
        #[allow(missing_docs)]
        pub struct Vendor { #(pub #names: Option<#types>),* }

        impl Vendor {
            /// Looks the functions up. `symbol` gets null-terminated names.
            ///
            /// # Safety
            /// `symbol` returns null or a function that has the type of its name.
            pub unsafe fn load(mut symbol: impl FnMut(&'static [u8]) -> *const c_void) -> Self {
                Vendor {
                    // SAFETY: null is None, anything else has the right type.
                    #(#names: unsafe { std::mem::transmute(symbol(#symbols)) }),*
                }
            }
        }
    }
}

/// Decodes one function's request, serves it and keeps the accounts.
fn handle(function: &Function) -> TokenStream {
    let name = &function.name;
    let request = expand::request_name(function);
    let serve = match &function.custom.server {
        Some(path) => quote!(#path(s, m)),
        None => quote!(serve::#name(s, m)),
    };
    let accounts: Vec<_> = function.report.iter().collect();
    let report = match (function.report_all, accounts.is_empty()) {
        (true, _) => Some((None, quote!(s.accounts.take_any()))),
        (false, false) => Some((
            Some(quote!(let report = [#(m.#accounts),*];)),
            quote!(s.accounts.take_first(&report)),
        )),
        (false, true) => None,
    };
    let (before_report, after_report) = match report {
        Some((before, take)) => (
            before,
            Some(quote! {
                if answered {
                    if let Some(status) = #take {
                        return Ok(Err(status));
                    }
                }
            }),
        ),
        None => (None, None),
    };
    let defer = function
        .defer
        .as_ref()
        .map(|account| quote!(let account = m.#account;));
    let after_defer = match (&function.defer, &function.call) {
        (Some(_), _) => Some(quote! {
            if !answered {
                if let Err(status) = result {
                    s.accounts.defer(account, status);
                }
            }
        }),
        _ => None,
    };
    quote! {
        #[inline(never)]
        pub(super) fn #name(
            s: &mut Locked<'_>,
            answered: bool,
            mut r: Reader<'_>,
        ) -> Result<Result<Vec<u8>, cl_int>, Malformed> {
            let m = #request::get(&mut r)?;
            r.finish()?;
            #before_report
            #defer
            let result = refusal(#serve)?;
            #after_report
            #after_defer
            Ok(result)
        }
    }
}

fn native_number(ty: &Type, value: TokenStream) -> TokenStream {
    match ty {
        Type::Path(path) if path.path.is_ident("usize") => quote!(native_size(#value)?),
        Type::Path(path) if path.path.is_ident("isize") => quote!((#value) as isize),
        _ => value,
    }
}

fn variant<'a>(api: &'a Api, kind: &Ident) -> &'a Ident {
    &api.kind(kind).expect("checked by the parser").variant
}

/// Serves one request by the vendor's function of the same name.
fn serve(api: &Api, function: &Function) -> TokenStream {
    let name = &function.name;
    let request = expand::request_name(function);
    let reply = expand::reply_name(function);
    let borrows = expand::request(function)
        .iter()
        .any(|field| field.ty.to_string().contains("'a"));
    let generics = borrows.then(|| quote!(<'_>));
    if matches!(function.call, Call::Release) {
        let Param {
            name: param,
            role: Role::Handle { kind, .. },
            ..
        } = &function.params[0]
        else {
            unreachable!("checked by the parser")
        };
        let variant = variant(api, kind);
        return quote! {
            pub(crate) fn #name(s: &mut State, m: #request) -> Result<Vec<u8>, Refusal> {
                s.release(Kind::#variant, m.#param);
                Ok(Vec::new())
            }
        };
    }
    // Lengths are expressions over the numbers, which may follow their arrays.
    let mut numbers = Vec::new();
    let mut before = Vec::new();
    let mut after = Vec::new();
    let mut args = Vec::new();
    let mut reply_fields = Vec::new();
    let mut used = Vec::new();
    let mut answer = None;
    for param in &function.params {
        let p = &param.name;
        let ty = &param.ty;
        match &param.role {
            Role::Handle { kind, optional } => {
                let variant = variant(api, kind);
                let get = match optional {
                    true => quote!(get_optional),
                    false => quote!(get),
                };
                before.push(quote!(let #p = s.objects.#get(Kind::#variant, m.#p)? as #kind;));
                used.push(quote!(used.add(Kind::#variant, #p as usize);));
                args.push(quote!(#p));
            }
            Role::Number => {
                let value = native_number(ty, quote!(m.#p));
                numbers.push(quote!(let #p: #ty = #value;));
                args.push(quote!(#p));
            }
            Role::Array {
                len,
                element,
                nullable,
                invalid,
                ..
            } => {
                if let Element::Handle(kind) = element {
                    let variant = variant(api, kind);
                    used.push(match nullable {
                        true => {
                            quote!(used.add_all(Kind::#variant, #p.as_deref().unwrap_or_default());)
                        }
                        false => quote!(used.add_all(Kind::#variant, &#p);),
                    });
                }
                let convert = match element {
                    Element::Handle(kind) => {
                        let variant = variant(api, kind);
                        let invalid = match invalid {
                            Some(status) => quote!(#status),
                            None => quote!(Kind::#variant.invalid()),
                        };
                        quote!(s.objects.get_all(Kind::#variant, &list, #invalid)?)
                    }
                    Element::Number(number) | Element::Plain(number) => {
                        let value = native_number(number, quote!(*number));
                        quote! {
                            list.iter()
                                .map(|number| Ok(#value))
                                .collect::<Result<Few<#number>, Refusal>>()?
                        }
                    }
                };
                let checked = quote! {
                    {
                        check_len(list.len(), #len)?;
                        #convert
                    }
                };
                match nullable {
                    true => {
                        before.push(quote! {
                            let #p = match m.#p {
                                Some(list) => Some(#checked),
                                None => None,
                            };
                        });
                        args.push(quote! {
                            #p.as_ref().map_or(std::ptr::null(), |list| list.as_ptr().cast())
                        });
                    }
                    false => {
                        before.push(quote! {
                            let list = m.#p;
                            let #p = #checked;
                        });
                        args.push(quote!(#p.as_ptr().cast()));
                    }
                }
            }
            Role::Bytes {
                len,
                nullable,
                when,
                ..
            } => {
                let pointer = match ty {
                    Type::Ptr(ptr) if ptr.mutability.is_some() => quote!(.cast_mut()),
                    _ => TokenStream::new(),
                };
                if let (Some(when), false) = (when, nullable) {
                    before.push(quote! {
                        if m.#p.is_some() != (#when) {
                            return Err(Malformed::Contradiction("bytes where none belong").into());
                        }
                    });
                }
                if *nullable || when.is_some() {
                    before.push(quote! {
                        let #p = match m.#p {
                            Some(bytes) => {
                                check_len(bytes.len(), #len)?;
                                Some(Aligned::new(bytes))
                            }
                            None => None,
                        };
                    });
                    args.push(quote! {
                        #p.as_ref()
                            .map_or(std::ptr::null(), |bytes| bytes.as_ptr())
                            .cast::<c_void>()
                            #pointer
                    });
                } else {
                    before.push(quote! {
                        check_len(m.#p.len(), #len)?;
                        let #p = Aligned::new(m.#p);
                    });
                    args.push(quote!(#p.as_ptr().cast::<c_void>() #pointer));
                }
            }
            Role::Str {
                nullable, append, ..
            } => {
                let suffix = append
                    .as_ref()
                    .map_or_else(|| quote!(""), |text| quote!(#text));
                match (nullable, append.is_some()) {
                    (true, false) => {
                        before.push(quote! {
                            let #p = match m.#p {
                                Some(text) => Some(c_string(text, "")?),
                                None => None,
                            };
                        });
                        args.push(quote! {
                            #p.as_ref().map_or(std::ptr::null(), |text| text.as_ptr())
                        });
                    }
                    (nullable, _) => {
                        let text = match nullable {
                            true => quote!(m.#p.unwrap_or_default()),
                            false => quote!(m.#p),
                        };
                        before.push(quote!(let #p = c_string(#text, #suffix)?;));
                        args.push(quote!(#p.as_ptr()));
                    }
                }
            }
            Role::Strings { len, .. } => {
                // The strings stay while their pointers are used.
                let strings = format_ident!("{p}_strings");
                before.push(quote! {
                    check_len(m.#p.len(), #len)?;
                    let #strings = m.#p
                        .iter()
                        .map(|text| c_string(text, ""))
                        .collect::<Result<Vec<_>, Refusal>>()?;
                    let mut #p: Vec<_> = #strings.iter().map(|text| text.as_ptr()).collect();
                });
                args.push(quote! {
                    if #p.is_empty() { std::ptr::null_mut() } else { #p.as_mut_ptr() }
                });
            }
            Role::Out { ty } => {
                before.push(quote!(let mut #p: #ty = Default::default();));
                args.push(quote!(&mut #p));
                let number = expand::number(ty);
                reply_fields.push(quote!(#p: #p as #number));
            }
            Role::New { kind } => {
                let variant = variant(api, kind);
                before.push(quote! {
                    s.objects.vacant(m.#p)?;
                    let mut #p: #kind = std::ptr::null_mut();
                });
                args.push(quote! {
                    if m.#p.is_null() { std::ptr::null_mut() } else { &mut #p }
                });
                after.push(quote!(s.adopt(Kind::#variant, m.#p, #p as usize);));
            }
            Role::Info { typed, .. } => {
                args.push(quote!(size));
                args.push(quote!(value));
                args.push(quote!(filled));
                answer = Some(info(api, p, typed.as_ref(), &reply));
            }
            Role::List { element, .. } => {
                args.push(quote!(size));
                args.push(quote!(value));
                args.push(quote!(filled));
                answer = Some(list(api, p, element, &reply));
            }
            Role::Part => {}
            Role::Status => args.push(quote!(&mut status)),
            Role::Callback => match ty {
                Type::Ptr(_) => args.push(quote!(std::ptr::null_mut())),
                _ => args.push(quote!(None)),
            },
            Role::Opaque => unreachable!("the parser asks for a role"),
        }
    }
    let call = quote! {
        // SAFETY: handles are live, lengths agree with their arrays.
        unsafe { call(#(#args),*) }
    };
    // Other threads work for the session meanwhile, and may release what the call uses.
    let (state, hold, call) = match function.blocking {
        true => (
            quote!(Locked<'_>),
            quote! {
                let mut used = Used::default();
                #(#used)*
            },
            quote!(used.unlocked(s, || #call)),
        ),
        false => (quote!(State), TokenStream::new(), call),
    };
    let body = match (answer, &function.makes) {
        (Some(Answer { head, tail }), _) => quote! {
            let value = #head(|size, value, filled| #call)?;
            #tail
        },
        (None, Some(kind)) => {
            let variant = variant(api, kind);
            // A client that gives a name twice at once is no longer served.
            let again = function
                .blocking
                .then(|| quote!(s.objects.vacant_made(m.new)?;));
            quote! {
                s.objects.vacant_made(m.new)?;
                let mut status = CL_SUCCESS;
                let made = #call;
                check_made(status, made.is_null())?;
                #again
                #(#after)*
                s.adopt(Kind::#variant, m.new, made as usize);
                Ok(encode(&#reply { #(#reply_fields),* }))
            }
        }
        (None, None) => quote! {
            check(#call)?;
            #(#after)*
            Ok(encode(&#reply { #(#reply_fields),* }))
        },
    };
    quote! {
        pub(crate) fn #name(s: &mut #state, m: #request #generics) -> Result<Vec<u8>, Refusal> {
            let call = s.vendor.#name.ok_or(CL_INVALID_OPERATION)?;
            #(#numbers)*
            #(#before)*
            #hold
            #body
        }
    }
}

/// A call of a helper that asks the vendor twice, and what follows from it.
struct Answer {
    head: TokenStream,
    tail: TokenStream,
}

fn info(api: &Api, value: &Ident, typed: Option<&Typed>, reply: &Ident) -> Answer {
    let typed = typed.map(|typed| {
        let by = &typed.by;
        let cases = typed.cases.iter().map(|(case, kind)| {
            let variant = variant(api, kind);
            quote!(#case => s.objects.name_all(Kind::#variant, &value)?)
        });
        quote! {
            let value = match #by {
                #(#cases,)*
                _ => value,
            };
        }
    });
    Answer {
        head: quote!(query::info),
        tail: quote! {
            #typed
            Ok(encode(&#reply { #value: &value }))
        },
    }
}

fn list(api: &Api, name: &Ident, element: &Element, reply: &Ident) -> Answer {
    let tail = match element {
        Element::Handle(kind) => {
            let variant = variant(api, kind);
            quote! {
                let value = s.objects.name_found(Kind::#variant, &value)?;
                Ok(encode(&#reply { #name: value }))
            }
        }
        Element::Number(_) | Element::Plain(_) => quote!(Ok(encode(&#reply { #name: &value }))),
    };
    let head = match element {
        Element::Handle(_) => quote!(query::objects),
        Element::Number(ty) | Element::Plain(ty) => quote!(query::plain::<#ty>),
    };
    Answer { head, tail }
}
