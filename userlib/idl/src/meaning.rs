// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the fields of messages mean to each other and to the objects that there are.

use syn::{Expr, Ident, Type};

use crate::expand::WireField;
use crate::model::{Api, Element, Function, Role};

/// What a field is.
pub(crate) enum Meaning {
    /// A number, or bytes.
    Number,
    /// The name of a live object of a kind, or several.
    Object(Ident),
    /// The name of a live object.
    AnyObject,
    /// The name of an object that the call makes, of this kind.
    New(Ident),
    /// How long other fields are.
    LengthOf(Vec<Ident>),
    /// Text, in which no byte is 0.
    Text,
}

/// What this field of the function's request or reply is.
pub(crate) fn meaning(api: &Api, function: &Function, field: &WireField) -> Meaning {
    if let (true, Some(kind)) = (field.name == "new", &function.makes) {
        return Meaning::New(kind.clone());
    }
    let param = function.params.iter().find(|p| p.name == field.name);
    let of_param = param.and_then(|param| match &param.role {
        Role::Handle { kind, .. } => Some(Meaning::Object(kind.clone())),
        Role::New { kind } => Some(Meaning::New(kind.clone())),
        Role::Array {
            element: Element::Handle(kind),
            ..
        }
        | Role::List {
            element: Element::Handle(kind),
            ..
        } => Some(Meaning::Object(kind.clone())),
        Role::Number => Some(lengths(function, &field.name)),
        Role::Str { .. } => Some(Meaning::Text),
        Role::Opaque if is_text(&param.ty) => Some(Meaning::Text),
        _ => None,
    });
    if let Some(meaning) = of_param {
        return meaning;
    }
    if !field.ty.to_string().contains("Handle") {
        return Meaning::Number;
    }
    // Hand-written: what the parameter points to, or else what the name says.
    let pointed = param.and_then(|param| match &param.ty {
        Type::Ptr(pointer) => api.handle(&pointer.elem),
        _ => None,
    });
    let name = field.name.to_string();
    let named = || {
        let singular = name.trim_end_matches('s');
        let kinds = api.handles.iter();
        kinds.into_iter().find(|kind| {
            let variant = kind.variant.to_string();
            variant.eq_ignore_ascii_case(singular)
        })
    };
    match pointed.or_else(named) {
        Some(kind) => Meaning::Object(kind.name.clone()),
        None => Meaning::AnyObject,
    }
}

fn is_text(ty: &Type) -> bool {
    let Type::Ptr(pointer) = ty else { return false };
    matches!(&*pointer.elem, Type::Path(path) if path.path.is_ident("c_char"))
}

/// Whether, and of what, a number is the length.
fn lengths(function: &Function, name: &Ident) -> Meaning {
    let of = function.params.iter().filter(|param| match &param.role {
        Role::Array { len, .. } | Role::Bytes { len, .. } | Role::Strings { len, .. } => {
            matches!(len, Expr::Path(path) if path.path.is_ident(name))
        }
        _ => false,
    });
    let of: Vec<_> = of.map(|param| param.name.clone()).collect();
    match of.is_empty() {
        true => Meaning::Number,
        false => Meaning::LengthOf(of),
    }
}
