// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of `bindings.h`. C types that the kernel crate's bindings have too come out
//! as copies of the same layout, so pointers to them are cast where the two meet.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    unknown_lints,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!(concat!(
    env!("WORMHOLE_GENERATED"),
    "/wormhole/bindings_generated.rs"
));
