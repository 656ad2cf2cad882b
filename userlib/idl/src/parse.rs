// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the text of a description to the model.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, ForeignItem, ForeignItemFn, Ident, Item, LitFloat, LitStr, Pat,
    Path, Result, ReturnType, Token, Type,
};

use crate::model::{
    Api, Call, Check, Custom, Element, Field, Function, HandleKind, Message, Param, Role, Since,
    Typed,
};

/// `rule!(name: type => #[…] …);`: attributes of every parameter of that name
/// and type whose own attributes give it no part in the call.
struct Rule {
    name: Ident,
    ty: Type,
    attrs: Vec<Attribute>,
}

impl Parse for Rule {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        let ty = input.parse()?;
        input.parse::<Token![=>]>()?;
        let attrs = input.call(Attribute::parse_outer)?;
        Ok(Rule { name, ty, attrs })
    }
}

/// `key` or `key = expression`.
struct Arg {
    key: Ident,
    value: Option<Expr>,
}

impl Parse for Arg {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.parse()?;
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Arg { key, value })
    }
}

/// Arguments of one attribute, each used once.
struct Args {
    span: Span,
    args: Vec<Arg>,
}

impl Args {
    fn of(attr: &Attribute) -> Result<Self> {
        let args = match &attr.meta {
            syn::Meta::Path(_) => Vec::new(),
            _ => attr
                .parse_args_with(Punctuated::<Arg, Token![,]>::parse_terminated)?
                .into_iter()
                .collect(),
        };
        Ok(Args {
            span: attr.span(),
            args,
        })
    }

    fn take(&mut self, key: &str) -> Option<Option<Expr>> {
        let at = self.args.iter().position(|arg| arg.key == key)?;
        Some(self.args.remove(at).value)
    }

    fn flag(&mut self, key: &str) -> bool {
        self.take(key).is_some()
    }

    fn expr(&mut self, key: &str) -> Result<Option<Expr>> {
        match self.take(key) {
            None => Ok(None),
            Some(Some(expr)) => Ok(Some(expr)),
            Some(None) => Err(Error::new(self.span, format!("`{key}` needs a value"))),
        }
    }

    fn ident(&mut self, key: &str) -> Result<Option<Ident>> {
        self.expr(key)?.map(|expr| expr_ident(&expr)).transpose()
    }

    fn path(&mut self, key: &str) -> Result<Option<Path>> {
        match self.expr(key)? {
            None => Ok(None),
            Some(Expr::Path(path)) => Ok(Some(path.path)),
            Some(other) => Err(Error::new(other.span(), "expected a path")),
        }
    }

    fn done(self) -> Result<()> {
        match self.args.first() {
            None => Ok(()),
            Some(arg) => Err(Error::new(arg.key.span(), "unknown argument")),
        }
    }
}

fn expr_ident(expr: &Expr) -> Result<Ident> {
    match expr {
        Expr::Path(path) => path.path.require_ident().cloned(),
        other => Err(Error::new(other.span(), "expected a name")),
    }
}

impl Api {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// Where it is not one, or contradicts itself.
    pub fn parse(text: &str) -> Result<Api> {
        let file = syn::parse_file(text)?;
        let mut api = Api {
            handles: Vec::new(),
            functions: Vec::new(),
        };
        let mut rules = Vec::new();
        let mut functions = Vec::new();
        for item in &file.items {
            match item {
                Item::Macro(item) if item.mac.path.is_ident("rule") => {
                    rules.push(item.mac.parse_body::<Rule>()?);
                }
                Item::ForeignMod(block) => {
                    for item in &block.items {
                        match item {
                            ForeignItem::Type(item) => {
                                api.handles.push(handle(&item.ident, &item.attrs)?)
                            }
                            ForeignItem::Fn(item) => functions.push(item),
                            other => {
                                return Err(Error::new(other.span(), "expected a type or function"))
                            }
                        }
                    }
                }
                other => return Err(Error::new(other.span(), "expected a rule or extern block")),
            }
        }
        for (slot, item) in functions.into_iter().enumerate() {
            let slot = u16::try_from(slot)
                .map_err(|_| Error::new(item.span(), "more than 65536 functions"))?;
            let function = function(&api, &rules, item, slot)?;
            if api.functions.iter().any(|f| f.name == function.name) {
                return Err(Error::new(function.name.span(), "described twice"));
            }
            api.functions.push(function);
        }
        for handle in &api.handles {
            if let Some(release) = &handle.release {
                let found = api.functions.iter().find(|f| f.name == *release);
                if !matches!(found, Some(f) if matches!(f.call, Call::Release)) {
                    return Err(Error::new(
                        release.span(),
                        "is no #[call(release)] function",
                    ));
                }
            }
        }
        Ok(api)
    }
}

fn handle(name: &Ident, attrs: &[Attribute]) -> Result<HandleKind> {
    let [attr] = attrs else {
        return Err(Error::new(name.span(), "a type needs one #[handle(…)]"));
    };
    if !attr.path().is_ident("handle") {
        return Err(Error::new(attr.span(), "expected #[handle(…)]"));
    }
    let mut args = Args::of(attr)?;
    let kind = HandleKind {
        name: name.clone(),
        variant: args
            .ident("variant")?
            .ok_or_else(|| Error::new(attr.span(), "`variant` is missing"))?,
        invalid: args
            .ident("invalid")?
            .ok_or_else(|| Error::new(attr.span(), "`invalid` is missing"))?,
        release: args.ident("release")?,
    };
    args.done()?;
    Ok(kind)
}

fn call(attr: &Attribute) -> Result<Call> {
    attr.parse_args_with(|input: ParseStream<'_>| {
        let word: Ident = input.parse()?;
        let call = match word.to_string().as_str() {
            "sync" if input.peek(Token![if]) => {
                input.parse::<Token![if]>()?;
                let condition = Expr::parse_without_eager_brace(input)?;
                input.parse::<Token![else]>()?;
                let other: Ident = input.parse()?;
                if other != "posted" {
                    return Err(Error::new(other.span(), "expected `posted`"));
                }
                Call::SyncIf(Box::new(condition))
            }
            "sync" => Call::Sync,
            "posted" => Call::Posted,
            "local" => Call::Local,
            "retain" => Call::Retain,
            "release" => Call::Release,
            _ => return Err(Error::new(word.span(), "unknown call class")),
        };
        Ok(call)
    })
}

fn since(attr: &Attribute) -> Result<Since> {
    let version: LitFloat = attr.parse_args()?;
    let text = version.base10_digits();
    let parts = text
        .split_once('.')
        .and_then(|(major, minor)| Some(Since::Core(major.parse().ok()?, minor.parse().ok()?)));
    parts.ok_or_else(|| Error::new(version.span(), "expected a version like 1.2"))
}

fn fields(input: ParseStream<'_>) -> Result<Vec<Field>> {
    let body;
    syn::parenthesized!(body in input);
    let parsed = body.parse_terminated(
        |input: ParseStream<'_>| {
            let name = input.parse()?;
            input.parse::<Token![:]>()?;
            Ok(Field {
                name,
                ty: input.parse()?,
            })
        },
        Token![,],
    )?;
    Ok(parsed.into_iter().collect())
}

fn message(attr: &Attribute) -> Result<Message> {
    attr.parse_args_with(|input: ParseStream<'_>| {
        let mut message = Message {
            request: Vec::new(),
            reply: Vec::new(),
        };
        while !input.is_empty() {
            let part: Ident = input.parse()?;
            match part.to_string().as_str() {
                "request" => message.request = fields(input)?,
                "reply" => message.reply = fields(input)?,
                _ => return Err(Error::new(part.span(), "expected `request` or `reply`")),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(message)
    })
}

fn function(api: &Api, rules: &[Rule], item: &ForeignItemFn, slot: u16) -> Result<Function> {
    let name = item.sig.ident.clone();
    let returns = match &item.sig.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some((**ty).clone()),
    };
    let makes = returns
        .as_ref()
        .and_then(|ty| api.handle(ty))
        .map(|handle| handle.name.clone());
    let mut version = None;
    let mut class = None;
    let mut function = Function {
        name: name.clone(),
        slot,
        since: Since::Core(0, 0),
        call: Call::Local,
        params: Vec::new(),
        returns,
        makes,
        checks: Vec::new(),
        needs: None,
        custom: Custom::default(),
        lost: None,
        defer: None,
        report: Vec::new(),
        report_all: false,
        refcount: None,
        before: None,
        after: None,
        cache: false,
        message: None,
        blocking: false,
    };
    for attr in &item.attrs {
        let word = attr.path().require_ident()?.to_string();
        match word.as_str() {
            "since" => version = Some(since(attr)?),
            "extension" => {
                version = Some(Since::Extension(attr.parse_args::<LitStr>()?.value()));
            }
            "wire" => {
                attr.meta.require_path_only()?;
                version = Some(Since::Wire);
            }
            "call" => class = Some(call(attr)?),
            "refused" => class = Some(Call::Refused(attr.parse_args()?)),
            "stub" => class = Some(Call::Stub(attr.parse_args()?)),
            "check" => function
                .checks
                .push(attr.parse_args_with(|input: ParseStream<'_>| {
                    let condition = input.parse()?;
                    input.parse::<Token![,]>()?;
                    Ok(Check {
                        condition,
                        status: input.parse()?,
                    })
                })?),
            "needs" => {
                function.needs = Some(attr.parse_args_with(|input: ParseStream<'_>| {
                    let path = input.parse()?;
                    input.parse::<Token![,]>()?;
                    Ok((path, input.parse()?))
                })?);
            }
            "custom" => {
                let mut args = Args::of(attr)?;
                function.custom = Custom {
                    client: args.path("client")?,
                    idle: args.path("idle")?,
                    server: args.path("server")?,
                };
                args.done()?;
            }
            "lost" => function.lost = Some(attr.parse_args()?),
            "defer" => function.defer = Some(attr.parse_args()?),
            "report" => {
                let mut args = Args::of(attr)?;
                function.report_all = args.flag("all");
                for arg in args.args {
                    function.report.push(arg.key);
                }
            }
            "query" => {
                let mut args = Args::of(attr)?;
                function.refcount = args.ident("refcount")?;
                function.before = args.path("before")?;
                function.after = args.path("after")?;
                function.cache = args.flag("cache");
                args.done()?;
            }
            "message" => function.message = Some(message(attr)?),
            "blocking" => {
                attr.meta.require_path_only()?;
                function.blocking = true;
            }
            _ => return Err(Error::new(attr.span(), "unknown attribute")),
        }
    }
    function.since =
        version.ok_or_else(|| Error::new(name.span(), "needs #[since(…)] or #[extension(…)]"))?;
    function.call = class
        .ok_or_else(|| Error::new(name.span(), "needs #[call(…)], #[refused(…)] or #[stub(…)]"))?;

    // What hand-written code alone looks at needs no words of its own.
    let lenient = matches!(
        function.call,
        Call::Refused(_) | Call::Stub(_) | Call::Local
    ) || function.message.is_some()
        || (function.custom.client.is_some() && function.custom.server.is_some());
    for input in &item.sig.inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new(input.span(), "expected a typed parameter"));
        };
        let Pat::Ident(pattern) = &*input.pat else {
            return Err(Error::new(input.pat.span(), "expected a name"));
        };
        let mut attrs: Vec<&Attribute> = input.attrs.iter().collect();
        if !attrs.iter().any(|attr| gives_role(attr)) {
            let rule = rules
                .iter()
                .find(|rule| rule.name == pattern.ident && rule.ty == *input.ty);
            attrs.extend(rule.iter().flat_map(|rule| &rule.attrs));
        }
        let role = role(api, &input.ty, &attrs)?;
        function.params.push(Param {
            name: pattern.ident.clone(),
            ty: (*input.ty).clone(),
            role,
        });
    }
    parts(&mut function)?;
    let opaque = |param: &&Param| matches!(param.role, Role::Opaque);
    if let (false, Some(param)) = (lenient, function.params.iter().find(opaque)) {
        return Err(Error::new(
            param.name.span(),
            "a pointer needs #[input(…)], #[output(…)] or a rule",
        ));
    }
    consistent(&function)?;
    Ok(function)
}

/// Marks the parameters that an `Info` or `List` speaks for.
fn parts(function: &mut Function) -> Result<()> {
    let mut spoken = Vec::new();
    for param in &function.params {
        match &param.role {
            Role::Info { size, filled, .. } => spoken.extend([size.clone(), filled.clone()]),
            Role::List { max, count, .. } => spoken.extend([max.clone(), count.clone()]),
            _ => {}
        }
    }
    for name in spoken {
        match function.params.iter_mut().find(|param| param.name == name) {
            Some(param) => param.role = Role::Part,
            None => return Err(Error::new(name.span(), "is no parameter")),
        }
    }
    Ok(())
}

fn consistent(function: &Function) -> Result<()> {
    let handle = |name: &Ident| {
        let mut params = function.params.iter();
        match params.any(|param| param.name == *name && param.is_object()) {
            true => Ok(()),
            false => Err(Error::new(name.span(), "is no handle parameter")),
        }
    };
    function.report.iter().try_for_each(handle)?;
    if let (Some((path, _)), false) = (
        &function.needs,
        function.params.iter().any(Param::is_object),
    ) {
        return Err(Error::new(path.span(), "there is no object to ask of"));
    }
    if function.message.is_none() {
        function.defer.iter().try_for_each(handle)?;
    }
    match &function.call {
        Call::Posted | Call::SyncIf(_) if function.defer.is_none() => {
            return Err(Error::new(
                function.name.span(),
                "a posted call needs #[defer(handle)] to report its failure",
            ));
        }
        Call::Retain | Call::Release
            if !matches!(
                function.params.as_slice(),
                [Param {
                    role: Role::Handle { .. },
                    ..
                }]
            ) =>
        {
            return Err(Error::new(
                function.name.span(),
                "retain and release take one handle",
            ));
        }
        Call::Local if function.custom.client.is_none() => {
            return Err(Error::new(
                function.name.span(),
                "a local call needs #[custom(client = …)]",
            ));
        }
        _ => {}
    }
    let by_hand = function.custom.client.is_some() && function.returns_status();
    if function.custom.idle.is_some() && !by_hand {
        return Err(Error::new(
            function.name.span(),
            "idle is a function by hand that returns a status",
        ));
    }
    // One of the wire alone is no function of the client's.
    let client = function.custom.client.is_some() || function.since == Since::Wire;
    if function.message.is_some() && !(client && function.custom.server.is_some()) {
        return Err(Error::new(
            function.name.span(),
            "#[message] needs both sides by hand",
        ));
    }
    if matches!(function.call, Call::Posted) && function.makes.is_some() {
        return Err(Error::new(
            function.name.span(),
            "a function that returns an object is not posted",
        ));
    }
    if matches!(function.call, Call::Posted)
        && function.params.iter().any(|p| {
            matches!(
                p.role,
                Role::Out { .. } | Role::Info { .. } | Role::List { .. }
            )
        })
    {
        return Err(Error::new(
            function.name.span(),
            "a posted call has no output",
        ));
    }
    Ok(())
}

fn pointee(ty: &Type) -> Option<(&Type, bool)> {
    match ty {
        Type::Ptr(pointer) => Some((&pointer.elem, pointer.mutability.is_some())),
        _ => None,
    }
}

fn element(api: &Api, ty: &Type) -> Element {
    if api.handle(ty).is_some() {
        let Type::Path(path) = ty else {
            unreachable!("a handle's type is a path")
        };
        let kind = path.path.get_ident().expect("a handle's type is a name");
        return Element::Handle(kind.clone());
    }
    Element::Number(ty.clone())
}

/// Whether the attribute says what part a parameter has in the call.
fn gives_role(attr: &Attribute) -> bool {
    ["input", "output", "status", "callback", "opaque"]
        .iter()
        .any(|word| attr.path().is_ident(word))
}

fn role(api: &Api, ty: &Type, attrs: &[&Attribute]) -> Result<Role> {
    let default_mismatch = || Ident::new("CL_INVALID_VALUE", Span::call_site());
    let mut nullable = false;
    let mut optional = false;
    let mut append = None;
    let mut typed = None;
    let mut main = None;
    for attr in attrs.iter().copied() {
        let word = attr.path().require_ident()?.to_string();
        match word.as_str() {
            "nullable" => nullable = true,
            "optional" => optional = true,
            "append" => append = Some(attr.parse_args::<LitStr>()?),
            "typed_by" => typed = Some(typed_by(attr)?),
            _ if gives_role(attr) => {
                if main.replace(attr).is_some() {
                    return Err(Error::new(attr.span(), "the parameter has a role already"));
                }
            }
            _ => return Err(Error::new(attr.span(), "unknown attribute")),
        }
    }
    let Some(attr) = main else {
        if let Some(handle) = api.handle(ty) {
            return Ok(Role::Handle {
                kind: handle.name.clone(),
                optional,
            });
        }
        return match ty {
            Type::Path(path) if !path.path.segments.iter().any(|s| s.ident == "Option") => {
                Ok(Role::Number)
            }
            _ => Ok(Role::Opaque),
        };
    };
    let mut args = Args::of(attr)?;
    let role = match attr.path().require_ident()?.to_string().as_str() {
        "status" => Role::Status,
        "callback" => Role::Callback,
        "opaque" => Role::Opaque,
        "input" => {
            // Some inputs are `*mut` in C, such as clCreateBuffer's host_ptr.
            let Some((target, _)) = pointee(ty) else {
                return Err(Error::new(attr.span(), "an input is a pointer"));
            };
            let mismatch = args.ident("mismatch")?.unwrap_or_else(default_mismatch);
            if args.flag("cstr") {
                match args.expr("len")? {
                    Some(len) => Role::Strings { len, mismatch },
                    None => Role::Str {
                        nullable,
                        append,
                        mismatch,
                    },
                }
            } else if let Some(len) = args.expr("len")? {
                Role::Array {
                    len,
                    element: element(api, target),
                    nullable,
                    invalid: args.ident("invalid")?,
                    mismatch,
                }
            } else if let Some(len) = args.expr("bytes")? {
                Role::Bytes {
                    len,
                    nullable,
                    when: args.expr("when")?,
                    mismatch,
                }
            } else {
                return Err(Error::new(
                    attr.span(),
                    "an input needs `len`, `bytes` or `cstr`",
                ));
            }
        }
        _ => {
            let Some((target, true)) = pointee(ty) else {
                return Err(Error::new(attr.span(), "an output is a `*mut` pointer"));
            };
            let missing = |key| Error::new(attr.span(), format!("`{key}` is missing"));
            if args.flag("new") {
                let Element::Handle(kind) = element(api, target) else {
                    return Err(Error::new(attr.span(), "`new` needs a pointer to a handle"));
                };
                Role::New { kind }
            } else if args.flag("info") {
                Role::Info {
                    size: args.ident("size")?.ok_or_else(|| missing("size"))?,
                    filled: args.ident("filled")?.ok_or_else(|| missing("filled"))?,
                    typed,
                }
            } else if args.flag("list") {
                Role::List {
                    max: args.ident("max")?.ok_or_else(|| missing("max"))?,
                    count: args.ident("count")?.ok_or_else(|| missing("count"))?,
                    element: match element(api, target) {
                        Element::Number(ty) => Element::Plain(ty),
                        other => other,
                    },
                }
            } else {
                Role::Out { ty: target.clone() }
            }
        }
    };
    args.done()?;
    Ok(role)
}

fn typed_by(attr: &Attribute) -> Result<Typed> {
    attr.parse_args_with(|input: ParseStream<'_>| {
        let by = input.parse()?;
        let mut cases = Vec::new();
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let value = input.parse()?;
            input.parse::<Token![=>]>()?;
            cases.push((value, input.parse()?));
        }
        Ok(Typed { by, cases })
    })
}
