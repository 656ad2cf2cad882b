// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzing of the OpenCL messages and of the server.
//!
//! Bytes of a fuzzer's choice become sequences of requests ([`sequence`]) by the grammar that is
//! generated from `opencl/spec/opencl.spec.rs` ([`grammar`]): most of them good, others cut short,
//! with handles of nothing, or lengths of what is not there. Two things are done with such bytes:
//!
//! - [`readers`]: they are read as every message, by the codec of both ends;
//! - [`server`]: a session carries them out, whose vendor is played ([`vendor`]): it looks at all
//!   memory that it is given, and at what each object is.
//!
//! Either panics if something is wrong. That no memory beyond what was allocated is used, and not
//! too much of it is, an [`allocator`] sees to in whoever uses this library.

pub mod allocator;
pub mod grammar;
pub mod readers;
pub mod sequence;
pub mod server;
pub mod vendor;
