// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions that contradict themselves are refused where they do.

use wormhole_idl::{client, coverage, protocol, server, wire, Api};

const HANDLES: &str = "
    #[handle(variant = Queue, invalid = BAD_QUEUE, release = put)] type queue_t;
";

fn describe(functions: &str) -> Result<Api, String> {
    let put = "#[since(1.0)] #[call(release)] pub fn put(queue: queue_t) -> cl_int;";
    let text = format!("unsafe extern \"C\" {{ {HANDLES} {put} {functions} }}");
    Api::parse(&text).map_err(|error| error.to_string())
}

fn refused(functions: &str) -> String {
    match describe(functions) {
        Err(error) => error,
        Ok(_) => panic!("accepted: {functions}"),
    }
}

#[test]
fn everything_is_generated_from_a_good_one() {
    let api = describe(
        "#[since(1.1)] #[call(posted)] #[defer(queue)] #[check(size > 0, BAD_VALUE)]
         pub fn send(queue: queue_t, #[input(bytes = size)] data: *const c_void, size: usize)
             -> cl_int;
         #[since(1.2)] #[call(sync)] #[report(queue)] #[needs(can::ask, BAD_OPERATION)]
         pub fn ask(queue: queue_t, #[output] answer: *mut u32,
             #[output(new)] event: *mut queue_t) -> cl_int;
         #[since(1.2)] #[call(sync)] #[custom(client = a::set, idle = a::is_set)]
         pub fn set(queue: queue_t, n: u32) -> cl_int;
         #[since(1.2)] #[refused(BAD_OPERATION)] #[check(n > 0, BAD_VALUE)]
         pub fn lacking(queue: queue_t, n: u32, #[input(cstr, len = n)] names: *mut *const c_char)
             -> cl_int;
         #[since(1.3)] #[stub(BAD_OPERATION)] pub fn later(queue: queue_t) -> queue_t;",
    )
    .unwrap();
    assert_eq!(api.functions.len(), 6);
    for source in [
        protocol::generate(&api).unwrap(),
        client::generate(&api).unwrap(),
        client::exports(&api).unwrap(),
        server::generate(&api).unwrap(),
    ] {
        assert!(
            source.contains("send") || source.contains("Send"),
            "{source}"
        );
    }
    let client = client::generate(&api).unwrap();
    assert!(client.contains("if !can::ask(&queue_object)"), "{client}");
    assert!(
        client.contains("if unsafe { a::is_set(queue, n) }"),
        "{client}"
    );
    let table = coverage::table(&api, (1, 2));
    assert!(table.contains("4 of 5 functions work"), "{table}");
    assert!(table.contains("1 are refused"), "{table}");
    assert!(!table.contains("later"), "{table}");
}

/// Every field of every message is there, with what it means.
#[test]
fn the_wire_document_says_what_travels() {
    let api = describe(
        "#[since(1.1)] #[call(posted)] #[defer(queue)]
         pub fn send(queue: queue_t, #[input(bytes = size)] data: *const c_void, size: usize,
             #[input(len = 3)] #[nullable] at: *const usize, #[input(cstr)] name: *const c_char)
             -> cl_int;
         #[since(1.2)] #[call(sync)] #[report(queue)]
         pub fn ask(queue: queue_t, #[output] answer: *mut u32,
             #[output(new)] other: *mut queue_t) -> cl_int;
         #[since(1.2)] #[call(sync)] #[custom(client = a, server = b)]
         #[message(request(queues: Vec<Handle>, object: Handle), reply(kinds: Vec<ArgKind>))]
         pub fn by_hand(first: *const queue_t) -> cl_int;
         #[since(1.2)] #[call(sync)] pub fn query(queue: queue_t, param_name: u32, size: usize,
             #[output(info, size = size, filled = filled)] #[typed_by(param_name, OWNER => queue_t)]
             value: *mut c_void, filled: *mut usize) -> cl_int;
         #[since(1.3)] #[stub(BAD_OPERATION)] pub fn absent(queue: queue_t) -> cl_int;",
    );
    let text = wire::document(&api.unwrap());
    for line in [
        "0 put",
        "1 send",
        "Posted. If posted, it fails on the account of ``queue``.",
        "queue   handle, queue_t",
        "data    bytes",
        "size    u64, the length of ``data``",
        "at      optional list of u64",
        "name    text",
        "A call. Reports the account of ``queue``.",
        "other   handle, the name of a new queue_t",
        "answer u32",
        "queues  list of handle, queue_t",
        "object  handle, of any kind",
        "kinds list of kind of argument",
        "value bytes: handles, queue_t for ``OWNER``",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("absent"), "{text}");
}

#[test]
fn mistakes_are_named() {
    let since = "#[since(1.0)]";
    for (functions, message) in [
        ("pub fn f() -> cl_int;", "needs #[since"),
        ("#[since(1.0)] pub fn f() -> cl_int;", "needs #[call"),
        (
            "#[since(one)] #[call(sync)] pub fn f() -> cl_int;",
            "expected floating point literal",
        ),
        (
            "#[since(1.0)] #[call(maybe)] pub fn f() -> cl_int;",
            "unknown call class",
        ),
        (
            "#[since(1.0)] #[call(sync)] #[colour(red)] pub fn f() -> cl_int;",
            "unknown attribute",
        ),
    ] {
        assert!(
            refused(functions).contains(message),
            "{functions}: {}",
            refused(functions)
        );
    }
    for (function, message) in [
        (
            "#[call(sync)] pub fn f(p: *mut c_void) -> cl_int;",
            "a pointer needs",
        ),
        (
            "#[call(sync)] pub fn f(#[input] p: *const u32) -> cl_int;",
            "an input needs",
        ),
        (
            "#[call(sync)] pub fn f(#[input(len = 1)] p: u32) -> cl_int;",
            "an input is a pointer",
        ),
        (
            "#[call(sync)] pub fn f(#[output] p: *const u32) -> cl_int;",
            "`*mut`",
        ),
        (
            "#[call(sync)] pub fn f(#[output(new)] p: *mut u32) -> cl_int;",
            "pointer to a handle",
        ),
        (
            "#[call(sync)] pub fn f(#[input(len = 1, wide)] p: *const u32) -> cl_int;",
            "unknown arg",
        ),
        (
            "#[call(sync)] pub fn f(#[output(list, max = n, count = k)] p: *mut u32) -> cl_int;",
            "is no parameter",
        ),
        (
            "#[call(posted)] pub fn f(q: queue_t) -> cl_int;",
            "needs #[defer",
        ),
        (
            "#[call(sync)] #[needs(a::b, BAD)] pub fn f(#[optional] q: queue_t) -> cl_int;",
            "there is no object",
        ),
        (
            "#[call(posted)] #[defer(x)] pub fn f(q: queue_t) -> cl_int;",
            "is no handle parameter",
        ),
        (
            "#[call(posted)] #[defer(q)] pub fn f(q: queue_t, #[output] p: *mut u32) -> cl_int;",
            "has no output",
        ),
        (
            "#[call(posted)] #[defer(q)] pub fn f(q: queue_t) -> queue_t;",
            "is not posted",
        ),
        ("#[call(local)] pub fn f() -> cl_int;", "needs #[custom"),
        (
            "#[call(retain)] pub fn f(q: queue_t, n: u32) -> cl_int;",
            "take one handle",
        ),
        (
            "#[call(sync)] #[message(request(n: u32))] pub fn f() -> cl_int;",
            "both sides by hand",
        ),
        (
            "#[call(sync)] #[custom(idle = a::b)] pub fn f() -> cl_int;",
            "by hand that returns a status",
        ),
        (
            "#[call(release)] pub fn put(q: queue_t) -> cl_int;",
            "described twice",
        ),
    ] {
        let error = refused(&format!("{since} {function}"));
        assert!(error.contains(message), "{function}: {error}");
    }
    assert!(Api::parse("unsafe extern \"C\" { type t; }").is_err());
    assert!(Api::parse("fn f() {}").is_err());
}
