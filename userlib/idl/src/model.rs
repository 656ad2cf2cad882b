// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a description says, checked.

use syn::{Expr, Ident, LitStr, Path, Type};

/// A described API.
#[derive(Debug)]
pub struct Api {
    /// Kinds of handles, in order of description.
    pub handles: Vec<HandleKind>,
    /// Functions in the order of the dispatch table, and then those of the wire
    /// alone. A function's index is its number on the wire.
    pub functions: Vec<Function>,
}

/// A kind of opaque object.
#[derive(Debug)]
pub struct HandleKind {
    /// Its C type, e.g. `cl_mem`.
    pub name: Ident,
    /// Its name as a variant of `Kind`, e.g. `Mem`.
    pub variant: Ident,
    /// Status that refuses a handle that is not a live one of this kind.
    pub invalid: Ident,
    /// Function that gives back a reference; `None` for objects that are
    /// found, not made.
    pub release: Option<Ident>,
}

/// Version of the API that brought a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Major and minor version.
    Core(u32, u32),
    /// Name of the extension.
    Extension(String),
    /// It is no function of the API: the two ends have it for themselves.
    Wire,
}

/// How a call travels.
#[derive(Debug)]
pub enum Call {
    /// The caller waits for the answer.
    Sync,
    /// No answer; a failure is reported by a later call.
    Posted,
    /// Sync if the expression over the C parameters holds, else posted.
    SyncIf(Box<Expr>),
    /// Answered by the client library; nothing travels.
    Local,
    /// Adds a local reference.
    Retain,
    /// Gives back a local reference; the last one travels, posted.
    Release,
    /// Checked as any other, then refused with this status, as a device that lacks the
    /// feature does.
    Refused(Ident),
    /// Not forwarded: fails with this status.
    Stub(Ident),
}

/// A condition that the client library checks before anything travels.
#[derive(Debug)]
pub struct Check {
    /// Must hold; over the C parameters.
    pub condition: Expr,
    /// Status if it does not.
    pub status: Ident,
}

/// Which side of a function is written by hand.
#[derive(Debug, Default)]
pub struct Custom {
    /// Function of the client crate.
    pub client: Option<Path>,
    /// Another one, which is asked first whether there is nothing to do.
    pub idle: Option<Path>,
    /// Function of the server crate.
    pub server: Option<Path>,
}

/// A field of a message whose form does not follow from the C signature.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: Ident,
    /// Its type on the wire.
    pub ty: Type,
}

/// A message that is written out because it differs from the C signature.
#[derive(Debug)]
pub struct Message {
    /// From client to server.
    pub request: Vec<Field>,
    /// From server to client.
    pub reply: Vec<Field>,
}

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its C name.
    pub name: Ident,
    /// Its place in the dispatch table and number on the wire.
    pub slot: u16,
    /// What brought it.
    pub since: Since,
    /// How it travels.
    pub call: Call,
    /// Its parameters in order.
    pub params: Vec<Param>,
    /// Its C return type; `None` for `void`.
    pub returns: Option<Type>,
    /// Kind of the object that it makes and returns.
    pub makes: Option<Ident>,
    /// What the client checks first.
    pub checks: Vec<Check>,
    /// What the client asks of the object that the call is about, and the status if it is not so.
    pub needs: Option<(Path, Ident)>,
    /// What is written by hand.
    pub custom: Custom,
    /// Status if the server cannot be reached; else that of the API.
    pub lost: Option<Ident>,
    /// Handle parameter to whose account a failure of a posted call goes.
    pub defer: Option<Ident>,
    /// Handle parameters whose account this call, when answered, reports.
    pub report: Vec<Ident>,
    /// Whether this call reports every account.
    pub report_all: bool,
    /// Value of `param_name` that asks for the local reference count.
    pub refcount: Option<Ident>,
    /// Client function that may answer a query itself.
    pub before: Option<Path>,
    /// Client function that may edit a query's answer.
    pub after: Option<Path>,
    /// Whether a query's answer never changes.
    pub cache: bool,
    /// A written-out message.
    pub message: Option<Message>,
    /// Whether an answer may take long, so that other threads' calls must not wait for it.
    pub blocking: bool,
}

/// A parameter.
#[derive(Debug)]
pub struct Param {
    /// Its C name.
    pub name: Ident,
    /// Its C type.
    pub ty: Type,
    /// Its part in the call.
    pub role: Role,
}

/// What an array holds.
#[derive(Debug, Clone)]
pub enum Element {
    /// Handles of a kind.
    Handle(Ident),
    /// Plain numbers of this type.
    Number(Type),
    /// Plain structures of this type, which travel as bytes.
    Plain(Type),
}

/// A parameter's part in the call.
#[derive(Debug)]
pub enum Role {
    /// Input handle of a kind.
    Handle { kind: Ident, optional: bool },
    /// Input number.
    Number,
    /// Input array.
    Array {
        len: Expr,
        element: Element,
        nullable: bool,
        /// Status if one of the handles is not live.
        invalid: Option<Ident>,
        /// Status if pointer and length contradict each other.
        mismatch: Ident,
    },
    /// Input bytes.
    Bytes {
        len: Expr,
        nullable: bool,
        /// They are there only if this holds.
        when: Option<Expr>,
        /// Status if the pointer is null and must not be.
        mismatch: Ident,
    },
    /// Input string, null-terminated.
    Str {
        nullable: bool,
        /// The server appends this.
        append: Option<LitStr>,
        mismatch: Ident,
    },
    /// Input array of null-terminated strings; null exactly when it is empty.
    Strings {
        len: Expr,
        /// Status if pointer and length contradict each other, or a string is null.
        mismatch: Ident,
    },
    /// Output number, pointer may be null.
    Out { ty: Type },
    /// Output handle of an object that the call makes, pointer may be null.
    New { kind: Ident },
    /// Output of a query: `size` bytes at most, `filled` receives the length.
    Info {
        size: Ident,
        filled: Ident,
        typed: Option<Typed>,
    },
    /// Output list: `max` elements at most, `count` receives how many there are.
    List {
        max: Ident,
        count: Ident,
        element: Element,
    },
    /// Described with another parameter.
    Part,
    /// Output status.
    Status,
    /// Callback or its cookie: for hand-written code, or not supported.
    Callback,
    /// For hand-written code only.
    Opaque,
}

/// Values of a query that are handles.
#[derive(Debug)]
pub struct Typed {
    /// Parameter that decides.
    pub by: Ident,
    /// Its value, and the kind of handle that the answer then holds.
    pub cases: Vec<(Ident, Ident)>,
}

impl Api {
    /// The functions of the API itself: those that have a place in the dispatch table.
    pub fn of_table(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|f| f.since != Since::Wire)
    }

    /// The kind whose C type is `ty`.
    pub fn handle(&self, ty: &Type) -> Option<&HandleKind> {
        let Type::Path(path) = ty else { return None };
        let ident = path.path.get_ident()?;
        self.handles.iter().find(|handle| handle.name == *ident)
    }

    /// Function that adds a reference to a handle of a kind.
    pub fn retain(&self, kind: &Ident) -> Option<&Ident> {
        let retains = |function: &&Function| {
            matches!(function.call, Call::Retain)
                && matches!(&function.params[..], [Param { role: Role::Handle { kind: of, .. }, .. }] if of == kind)
        };
        let function = self.functions.iter().find(retains)?;
        Some(&function.name)
    }

    /// The kind of this name.
    pub fn kind(&self, name: &Ident) -> Option<&HandleKind> {
        self.handles.iter().find(|handle| handle.name == *name)
    }
}

impl Param {
    /// Whether it is an object, which must be there.
    pub fn is_object(&self) -> bool {
        let Role::Handle { optional, .. } = self.role else {
            return false;
        };
        !optional
    }
}

impl Function {
    /// Whether a message of it exists.
    pub fn travels(&self) -> bool {
        matches!(
            self.call,
            Call::Sync | Call::Posted | Call::SyncIf(_) | Call::Release
        ) && (self.message.is_some() || !self.only_in_client())
    }

    /// Whether the client's hand-written code does without a message.
    pub fn only_in_client(&self) -> bool {
        matches!(
            self.call,
            Call::Local | Call::Retain | Call::Refused(_) | Call::Stub(_)
        )
    }

    /// Whether its arguments are looked at, and it fails all the same.
    pub fn refused(&self) -> bool {
        matches!(self.call, Call::Refused(_)) && self.returns.is_some()
    }

    /// Whether a program can use it.
    pub fn forwarded(&self) -> bool {
        !matches!(self.call, Call::Refused(_) | Call::Stub(_))
    }

    /// Whether it returns a status, as opposed to an object or nothing.
    pub fn returns_status(&self) -> bool {
        matches!(&self.returns, Some(Type::Path(path)) if path.path.is_ident("cl_int"))
    }

    /// Parameter that receives the status, if there is one.
    pub fn status_param(&self) -> Option<&Ident> {
        self.params
            .iter()
            .find(|param| matches!(param.role, Role::Status))
            .map(|param| &param.name)
    }
}
